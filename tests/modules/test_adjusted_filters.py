"""Layers with centered or standardized filters: values, gradients, and where networks have them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from oracles.norm import stir
from support.tiny_network import tiny_network
from torch import Tensor, nn
from torch.nn import functional

from seamseg.builders.body import BODIES
from seamseg.modules.adjusted_filters import (
    AdjustedConv2d,
    AdjustedConvTranspose2d,
    AdjustedLinear,
    Adjustment,
    use_adjusted_weight,
)
from seamseg.modules.deeplab_head import DeepLabHead
from seamseg.modules.norm import NormFactory

ADJUSTED = (AdjustedConv2d, AdjustedConvTranspose2d, AdjustedLinear)
LAYERS: dict[str, Callable[[NormFactory], nn.Module]] = {
    "conv": lambda norm: norm.conv(6, 4, 3, stride=2, dilation=2, groups=2),
    "conv_transpose": lambda norm: norm.conv_transpose(6, 4, 2, stride=2),
    "linear": lambda norm: norm.linear(6, 4),
}
FACTORIES: dict[Adjustment, NormFactory] = {
    "center": NormFactory("mabn"),
    "standardize": NormFactory("gn", groups=2, standardize_weights=True),
}
cases = pytest.mark.parametrize(("kind", "adjustment"), [(kind, rule) for kind in LAYERS for rule in FACTORIES])


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def pair(kind: str, adjustment: Adjustment) -> tuple[nn.Module, nn.Module, Tensor]:
    """Return an adjusted layer, an ordinary one of the same shape, and an input."""
    layer, plain = LAYERS[kind](FACTORIES[adjustment]).double(), LAYERS[kind](NormFactory("bn")).double()
    assert isinstance(layer, ADJUSTED)
    assert not isinstance(plain, ADJUSTED)
    stir(layer)
    with torch.no_grad():
        layer.weight += 0.3
    return layer, plain, random(5, 6) if kind == "linear" else random(2, 6, 7, 5)


def filters(weight: Tensor, kind: str) -> list[Tensor]:
    return list(weight.unbind(1 if kind == "conv_transpose" else 0))


@cases
def test_adjusted_layer_equals_ordinary_layer_with_filters_adjusted_one_by_one(
    kind: str, adjustment: Adjustment
) -> None:
    layer, plain, x = pair(kind, adjustment)
    adjusted = []
    for one in filters(layer.weight.detach(), kind):
        mean = one.sum() / one.numel()
        deviation = ((one - mean) ** 2).sum().div(one.numel()).sqrt()
        adjusted.append((one - mean) / (1 if adjustment == "center" else deviation))
    with torch.no_grad():
        plain.weight.copy_(torch.stack(adjusted, dim=1 if kind == "conv_transpose" else 0))
        torch.testing.assert_close(layer(x), plain(x), rtol=1e-6, atol=1e-6)
    assert layer.state_dict().keys() == plain.state_dict().keys()


@cases
def test_adjusted_layer_gradients_equal_finite_differences(kind: str, adjustment: Adjustment) -> None:
    layer, _, x = pair(kind, adjustment)

    def call(weight: Tensor, x: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight": weight}, (x,))

    weight = layer.weight.detach().requires_grad_()
    assert torch.autograd.gradcheck(call, (weight, x.requires_grad_()), nondet_tol=1e-12)
    # Adding a constant to a filter changes nothing, so no gradient points in this direction.
    (gradient,) = torch.autograd.grad(call(weight, x).square().sum(), weight)
    assert all(abs(float(one.sum())) < 1e-8 for one in filters(gradient, kind))


@cases
def test_use_adjusted_weight_gives_an_ordinary_layer_with_equal_outputs(kind: str, adjustment: Adjustment) -> None:
    layer, plain, x = pair(kind, adjustment)
    expected = layer(x)
    use_adjusted_weight(layer)
    assert type(layer) is type(plain)
    torch.testing.assert_close(layer(x), expected)


def test_filter_of_equal_weights_gives_zeros_and_finite_gradients() -> None:
    for norm in FACTORIES.values():
        layer = norm.conv(2, 2, 3)
        nn.init.ones_(layer.weight)
        y = layer(torch.ones(1, 2, 4, 4))
        y.sum().backward()
        assert not y.any()
        assert layer.weight.grad.isfinite().all()


def test_centered_convolution_of_a_constant_image_is_zero_inside() -> None:
    layer = FACTORIES["center"].conv(3, 4, 3)
    y = layer(torch.full((1, 3, 6, 6), 7.0))[..., 1:-1, 1:-1]
    torch.testing.assert_close(y, torch.zeros_like(y), rtol=0, atol=1e-5)


def layers(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))]


@pytest.mark.parametrize("name", BODIES)
def test_every_layer_of_a_body_is_centered_for_mabn_and_ordinary_for_batch_norm(name: str) -> None:
    with torch.device("meta"):
        centered, plain = (BODIES[name](NormFactory(norm)) for norm in ("mabn", "bn"))  # type: ignore[arg-type]
    assert all(isinstance(layer, ADJUSTED) and layer.adjustment == "center" for layer in layers(centered))
    assert not any(isinstance(layer, ADJUSTED) for layer in layers(plain))
    shapes = [{key: value.shape for key, value in body.named_parameters()} for body in (centered, plain)]
    assert shapes[0] == shapes[1]


def test_layers_of_the_heads_are_adjusted_unless_their_output_is_a_prediction() -> None:
    networks = [tiny_network(NormFactory("gn", groups=4, standardize_weights=True))]
    networks.append(DeepLabHead(8, NormFactory("mabn"), 4, 4))  # type: ignore[arg-type]
    for network in networks:
        for layer in layers(network):
            assert isinstance(layer, ADJUSTED) == (layer.bias is None)  # predictions have a bias


def test_standardized_filters_do_not_depend_on_the_scale_of_the_weight() -> None:
    layer, _, x = pair("conv", "standardize")
    expected = layer(x)
    with torch.no_grad():
        layer.weight.mul_(0.05)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-6)
    assert functional.conv2d(x, layer.weight, stride=2, padding=2, dilation=2, groups=2).std() < 0.5 * expected.std()
