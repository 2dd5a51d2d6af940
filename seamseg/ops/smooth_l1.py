"""The robust regression loss of Fast R-CNN."""

from __future__ import annotations

import torch
from torch import Tensor


def smooth_l1(prediction: Tensor, target: Tensor, sigma: float) -> Tensor:
    """½σ²d² where |d| < 1/σ², else |d| − ½/σ² (Girshick, Fast R-CNN, eq. 3; σ as in Faster R-CNN).

    Args:
        prediction, target: of one shape.
        sigma: > 0; larger is closer to the absolute difference.

    Returns:
        The loss of every element, of that shape.
    """
    squared = sigma * sigma
    distance = (prediction - target).abs()
    return torch.where(distance < 1 / squared, 0.5 * squared * distance * distance, distance - 0.5 / squared)
