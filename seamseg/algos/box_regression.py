"""Loss of box_deltas, and its minimum over the boxes that a crop leaves possible."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

BoxLoss = Literal["smooth_l1", "crop_aware"]
"""Loss of box_deltas: towards the visible box, or towards the closest box of :func:`crop_aware_targets`."""

NUM_HALVINGS = 16
"""Halvings of an interval of at most 0.4 in the logarithm of a side. The relative error of the side is below 4e-6."""
MAX_LOG_SIDE = 20.0
"""Bound of the logarithm of a predicted side that keeps its square finite."""


def smooth_l1(prediction: Tensor, target: Tensor, sigma: float) -> Tensor:
    """Compute ½σ²d² where |d| < 1/σ², else |d| − ½/σ² (Girshick, Fast R-CNN, eq. 3; σ as in Faster R-CNN).

    Args:
        prediction: Predicted values of any shape.
        target: Target values of the same shape.
        sigma: Parameter σ > 0; larger values are closer to the absolute difference.

    Returns:
        The loss of every element, of the same shape.
    """
    squared = sigma * sigma
    distance = (prediction - target).abs()
    return torch.where(distance < 1 / squared, 0.5 * squared * distance * distance, distance - 0.5 / squared)


@torch.no_grad()
def crop_aware_targets(predictions: Tensor, targets: Tensor, cut: Tensor, weights: Tensor, sigma: float) -> Tensor:
    """Return the box_deltas of the full box that is closest to each prediction.

    A crop hides how far an object continues beyond its edge. Every box whose part inside the crop is the visible box
    may be the full box: a side at which the object was cut may lie anywhere beyond the edge. The crop-aware loss is the
    minimum of the smooth L1 loss over these boxes (Porzi et al., "Improving Panoptic Segmentation at All Scales", CVPR
    2021), so predictions beyond the edge cost nothing. This function returns the minimizer; held constant, it has the
    gradient of the minimum (envelope theorem).

    The loss is a sum over the two axes. Along an axis, the unit of length is the side of the region and the origin is
    its center, the visible box is a side of length h, and the loss depends on the length L ≥ h of the full box:

        f(L) = S(β·(L − A)) + S(w·log L − p),  S = smooth L1, β = half the weight of the center.

    A is the length at which the center fits the prediction. If one side is cut, the other one is fixed, and the center
    moves by L/2. If both are cut, every center within (L − h)/2 of the visible one is possible, so the first term is 0
    from A on. f may have two local minima. All of its stationary points are candidates: where the second term is
    linear, they solve linear or quadratic equations. Where it is quadratic, for |log L − p/w| < 1/(wσ²), f′ changes its
    sign once if wσ² ≥ 1, and bisection finds the place.

    Args:
        predictions: P×4 weighted box_deltas ``(dy, dx, dh, dw)``, as the head predicts them.
        targets: P×4 weighted box_deltas of the visible boxes.
        cut: P×4 bool, the sides (y0, x0, y1, x1) of the visible boxes at which the object continues beyond the crop.
        weights: 4, the weights of the box_deltas; those of dh and dw are at least 1/σ².
        sigma: Parameter σ of the smooth L1 loss.

    Returns:
        P×4 weighted box_deltas; along an axis without a cut, the box_deltas of the visible box.
    """
    center_weight, side_weight = weights[:2], weights[2:]
    low_cut, high_cut = cut[:, :2], cut[:, 2:]
    center, wanted = targets[:, :2] / center_weight, predictions[:, :2] / center_weight
    visible = (targets[:, 2:] / side_weight).exp()
    # Distance from the fixed side to the wanted center: half of A.
    inwards = torch.where(high_cut, wanted - center, center - wanted) + visible / 2
    fitting = torch.where(low_cut & high_cut, visible + 2 * (wanted - center).abs(), 2 * inwards)
    side = _closest_side(
        predictions[:, 2:], visible, fitting, low_cut & high_cut, center_weight / 2, side_weight, sigma
    )
    growth = (side - visible) / 2
    moved = torch.where(low_cut, center - growth, center + growth)
    moved = torch.where(low_cut & high_cut, wanted.clamp(center - growth, center + growth), moved)
    closest = torch.cat([moved * center_weight, side.log() * side_weight], dim=1)
    return torch.where((low_cut | high_cut).repeat(1, 2), closest, targets)


def _closest_side(
    predicted: Tensor, visible: Tensor, fitting: Tensor, both_cut: Tensor, slope: Tensor, weight: Tensor, sigma: float
) -> Tensor:
    """Return the L ≥ h that minimizes f of :func:`crop_aware_targets`, P×2.

    Args:
        predicted: p, P×2.
        visible: h, P×2.
        fitting: A, P×2; may be negative.
        both_cut: Whether both sides are cut, P×2.
        slope: β, 2.
        weight: w, 2.
        sigma: Parameter of the smooth L1 loss.
    """

    def excess(side: Tensor) -> Tensor:
        difference = slope * (side - fitting)
        return torch.where(both_cut, difference.clamp(max=0), difference)

    log_side = (predicted / weight).clamp(-MAX_LOG_SIDE, MAX_LOG_SIDE)
    reach = 1 / (sigma * sigma * weight)
    low, high = ((log_side + sign * reach).maximum(visible.log()) for sign in (-1, 1))
    for _ in range(NUM_HALVINGS):
        middle = (low + high) / 2
        # L·f′(L), divided by σ²
        bound = 1 / (sigma * sigma)
        rise = slope * middle.exp() * excess(middle.exp()).clamp(-bound, bound)
        falls = rise + weight * (weight * middle - predicted).clamp(-bound, bound) < 0
        low, high = torch.where(falls, middle, low), torch.where(falls, high, middle)
    constant = 4 * weight / (sigma * slope).square()
    candidates = [
        visible,
        fitting,
        log_side.exp(),
        ((low + high) / 2).exp(),
        (weight / slope).expand_as(visible),  # both terms linear: f′ = β − w/L
        (fitting + (fitting.square() + constant).sqrt()) / 2,  # first term quadratic: f′ = σ²β²(L − A) ∓ w/L
        (fitting + (fitting.square() - constant).clamp(min=0).sqrt()) / 2,
    ]
    sides = torch.stack(candidates).maximum(visible)
    losses = smooth_l1(torch.stack([excess(side) for side in sides]), torch.zeros_like(sides), sigma)
    losses = losses + smooth_l1(weight * sides.log(), predicted, sigma)
    return sides.gather(0, losses.nan_to_num(torch.inf).argmin(dim=0, keepdim=True))[0]
