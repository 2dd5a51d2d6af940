"""Losses of single numbers, and the semantic loss pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence

from oracles.bilinear import bilinear
from torch import Tensor

VOID = 255


def binary_cross_entropy(logit: float, target: int) -> float:
    """−log of the probability that the logit gives to the target."""
    return math.log1p(math.exp(-logit if target else logit))


def cross_entropy(logits: Sequence[float], target: int) -> float:
    """−log of the probability that the softmax gives to the target."""
    return math.log(sum(math.exp(logit) for logit in logits)) - logits[target]


def smooth_l1(prediction: float, target: float, sigma: float) -> float:
    """A parabola near 0, straight lines from 1/σ² on."""
    distance = abs(prediction - target)
    if distance < 1 / sigma**2:
        return sigma**2 * distance**2 / 2
    return distance - 1 / (2 * sigma**2)


def semantic_loss(
    logits: Tensor, padded_size: tuple[int, int], classes: Tensor, hardest: tuple[int, int] = (1, 4)
) -> float:
    """The mean over the hardest pixels of one image.

    Args:
        logits: C×h×w of the padded image.
        padded_size: height and width in pixels.
        classes: H×W of the valid part, 255 where void.
        hardest: the part of the pixels as numerator and denominator, rounded up.
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
