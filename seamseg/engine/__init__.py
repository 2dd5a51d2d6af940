"""The loops: training, evaluation, and the record of a run."""
