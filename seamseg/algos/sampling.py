"""Random subsets with a bounded part of positives."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_balanced(
    positive: Tensor, negative: Tensor, num_samples: int, positive_fraction: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draws at most ``num_samples``, of which at most the fraction is positive; negatives fill up.

    Args:
        positive, negative: B bool each, disjoint.
        num_samples: at most, > 0.
        positive_fraction: of ``num_samples``, 0 … 1.
        generator: of the draw, on the CPU.

    Returns:
        Indices of the chosen positives and of the chosen negatives, both ascending.
    """
    positives = _draw(positive, int(num_samples * positive_fraction), generator)
    negatives = _draw(negative, num_samples - len(positives), generator)
    return positives, negatives


def _draw(candidates: Tensor, at_most: int, generator: torch.Generator) -> Tensor:
    indices = torch.nonzero(candidates).squeeze(1)
    if len(indices) <= at_most:
        return indices
    chosen = torch.randperm(len(indices), generator=generator)[:at_most].sort().values
    return indices[chosen.to(indices.device)]
