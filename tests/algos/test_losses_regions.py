"""Losses of the regions, against scalar computations."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import losses as oracle

from seamseg.algos.losses import IGNORED, box_loss, class_loss, mask_loss, mask_score_loss


@pytest.mark.parametrize("seed", range(4))
def test_class_loss_is_the_mean_over_all_regions(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, classes = torch.randn(9, 4, generator=generator) * 3, torch.randint(0, 4, (9,), generator=generator)
    expected = [
        oracle.cross_entropy(row, target) for row, target in zip(logits.tolist(), classes.tolist(), strict=True)
    ]
    assert float(class_loss(logits, classes).mean) == pytest.approx(sum(expected) / 9, rel=1e-5)


@pytest.mark.parametrize(("weights", "gamma"), [((1.0, 2.0, 0.5, 0.0), 0.0), (None, 2.0), ((1.0, 2.0, 0.5, 3.0), 0.5)])
@pytest.mark.parametrize("seed", range(3))
def test_class_loss_with_weights_and_focal_factor_equals_scalars_and_finite_differences(
    seed: int, weights: tuple[float, ...] | None, gamma: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(9, 4, generator=generator, dtype=torch.float64) * 3
    classes = torch.randint(0, 4, (9,), generator=generator)
    expected = 0.0
    for row, target in zip(logits.tolist(), classes.tolist(), strict=True):
        probability = math.exp(-oracle.cross_entropy(row, target))
        weight = 1 if weights is None else weights[target]
        expected += weight * (1 - probability) ** gamma * -math.log(probability) / 9
    assert float(class_loss(logits, classes, weights, gamma).mean) == pytest.approx(expected, rel=1e-6)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: class_loss(z, classes, weights, gamma).mean, logits)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_class_loss_of_certain_regions_is_zero_with_a_finite_gradient(gamma: float) -> None:
    logits = torch.tensor([[300.0, 0.0], [0.0, 0.0]], requires_grad=True)
    loss = class_loss(logits, torch.tensor([0, 0]), None, gamma).mean
    loss.backward()
    assert loss.item() == pytest.approx(0.5**gamma * math.log(2) / 2)
    assert logits.grad[0].tolist() == [0, 0]
    assert logits.grad[1].isfinite().all()


@pytest.mark.parametrize("seed", range(4))
def test_box_loss_divides_by_the_number_of_all_regions(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    box_deltas = torch.randn(9, 3, 4, generator=generator)
    targets = torch.randn(9, 4, generator=generator)
    classes = torch.randint(0, 4, (9,), generator=generator)
    total, positive = 0.0, 0
    for region, klass in enumerate(classes.tolist()):
        if klass > 0:
            for side in range(4):
                found, target = float(box_deltas[region, klass - 1, side]), float(targets[positive, side])
                total += oracle.smooth_l1(found, target, sigma=1)
            positive += 1
    assert float(box_loss(box_deltas, targets[:positive], classes).mean) == pytest.approx(total / 9, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_mask_loss_is_the_mean_over_pixels_that_are_not_ignored(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(5, 3, 6, 6, generator=generator) * 4
    targets = torch.randint(-1, 2, (5, 6, 6), generator=generator)
    things = torch.randint(0, 3, (5,), generator=generator)
    losses = [
        oracle.binary_cross_entropy(float(logits[region, things[region], y, x]), int(targets[region, y, x]))
        for region in range(5)
        for y in range(6)
        for x in range(6)
        if targets[region, y, x] != IGNORED
    ]
    assert float(mask_loss(logits, targets, things).mean) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_mask_loss_gives_no_gradient_to_ignored_pixels() -> None:
    logits = torch.zeros(1, 2, 2, 2, requires_grad=True)
    mask_loss(logits, torch.tensor([[[1, IGNORED], [IGNORED, 0]]]), torch.tensor([1])).mean.backward()
    assert logits.grad.tolist() == [[[[0, 0], [0, 0]], [[-0.25, 0], [0, 0.25]]]]


def test_mask_loss_with_only_ignored_pixels_is_zero() -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = mask_loss(logits, torch.full((2, 4, 4), IGNORED), torch.tensor([0, 2])).mean
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


def test_box_loss_with_only_background_is_zero() -> None:
    box_deltas = torch.randn(3, 2, 4, requires_grad=True)
    loss = box_loss(box_deltas, torch.zeros(0, 4), torch.zeros(3, dtype=torch.int64)).mean
    loss.backward()
    assert loss == 0
    assert not box_deltas.grad.any()


def test_losses_without_regions_are_zero_and_have_a_gradient() -> None:
    no_regions = torch.zeros(0, dtype=torch.int64)
    logits, box_deltas, masks = (
        torch.zeros(shape, requires_grad=True) for shape in [(0, 3), (0, 2, 4), (0, 2, 28, 28)]
    )
    losses = [
        class_loss(logits, no_regions).mean,
        class_loss(logits, no_regions, (1.0, 2.0, 3.0), 2.0).mean,
        box_loss(box_deltas, torch.zeros(0, 4), no_regions).mean,
        mask_loss(masks, torch.zeros(0, 28, 28, dtype=torch.int64), no_regions).mean,
    ]
    total = torch.stack(losses)
    assert not total.any()
    total.sum().backward()
    assert all(values.grad is not None for values in (logits, box_deltas, masks))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_mask_score_loss_is_half_of_the_mean_squared_error_of_the_true_class(dtype: torch.dtype) -> None:
    scores = torch.tensor([[0.5, 9, 9], [9, 9, 0.25]], dtype=dtype, requires_grad=True)
    loss = mask_score_loss(scores, torch.tensor([1.0, 0.75]), torch.tensor([0, 2]))
    assert loss.mean.item() == pytest.approx((0.5**2 + 0.5**2) / 2 / 2)
    assert loss.mean.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    loss.mean.backward()
    assert scores.grad.tolist() == [[-0.25, 0, 0], [0, 0, -0.25]]


def test_mask_score_loss_without_regions_is_zero_and_has_a_gradient() -> None:
    scores = torch.zeros(0, 3, requires_grad=True)
    loss = mask_score_loss(scores, torch.zeros(0), torch.zeros(0, dtype=torch.int64)).mean
    loss.backward()
    assert loss == 0
    assert scores.grad is not None


def test_losses_of_uniform_predictions_are_logarithms() -> None:
    assert float(class_loss(torch.zeros(4, 8), torch.arange(4)).mean) == pytest.approx(math.log(8))
    masks = mask_loss(torch.zeros(2, 3, 4, 4), torch.ones(2, 4, 4, dtype=torch.int64), torch.tensor([1, 2])).mean
    assert float(masks) == pytest.approx(math.log(2))


@pytest.mark.parametrize("loss", ["class", "mask"])
def test_losses_of_extreme_wrong_logits_stay_finite_in_half_precision(loss: str) -> None:
    if loss == "class":
        value = class_loss(torch.tensor([[-6e4, 6e4]], dtype=torch.float16), torch.tensor([0])).mean
        assert float(value) == pytest.approx(1.2e5, rel=1e-2)
    else:
        logits = torch.full((1, 1, 28, 28), 6e4, dtype=torch.float16)
        value = mask_loss(logits, torch.zeros(1, 28, 28, dtype=torch.int64), torch.tensor([0])).mean
        assert float(value) == pytest.approx(6e4, rel=1e-2)
    assert value.dtype == torch.float32
