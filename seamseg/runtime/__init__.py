"""What a long run needs: memory, distribution, optimiser, schedule, checkpoints, logs, progress."""
