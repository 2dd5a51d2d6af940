"""Weights of classes in the losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ClassWeights:
    """Factors of the losses of pixels and regions, by their true class.

    Attributes:
        pixels: S+T factors for the semantic head.
        regions: T+1 factors for the classes of the RoI head; that of background comes first.
    """

    pixels: tuple[float, ...]
    regions: tuple[float, ...]


BOUND = 1.02
"""Constant c in 1 / ln(c + f), which bounds the weight of a rare class by 1 / ln c = 50."""


def balanced_weights(counts: Sequence[float]) -> list[float]:
    """Return weights that grow as classes get rarer: 1 / ln(1.02 + f) for a class with the fraction f of all counts.

    This is the formula of Paszke et al., "ENet" (2016), section 5.2. Here, the weights are then divided by their mean
    over everything that was counted, so that the mean loss stays about as large as without weights.

    Args:
        counts: Number of pixels or objects of each class, at least 0; without any, all weights are 1.

    Example:
        >>> [round(weight, 2) for weight in balanced_weights([900, 100, 0])]
        [0.68, 3.9, 22.32]
    """
    total = sum(counts)
    if total == 0:
        return [1.0] * len(counts)
    weights = [1 / math.log(BOUND + count / total) for count in counts]
    mean = sum(weight * count for weight, count in zip(weights, counts, strict=True)) / total
    return [weight / mean for weight in weights]
