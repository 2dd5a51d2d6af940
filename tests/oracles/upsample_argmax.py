"""Class scores upsampled one pixel at a time in double precision."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seamseg.structures import SemanticLogits


def enlarged(semantics: SemanticLogits, output: tuple[int, int]) -> Tensor:
    """Return C × output float64: the scores of the unpadded image at that size; scores with weight 0 are ignored."""
    scores, (num_classes, height, width) = semantics.logits.double(), semantics.logits.shape
    result = torch.empty(num_classes, *output, dtype=torch.float64)
    for i in range(output[0]):
        for j in range(output[1]):
            y = (i + 0.5) * semantics.size[0] / output[0] * height / semantics.padded_size[0] - 0.5
            x = (j + 0.5) * semantics.size[1] / output[1] * width / semantics.padded_size[1] - 0.5
            y, x = min(max(y, 0.0), height - 1), min(max(x, 0.0), width - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = between(scores[:, top, left], scores[:, top, right], x - left)
            lower = between(scores[:, bottom, left], scores[:, bottom, right], x - left)
            result[:, i, j] = between(upper, lower, y - top)
    return result


def between(before: Tensor, after: Tensor, share: float) -> Tensor:
    return before if share == 0 else before * (1 - share) + after * share


def classes_of(semantics: SemanticLogits, output: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the best class of every pixel, the lowest one in a tie, and its lead over the next score.

    NaN is less than every number; where all scores are NaN, the class is 0.
    """
    scores = enlarged(semantics, output).movedim(0, -1)
    best = [[best_of(row) for row in line] for line in scores.tolist()]
    leading = scores.sort(dim=-1, descending=True).values
    lead = leading[..., 0] - leading[..., 1] if scores.shape[-1] > 1 else torch.full(output, torch.inf)
    return torch.tensor(best).reshape(output), lead


def best_of(row: list[float]) -> int:
    numbers = [score for score in row if not math.isnan(score)]
    return row.index(max(numbers)) if numbers else 0
