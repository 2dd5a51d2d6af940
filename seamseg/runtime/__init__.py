"""What a long run needs: memory, distribution, optimizer, schedule, checkpoints, logs, progress."""
