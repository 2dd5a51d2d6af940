"""Losses of single numbers, and the semantic loss pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence

from oracles.bilinear import bilinear
from torch import Tensor

VOID = 255


def binary_cross_entropy(logit: float, target: int) -> float:
    """Return −log of the probability that the logit gives to the target."""
    return math.log1p(math.exp(-logit if target else logit))


def cross_entropy(logits: Sequence[float], target: int) -> float:
    """Return −log of the probability that the softmax gives to the target."""
    return math.log(sum(math.exp(logit) for logit in logits)) - logits[target]


def smooth_l1(prediction: float, target: float, sigma: float) -> float:
    """Return a parabola near 0 that continues as straight lines from 1/σ² on."""
    distance = abs(prediction - target)
    if distance < 1 / sigma**2:
        return sigma**2 * distance**2 / 2
    return distance - 1 / (2 * sigma**2)


def semantic_loss(
    logits: Tensor, padded_size: tuple[int, int], classes: Tensor, hardest: tuple[int, int] = (1, 4)
) -> float:
    """Return the mean over the hardest pixels of one image.

    Args:
        logits: C×h×w of the padded image.
        padded_size: Height and width of the padded image in pixels.
        classes: H×W of the image without padding; 255 for void.
        hardest: Numerator and denominator of the fraction of pixels; their number is rounded up.
    """
    step_y, step_x = (logits.shape[1] / padded_size[0], logits.shape[2] / padded_size[1])
    losses = []
    for y in range(classes.shape[0]):
        for x in range(classes.shape[1]):
            target = int(classes[y, x])
            position = ((y + 0.5) * step_y, (x + 0.5) * step_x)
            scores = [bilinear(channel, *position) for channel in logits]
            losses.append(0.0 if target == VOID else cross_entropy(scores, target))
    numerator, denominator = hardest
    num_hardest = -(-numerator * len(losses) // denominator)
    return sum(sorted(losses, reverse=True)[:num_hardest]) / num_hardest
