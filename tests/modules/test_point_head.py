"""Point head compared with its definition."""

from __future__ import annotations

import pytest
import torch
from oracles.gradients import assert_every_gradient_is_zero, assert_every_parameter_moves
from torch import Tensor

from seamseg.modules.point_head import PointHead

NUM_THINGS, NUM_POINTS = 3, 7


def head() -> PointHead:
    made, generator = PointHead(4, 6, NUM_THINGS), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return made


def inputs(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    shape = count, NUM_POINTS
    return torch.randn(*shape, 4, generator=generator), torch.randn(shape, generator=generator)


def test_point_head_equals_its_layers_computed_by_hand_for_each_point() -> None:
    made, (features, coarse) = head(), inputs(2)
    found = made(features, coarse)
    assert found.shape == (2, NUM_THINGS, NUM_POINTS)
    for region in range(2):
        for point in range(NUM_POINTS):
            logit, hidden = coarse[region, point], features[region, point]
            for layer in (made.fc1, made.fc2, made.fc3):
                own, hint = layer.weight[:, :-1], layer.weight[:, -1]
                hidden = (own @ hidden + hint * logit + layer.bias).clamp(min=0)
            expected = made.roi_pnt.weight[:, :-1] @ hidden + made.roi_pnt.weight[:, -1] * logit + made.roi_pnt.bias
            torch.testing.assert_close(found[region, :, point], expected, rtol=1e-4, atol=1e-4)


def test_point_head_gradients_reach_every_parameter_and_both_inputs() -> None:
    made, (features, coarse) = head(), inputs(3)
    features.requires_grad_(), coarse.requires_grad_()
    made(features, coarse).square().sum().backward()
    assert_every_parameter_moves(made)
    assert all(one.grad is not None and one.grad.any() for one in (features, coarse))


def test_point_head_without_regions_has_zero_gradients() -> None:
    made = head()
    found = made(*inputs(0))
    assert found.shape == (0, NUM_THINGS, NUM_POINTS)
    found.sum().backward()
    assert_every_gradient_is_zero(made)


@pytest.mark.parametrize("feature_type", [torch.float32, torch.bfloat16])
def test_point_head_in_bfloat16_is_close_to_float32(feature_type: torch.dtype) -> None:
    made, (features, coarse) = head(), inputs(3)
    with torch.autocast("cpu", torch.bfloat16):
        found = made(features.to(feature_type), coarse)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), made(features, coarse), rtol=0.1, atol=0.5)
