"""Training, evaluation, and the record of a training run."""
