"""The crop-aware box loss, against a search over full boxes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from oracles.crop_aware import crop_aware_loss
from torch import Tensor

from seamseg.algos.box_regression import crop_aware_targets, smooth_l1
from seamseg.algos.losses import box_loss
from seamseg.ops.boxes import decode_boxes, encode_boxes

HEADS = {"roi": ((10.0, 10.0, 5.0, 5.0), 1.0), "rpn": ((1.0, 1.0, 1.0, 1.0), 3.0)}
"""Weights of the box_deltas and σ, by head."""


def cases(num_cases: int, seed: int, cut: list[bool] | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return regions, visible boxes, cut sides, and predicted boxes, which often lie far beyond the visible ones."""
    generator = torch.Generator().manual_seed(seed)

    def boxes(near: Tensor, spread: float) -> Tensor:
        center, side = (near[:, :2] + near[:, 2:]) / 2, near[:, 2:] - near[:, :2]
        center = center + torch.randn(num_cases, 2, generator=generator) * side * spread
        side = side * (torch.randn(num_cases, 2, generator=generator) * spread).exp()
        return torch.cat([center - side / 2, center + side / 2], dim=1)

    visible = boxes(torch.tensor([[20.0, 30, 60, 50]]).repeat(num_cases, 1), 0.7)
    cuts = torch.rand(num_cases, 4, generator=generator) < 0.5 if cut is None else torch.tensor([cut] * num_cases)
    return boxes(visible, 0.25), visible, cuts, boxes(visible, 1.2)


def losses(predicted: Tensor, regions: Tensor, visible: Tensor, cut: Tensor, head: str) -> tuple[Tensor, Tensor]:
    """Return the crop-aware loss of each region, and the weighted box_deltas of the closest boxes."""
    weights, sigma = torch.tensor(HEADS[head][0], dtype=regions.dtype), HEADS[head][1]
    targets = encode_boxes(regions, visible) * weights
    closest = crop_aware_targets(predicted.detach(), targets, cut, weights, sigma)
    return smooth_l1(predicted, closest, sigma).sum(dim=1), closest


@pytest.mark.parametrize("head", HEADS)
def test_loss_equals_the_minimum_over_a_grid_of_full_boxes(head: str) -> None:
    regions, visible, cut, predicted_boxes = cases(120, seed=0)
    weights, sigma = HEADS[head]
    predicted = encode_boxes(regions, predicted_boxes) * torch.tensor(weights)
    found, _ = losses(predicted, regions, visible, cut, head)
    for row, loss in enumerate(found.tolist()):
        region, box, sides, wanted = (values[row].tolist() for values in (regions, visible, cut, predicted))
        expected = crop_aware_loss(region, box, sides, wanted, weights, sigma)
        assert loss == pytest.approx(expected, rel=1e-4, abs=1e-4), row


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("cut", list(product([False, True], repeat=4)), ids=str)
def test_closest_box_has_the_visible_box_inside_the_crop(cut: tuple[bool, ...], head: str) -> None:
    regions, visible, cuts, predicted_boxes = cases(200, seed=1, cut=list(cut))
    weights = torch.tensor(HEADS[head][0])
    _, closest = losses(encode_boxes(regions, predicted_boxes) * weights, regions, visible, cuts, head)
    full = decode_boxes(regions.double(), closest.double() / weights)
    tolerance = 1e-4 * (visible[:, 2:] - visible[:, :2]).amax(dim=1).clamp(min=1)
    for side in range(4):
        beyond = (full - visible)[:, side] * (-1 if side < 2 else 1)
        assert (beyond > -tolerance).all()
        if not cut[side]:
            # A side of 10⁸ pixels, which a prediction may have, is exact to a few pixels in float32.
            length = (full[:, 2:] - full[:, :2])[:, side % 2]
            assert (beyond.abs() <= tolerance + 1e-6 * length).all()


@pytest.mark.parametrize("head", HEADS)
def test_gradient_equals_finite_differences_of_the_searched_minimum(head: str) -> None:
    regions, visible, cut, predicted_boxes = cases(16, seed=2)
    weights, sigma = HEADS[head]
    predicted = (encode_boxes(regions, predicted_boxes) * torch.tensor(weights)).requires_grad_()
    loss, _ = losses(predicted, regions, visible, cut, head)
    loss.sum().backward()
    checked = 0
    for row, component in product(range(16), range(4)):
        region, box, sides = (values[row].tolist() for values in (regions, visible, cut))
        searched = []
        for step in (-1e-2, 0.0, 1e-2):
            moved = predicted[row].tolist()
            moved[component] += step
            searched.append(crop_aware_loss(region, box, sides, moved, weights, sigma))
        below, here, above = searched
        left, right = (here - below) * 100, (above - here) * 100
        if abs(left - right) > 0.1:
            continue  # a kink, where two local minima are equal, or a strongly curved place
        checked += 1
        assert float(predicted.grad[row, component]) == pytest.approx((left + right) / 2, abs=0.03), (row, component)
    assert checked > 50


@pytest.mark.parametrize("head", HEADS)
def test_loss_is_never_above_the_usual_loss_and_equal_without_a_cut(head: str) -> None:
    regions, visible, cut, predicted_boxes = cases(2000, seed=3)
    weights, sigma = torch.tensor(HEADS[head][0]), HEADS[head][1]
    predicted = encode_boxes(regions, predicted_boxes) * weights
    targets = encode_boxes(regions, visible) * weights
    usual = smooth_l1(predicted, targets, sigma).sum(dim=1)
    found, _ = losses(predicted, regions, visible, cut, head)
    assert (found <= usual + 1e-4).all()
    assert (found < 0.5 * usual).any()
    uncut = crop_aware_targets(predicted, targets, torch.zeros_like(cut), weights, sigma)
    assert torch.equal(uncut, targets)
    only_rows = torch.tensor([True, False, True, False]).repeat(len(cut), 1)
    assert torch.equal(crop_aware_targets(predicted, targets, only_rows, weights, sigma)[:, 1::2], targets[:, 1::2])


def test_prediction_that_continues_the_object_beyond_the_edge_costs_nothing() -> None:
    """The crop has 100×100 pixels; the object touches its right edge, or its top and bottom edges."""
    region = torch.tensor([[20.0, 40, 80, 100]])
    for visible, cut, full in (
        ([20, 50, 80, 100], [False, False, False, True], [20, 50, 80, 170]),
        ([0, 50, 100, 90], [True, False, True, False], [-30, 50, 240, 90]),
        ([0, 0, 50, 50], [True, True, False, False], [-20, -70, 50, 50]),
    ):
        predicted = encode_boxes(region, torch.tensor([full]).float()) * torch.tensor(HEADS["roi"][0])
        found, _ = losses(predicted, region, torch.tensor([visible]).float(), torch.tensor([cut]), "roi")
        assert float(found) == pytest.approx(0, abs=1e-6)
        fixed, _ = losses(
            predicted, region, torch.tensor([visible]).float(), torch.zeros(1, 4, dtype=torch.bool), "roi"
        )
        assert float(fixed) > 0.5


def test_prediction_inside_the_crop_is_pulled_to_its_edge() -> None:
    region, visible = torch.tensor([[20.0, 40, 80, 100]]), torch.tensor([[20.0, 50, 80, 100]])
    weights = torch.tensor(HEADS["roi"][0])
    inside = encode_boxes(region, torch.tensor([[20.0, 50, 80, 90]])) * weights
    _, closest = losses(inside, region, visible, torch.tensor([[False, False, False, True]]), "roi")
    assert torch.allclose(decode_boxes(region, closest / weights), visible, atol=1e-4)


@pytest.mark.parametrize("value", [1e4, -1e4, 3e38])
def test_targets_of_extreme_predictions_are_finite(value: float) -> None:
    weights = torch.tensor(HEADS["roi"][0])
    predicted = torch.full((16, 4), value) * (1 - 2 * (torch.arange(64).reshape(16, 4) // 3 % 2))
    targets = encode_boxes(torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([[1.0, 2, 8, 9]])).repeat(16, 1) * weights
    cut = torch.tensor(list(product([False, True], repeat=4)))
    assert crop_aware_targets(predicted, targets, cut, weights, 1.0).isfinite().all()


def test_loss_of_bfloat16_predictions_is_that_of_float32() -> None:
    regions, visible, cut, predicted_boxes = cases(40, seed=4)
    weights = torch.tensor(HEADS["roi"][0])
    targets = encode_boxes(regions, visible) * weights
    predicted = (encode_boxes(regions, predicted_boxes) * weights).to(torch.bfloat16)[:, None].requires_grad_()
    classes = torch.ones(40, dtype=torch.int64)
    half = box_loss(predicted, targets, classes, cut, weights).total
    exact = box_loss(predicted.float(), targets, classes, cut, weights).total
    half.backward()
    assert (half.dtype, predicted.grad.dtype) == (torch.float32, torch.bfloat16)
    assert half.item() == exact.item()
    assert half.item() < box_loss(predicted, targets, classes).total.item()


def test_loss_without_regions_is_zero_and_has_a_gradient() -> None:
    box_deltas = torch.zeros(0, 2, 4, requires_grad=True)
    none = torch.zeros(0, 4)
    loss = box_loss(box_deltas, none, torch.zeros(0, dtype=torch.int64), none > 0, torch.ones(4)).mean
    loss.backward()
    assert loss.item() == 0
    assert box_deltas.grad is not None


def test_searched_minimum_of_a_box_without_cut_is_the_usual_loss() -> None:
    """The oracle itself, against numbers worked out by hand."""
    loss = crop_aware_loss([0, 0, 10, 10], [0, 0, 10, 10], [False] * 4, [3, 0, 0, 0.5], [10, 10, 5, 5], 1)
    assert loss == pytest.approx(2.5 + 0.125)
    free = crop_aware_loss(
        [0, 0, 10, 10], [0, 0, 10, 10], [False, False, True, False], [5, 0, 5 * np.log(2), 0], [10, 10, 5, 5], 1
    )
    assert free == pytest.approx(0, abs=1e-4)
