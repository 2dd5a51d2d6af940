"""All settings: one file per component, with type, default, meaning and validation.

The defaults are those of the published system. Each file in ``configs/`` contains only what an experiment changes.
"""

from seamseg.config.experiment import Experiment
from seamseg.config.load import (
    differing_keys,
    differing_values,
    known_configs,
    load_experiment,
    parse_experiment,
    save_experiment,
    settings_file,
)

__all__ = [
    "Experiment",
    "differing_keys",
    "differing_values",
    "known_configs",
    "load_experiment",
    "parse_experiment",
    "save_experiment",
    "settings_file",
]
