"""What the sums of the losses are divided by when several ranks train together.

Averaging the gradients of the ranks, as distributed training does, averages their losses. Where every rank divides by
its own counts (the published way), a region of a rank with few regions weighs more than one of a rank with many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from seamseg.ops.collectives import sum_and_size_over_ranks
from seamseg.structures.losses import LossSum

Normalise = Callable[[Sequence[LossSum]], list[Tensor]]
"""Losses to be divided, to zero-dimensional ones."""


def mean_of_rank(sums: Sequence[LossSum]) -> list[Tensor]:
    """Every rank divides by its own counts."""
    return [one.mean for one in sums]


def mean_of_all_ranks(sums: Sequence[LossSum]) -> list[Tensor]:
    """All ranks divide by their common counts: the average over the ranks is the mean of the joined batch.

    One collective for all losses.
    """
    counts = torch.stack([torch.as_tensor(one.count, dtype=torch.float32, device=one.total.device) for one in sums])
    totals, num_ranks = sum_and_size_over_ranks(counts)
    return [one.total * num_ranks / count for one, count in zip(sums, totals.clamp(min=1), strict=True)]
