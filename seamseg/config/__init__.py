"""All settings: one file per component, with type, default, meaning and validation.

The defaults are the published values. Each file in ``configs/`` contains only what an experiment changes.
"""

from seamseg.config.classifier import ClassifierExperiment
from seamseg.config.experiment import Experiment
from seamseg.config.load import (
    differing_keys,
    differing_values,
    known_configs,
    load_experiment,
    load_settings,
    parse_experiment,
    parse_settings,
    save_experiment,
    settings_file,
)
from seamseg.config.settings import Settings

TrainableSettings = Experiment | ClassifierExperiment
"""Settings of any experiment that trains a network."""

__all__ = [
    "ClassifierExperiment",
    "Experiment",
    "Settings",
    "TrainableSettings",
    "differing_keys",
    "differing_values",
    "known_configs",
    "load_experiment",
    "load_settings",
    "parse_experiment",
    "parse_settings",
    "save_experiment",
    "settings_file",
]
