"""Folding of norms into the layers in front of them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from oracles.norm import activate, stir
from support.tiny_network import scenes, tiny_network
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from seamseg.modules.abn import ABN, InPlaceABN, InPlaceABNSync
from seamseg.modules.folding import FoldedNorm, fold, fold_norms
from seamseg.modules.norm import AffineAct, GroupNormAct, NormFactory, NormName
from seamseg.modules.resnet import ResidualBlock
from seamseg.structures.images import pad_images

LAYERS: list[tuple[Any, tuple[int, ...]]] = [
    (nn.Conv2d(4, 6, 3, padding=1, bias=False), (2, 4, 5, 6)),
    (nn.Conv2d(4, 6, 3, stride=2, dilation=2, groups=2), (2, 4, 9, 8)),
    (nn.Conv2d(4, 6, 3, padding=2, padding_mode="reflect"), (2, 4, 5, 6)),
    (nn.ConvTranspose2d(4, 6, 2, stride=2, bias=False), (2, 4, 3, 3)),
    (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (2, 4, 3, 3)),
    (nn.Conv1d(4, 6, 3, groups=2), (2, 4, 7)),
    (nn.ConvTranspose1d(4, 6, 3, groups=2), (2, 4, 7)),
    (nn.Conv3d(4, 6, 2), (2, 4, 3, 3, 3)),
    (nn.Linear(4, 6, bias=False), (5, 4)),
    (nn.Linear(4, 6), (5, 4)),
]


def random(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def stirred(layer: nn.Module, norm: ABN, dtype: torch.dtype = torch.float64) -> tuple[Any, ABN]:
    layer, norm = copy.deepcopy(layer).to(dtype), norm.to(dtype).eval()
    stir(layer)
    stir(norm, seed=2)
    return layer, norm


@pytest.mark.parametrize(
    ("layer", "shape", "norm"),
    [
        *((*case, ABN(6, "identity")) for case in LAYERS),
        (*LAYERS[0], InPlaceABN(6, "identity", scale="signed")),
        (*LAYERS[0], AffineAct(6, "identity")),
    ],
    ids=lambda value: str(value).split("(")[0],
)
@torch.no_grad()
def test_folded_layer_equals_layer_and_norm(layer: nn.Module, shape: tuple[int, ...], norm: ABN) -> None:
    layer, norm = stirred(layer, norm)
    before = copy.deepcopy([*layer.state_dict().values(), *norm.state_dict().values()])
    folded = fold(layer, norm)  # type: ignore[type-var]
    assert type(folded) is type(layer)
    torch.testing.assert_close(folded(random(*shape)), norm(layer(random(*shape))), rtol=1e-12, atol=1e-12)
    assert all(
        torch.equal(*pair)
        for pair in zip(before, [*layer.state_dict().values(), *norm.state_dict().values()], strict=True)
    )


@torch.no_grad()
def test_fold_of_a_norm_without_parameters_uses_running_statistics_in_training_too() -> None:
    layer, norm = stirred(nn.Conv2d(4, 6, 3), InPlaceABN(6, "identity", affine=False))
    expected = norm(layer(random(2, 4, 5, 5)))
    torch.testing.assert_close(fold(layer, norm.train())(random(2, 4, 5, 5)), expected, rtol=1e-12, atol=1e-12)


def test_fold_leaves_the_activation_out() -> None:
    layer, norm = stirred(nn.Linear(4, 6), InPlaceABN(6, "elu", 0.7))
    y = fold(layer, norm)(random(5, 4))
    assert (y < 0).any()
    torch.testing.assert_close(activate(y, "elu", 0.7), norm(layer(random(5, 4))), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fold_keeps_the_type_of_the_layer(dtype: torch.dtype) -> None:
    folded = fold(nn.Conv2d(4, 6, 3, bias=False, dtype=dtype), InPlaceABN(6))
    assert {value.dtype for value in folded.state_dict().values()} == {dtype}


def test_fold_in_float32_adds_no_error_beyond_rounding() -> None:
    layer, norm = stirred(nn.Conv2d(64, 6, 3, bias=False), InPlaceABN(6, "identity"), torch.float32)
    with torch.no_grad():
        norm.running_mean += 100
        exact = copy.deepcopy(norm).double()(copy.deepcopy(layer).double()(random(1, 64, 8, 8)))
        folded = fold(layer, norm)(random(1, 64, 8, 8, dtype=torch.float32))
    assert float((folded - exact).abs().max() / exact.abs().max()) < 1e-6


def test_fold_keeps_channels_last_weights() -> None:
    layer = nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
    assert fold(layer, InPlaceABN(6)).weight.is_contiguous(memory_format=torch.channels_last)


def test_fold_of_a_norm_with_another_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="a norm over 7 channels cannot be folded into layers with 6 outputs"):
        fold(nn.Conv2d(4, 6, 3), InPlaceABN(7))


@pytest.mark.parametrize("activation", ["leaky_relu", "elu", "identity"])
def test_folded_norm_adds_the_residual_and_activates(activation: Any) -> None:
    left = FoldedNorm(activation, 0.3)
    x, residual = random(2, 3), -2 * random(2, 3)
    torch.testing.assert_close(left(x.clone()), activate(x, activation, 0.3))
    torch.testing.assert_close(left(x.clone(), residual), activate(x + residual, activation, 0.3))
    torch.testing.assert_close(residual, -2 * random(2, 3))


def norms(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, ABN)]


@pytest.mark.parametrize("bottleneck", [False, True], ids=["plain", "bottleneck"])
@pytest.mark.parametrize(("in_channels", "stride"), [(8, 1), (6, 2)], ids=["identity", "projection"])
@torch.no_grad()
def test_fold_norms_of_a_residual_block_equals_the_block(bottleneck: bool, in_channels: int, stride: int) -> None:
    block = ResidualBlock(in_channels, 4, 8, NormFactory("bn"), stride, bottleneck).double().eval()
    stir(block)
    x = random(2, in_channels, 6, 6)
    folded = fold_norms(block)
    assert norms(folded) == []
    torch.testing.assert_close(folded(x.clone()), block(x.clone()), rtol=1e-10, atol=1e-10)


class Backwards(nn.Sequential):
    """Applies its layers in reverse order."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in reversed(self):
            x = layer(x)
        return x


@torch.no_grad()
def test_fold_norms_folds_only_norms_right_after_a_layer() -> None:
    conv, norm = nn.Conv2d(4, 4, 3, padding=1), InPlaceABNSync(4)
    network = nn.Sequential(
        InPlaceABN(4),  # no layer in front
        conv,
        nn.MaxPool2d(2),
        ABN(4),  # a pool in front
        conv,
        norm,
        InPlaceABN(4),  # a norm in front
        Backwards(conv, norm),  # applied in reverse: the norm comes first
        nn.Sequential(conv, norm),  # used a second time
        conv,
        GroupNormAct(4, 2),  # no statistics
    )
    network.double().eval()
    stir(network)
    before = copy.deepcopy(network.state_dict())
    folded = fold_norms(network)
    torch.testing.assert_close(folded(random(2, 4, 6, 6)), network(random(2, 4, 6, 6)), rtol=1e-10, atol=1e-10)
    assert norms(folded) == ["0", "3", "6", "7.1"]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert norms(network) == ["0", "3", "5", "6"]


@pytest.mark.parametrize("name", ["bn", "syncbn", "affine", "gn", "brn", "mabn"])
@torch.no_grad()
def test_fold_norms_of_a_network_equals_the_network(name: NormName) -> None:
    network = tiny_network(name)
    stir(network)
    network.eval()
    folded: Any = fold_norms(network.train())
    network.eval()
    assert norms(folded) == []
    assert not any(module.training for module in folded.modules())
    images = pad_images(scenes(["objects", "objects"], [(64, 96), (48, 80)])[0]).tensor
    regions = random(3, 16, 14, 14, dtype=torch.float32)
    for found, expected in zip(outputs(folded, images, regions), outputs(network, images, regions), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def outputs(network: Any, images: Tensor, regions: Tensor) -> list[Tensor]:
    levels = network.body(images.clone())
    heads = [*network.rpn_head(levels), *network.roi_head.classify(regions), network.roi_head.masks(regions)]
    return [*levels, *heads, network.sem_head(levels)]


def test_fold_norms_of_a_network_predicts_the_same() -> None:
    network = tiny_network().eval()
    images, _ = scenes(["objects", "objects"], [(64, 96), (48, 80)])
    found, expected = fold_norms(network).predict(images), network.predict(images)  # type: ignore[operator]
    assert sum(len(boxes) for boxes in expected.boxes if boxes is not None) > 0
    torch.testing.assert_close(found.semantic_logits, expected.semantic_logits, rtol=1e-4, atol=1e-4)
    for one, other in zip(found.boxes, expected.boxes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_folded_network_passes_gradients_to_its_input() -> None:
    network = nn.Sequential(nn.Conv2d(4, 6, 3), InPlaceABN(6)).double().eval()
    stir(network)
    gradients = []
    for one in (network, fold_norms(network)):
        leaf = random(2, 4, 5, 5).requires_grad_()
        one(leaf).square().sum().backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


REPARAMETRIZATIONS: dict[str, Any] = {
    "weight_norm": weight_norm,
    "spectral_norm": spectral_norm,
    "new weight_norm": parametrizations.weight_norm,
    "new spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "pruning": lambda layer: prune.l1_unstructured(prune.random_unstructured(layer, "weight", 0.3), "bias", 0.5),
}


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize(
    ("layer", "reparameterize"),
    [
        *((nn.Conv2d(4, 6, 3), name) for name in REPARAMETRIZATIONS),
        (nn.ConvTranspose2d(4, 6, 3), "weight_norm"),
        (nn.ConvTranspose2d(4, 6, 3), "new spectral_norm"),
    ],
    ids=str,
)
def test_fold_norms_of_a_reparameterized_layer_gives_a_plain_one(layer: nn.Module, reparameterize: str) -> None:
    norm = InPlaceABN(6)
    network = nn.Sequential(REPARAMETRIZATIONS[reparameterize](copy.deepcopy(layer)), norm).double()
    stir(norm)
    network(random(2, 4, 5, 6)).sum().backward()  # leaves a weight with a graph behind it
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded: Any = fold_norms(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    for one in (folded[0], fold(network[0], norm)):  # type: ignore[type-var]
        assert type(one) is type(layer)
        assert one.state_dict().keys() == {"weight", "bias"}
    expected = network.eval()(random(2, 4, 5, 6))
    torch.testing.assert_close(folded(random(2, 4, 5, 6)), expected, rtol=1e-10, atol=1e-10)


def test_fold_norms_of_a_lazy_layer_asks_to_run_the_network_once() -> None:
    network = nn.Sequential(nn.LazyConv2d(6, 3), ABN(6))
    with pytest.raises(ValueError, match="run the network once"):
        fold_norms(network)
    network(torch.zeros(2, 4, 5, 6))
    assert norms(fold_norms(network)) == []
