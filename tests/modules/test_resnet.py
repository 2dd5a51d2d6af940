"""ResNets compared with torchvision's, and their state dicts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from oracles.gradients import assert_every_parameter_moves
from oracles.norm import stir
from oracles.published_names import published, shapes
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from seamseg.modules.norm import NormFactory
from seamseg.modules.resnet import RESNET_BLOCKS, ResNet, ResNetName

SMALL: list[ResNetName] = ["resnet18", "resnet34"]
LARGE: list[ResNetName] = ["resnet50", "resnet101", "resnet152"]
RELU = 1e-100
"""Slope that makes a leaky ReLU an ordinary ReLU, but is not zero, because the norm divides by it."""


def without_storage(name: ResNetName, norm: NormFactory | None = None) -> ResNet:
    with torch.device("meta"):
        return ResNet(name, norm or NormFactory("bn"))


def our_name(name: str) -> str:
    """Return our name of an entry of torchvision's state dict."""
    match = re.fullmatch(r"layer(\d)\.(\d+)\.(.*)", name)
    if match is None:
        return f"mod1.{name}"
    group, block, rest = int(match[1]) + 1, int(match[2]) + 1, match[3]
    rest = rest.replace("downsample.0", "proj_conv").replace("downsample.1", "proj_bn")
    return f"mod{group}.block{block}.{rest if rest.startswith('proj') else f'convs.{rest}'}"


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnet_maps_have_the_expected_channels_and_strides(name: ResNetName) -> None:
    network = without_storage(name)
    assert network.channels == ((64, 128, 256, 512) if name in SMALL else (256, 512, 1024, 2048))
    assert network.strides == (4, 8, 16, 32)
    features = network(torch.empty(2, 3, 64, 96, device="meta"))
    expected = [(2, c, 64 // s, 96 // s) for c, s in zip(network.channels, network.strides, strict=True)]
    assert [tuple(feature.shape) for feature in features] == expected


@pytest.mark.parametrize(("height", "width"), [(479, 320), (373, 33), (1, 31)])
def test_resnet_rounds_map_sizes_up_at_every_stride(height: int, width: int) -> None:
    network = without_storage("resnet18").eval()
    features = network(torch.empty(1, 3, height, width, device="meta"))
    assert [tuple(feature.shape[-2:]) for feature in features] == [
        (-(-height // stride), -(-width // stride)) for stride in network.strides
    ]


@pytest.mark.parametrize("name", SMALL + LARGE)
def test_resnet_state_dict_has_the_entries_of_torchvision(name: ResNetName) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.get_model(name)
    expected = {our_name(key): shape for key, shape in shapes(theirs).items() if not key.startswith("fc.")}
    assert shapes(without_storage(name)) == expected


@pytest.mark.parametrize("norm", ["bn", "syncbn", "affine"])
def test_resnet_state_dict_has_the_published_names_and_shapes(shared: Path, norm: str) -> None:
    network = without_storage("resnet50", NormFactory(norm))  # type: ignore[arg-type]
    assert shapes(network) == published(shared, "body.backbone")


def torchvision_pair(name: ResNetName, monkeypatch: pytest.MonkeyPatch) -> tuple[ResNet, nn.Module]:
    """Return our network and torchvision's with the same weights in float64, and few blocks to be quick."""
    blocks = (2, 1, 1, 1)
    monkeypatch.setitem(RESNET_BLOCKS, name, replace(RESNET_BLOCKS[name], blocks=blocks))
    ours = ResNet(name, NormFactory("bn", slope=RELU, scale="signed")).double()
    kind = Bottleneck if RESNET_BLOCKS[name].bottleneck else BasicBlock
    theirs = torchvision.models.ResNet(kind, list(blocks)).double()
    stir(theirs)
    tensors = {our_name(key): value.clone() for key, value in theirs.state_dict().items() if key[:3] != "fc."}
    for key, value in tensors.items():
        if value.ndim == 1 and key.endswith("weight"):
            value -= value.sign() * 1e-5  # added again by the norm
    ours.load_state_dict(tensors)
    return ours, theirs


def torchvision_features(network: nn.Module, images: Tensor) -> list[Tensor]:
    x = network.maxpool(network.relu(network.bn1(network.conv1(images))))  # type: ignore[operator]
    features = []
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        x = layer(x)  # type: ignore[operator]
        features.append(x)
    return features


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_resnet_equals_torchvision_in_values_gradients_and_statistics(
    name: ResNetName, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = (network.train(training) for network in torchvision_pair(name, monkeypatch))
    images = torch.randn(2, 3, 33, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, expected = ours(images), torchvision_features(theirs, images)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7)
    for features in (found, expected):
        sum((feature.sin().mean() for feature in features), torch.zeros(())).backward()
    gradients = {key: value.grad for key, value in ours.named_parameters()}
    for key, parameter in theirs.named_parameters():
        if key[:3] != "fc.":
            torch.testing.assert_close(gradients[our_name(key)], parameter.grad, rtol=1e-5, atol=1e-7)
    buffers = dict(ours.named_buffers())
    for key, buffer in theirs.named_buffers():
        torch.testing.assert_close(buffers[our_name(key)], buffer, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("norm", ["bn", "gn", "affine"])
def test_resnet_gradients_reach_every_parameter(norm: str) -> None:
    network = ResNet("resnet18", NormFactory(norm))  # type: ignore[arg-type]
    stir(network)
    images = torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    torch.stack([feature.square().mean() for feature in network(images)]).sum().backward()
    assert_every_parameter_moves(network)
