"""Number of positives and negatives in a balanced sample, counted one by one."""

from __future__ import annotations


def sample_counts(num_positive: int, num_negative: int, num_samples: int, positive_fraction: float) -> tuple[int, int]:
    """Return the number of sampled positives and negatives."""
    positives = negatives = 0
    while positives < num_positive and positives + 1 <= num_samples * positive_fraction:
        positives += 1
    while negatives < num_negative and positives + negatives < num_samples:
        negatives += 1
    return positives, negatives
