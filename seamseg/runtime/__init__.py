"""Runtime of a training process: memory, distribution, optimizer, schedule, checkpoints, logs and progress."""
