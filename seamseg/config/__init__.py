"""Everything that can be set: one file per component, with type, default, meaning and check.

The defaults are those of the published system; `configs/` holds what an experiment changes.
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
