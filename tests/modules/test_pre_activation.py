"""Pre-activation bodies and DenseNets against the same networks with BatchNorm and activation."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from oracles.norm import stir
from torch import Tensor, nn

from benchmarks.memory import saved_bytes
from seamseg.builders.body import build_body
from seamseg.config.network import BodySettings
from seamseg.modules.abn import ABN
from seamseg.modules.batchnorm import to_batchnorm
from seamseg.modules.body import Body
from seamseg.modules.densenet import DenseNet
from seamseg.modules.norm import NormFactory
from seamseg.modules.pre_activation import BlockGroup, PreActivationBlock, PreActivationBody, Stem

NORM = NormFactory("bn", scale="signed")


def with_batchnorm(network: nn.Module) -> nn.Module:
    """A copy whose norms are BatchNorms followed by activations."""
    network = copy.deepcopy(network)
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, ABN):
                setattr(parent, name, to_batchnorm(child))
    return network


def stem(stride: int) -> Stem:
    return Stem(OrderedDict(conv1=nn.Conv2d(3, 8, 3, stride, padding=1, bias=False)), 8, stride)


def pooled_body() -> Body:
    groups = [BlockGroup(2, (8, 10 + 2 * number), pool=number < 3) for number in range(4)]
    return PreActivationBody(stem(2), groups, NORM)


def bottleneck_body() -> Body:
    groups = [BlockGroup(3, (8, 8, 16), stride=2 if number else 1, groups=4) for number in range(3)]
    return PreActivationBody(stem(4), groups, NORM)


def dilated_body() -> Body:
    groups = [
        BlockGroup(2, (8, 12), stride=2),
        BlockGroup(1, (12, 16), dilation=2),
        BlockGroup(1, (8, 8, 24), dilation=4),
    ]
    return PreActivationBody(stem(4), groups, NORM)


def dense_body() -> Body:
    return DenseNet(stem(4), growth=4, num_layers=(4, 5, 6), norm=NORM)


BODIES = [pooled_body, bottleneck_body, dilated_body, dense_body]


def step(network: nn.Module, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Levels of a training step, and the gradients of a sum in which every value has another weight."""
    network.zero_grad()
    levels = network(images)
    generator = torch.Generator().manual_seed(1)
    torch.stack([(level * torch.randn(level.shape, generator=generator)).sum() for level in levels]).sum().backward()
    return levels, [parameter.grad for parameter in network.parameters()]


@pytest.mark.parametrize("build", BODIES)
def test_levels_and_gradients_equal_network_with_batchnorm(build: Callable[[], Body]) -> None:
    torch.manual_seed(0)
    body = build().double()
    stir(body)
    reference = with_batchnorm(body)
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    levels, gradients = step(body, images.clone())
    expected_levels, expected_gradients = step(reference, images.clone())
    assert [level.shape[1] for level in levels] == list(body.channels)
    assert [64 // level.shape[2] for level in levels] == list(body.strides)
    torch.testing.assert_close(levels, expected_levels, rtol=1e-7, atol=1e-9)
    assert len(gradients) == len(expected_gradients)
    for found, expected in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8 + 1e-9 * float(expected.abs().max()))


@pytest.mark.parametrize("build", BODIES)
def test_kept_bytes_of_small_body_are_about_half_of_batchnorm(build: Callable[[], Body]) -> None:
    body = build()
    images = torch.randn(2, 3, 64, 96)
    assert saved_bytes(body, images) <= 0.58 * saved_bytes(with_batchnorm(body), images)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "side", "limit"),
    [
        ("resnext50", 128, 0.52),
        ("wide_resnet38", 128, 0.53),
        ("wide_resnet38_a2", 64, 0.53),
        ("densenet121", 128, 0.52),
        ("densenet_bc100", 32, 0.51),
    ],
)
def test_kept_bytes_of_published_body_are_about_half_of_batchnorm(name: str, side: int, limit: float) -> None:
    body = build_body(BodySettings(name=name), NORM)
    images = torch.randn(2, 3, side, side)
    assert saved_bytes(body, images) <= limit * saved_bytes(with_batchnorm(body), images)


def test_kept_bytes_of_dense_group_are_one_tensor_per_norm() -> None:
    group = DenseNet(stem(4), growth=4, num_layers=(3,), norm=NORM).mod2
    x = torch.randn(2, 8, 5, 6)
    concatenated, inner = 8 + 12 + 16, 3 * 16
    statistics = 2 * (concatenated + inner)  # mean and variance of each channel
    assert saved_bytes(group, x) == 4 * (2 * 5 * 6 * (concatenated + inner) + statistics)


def test_kept_bytes_of_blocks_are_one_tensor_per_norm() -> None:
    x = torch.randn(2, 8, 6, 10)
    for block in (PreActivationBlock(8, (8, 8), NORM), PreActivationBlock(8, (8, 12), NORM)):
        statistics = 2 * (8 + 8)
        assert saved_bytes(nn.Sequential(Copy(), block), x) == 4 * (2 * 6 * 10 * (8 + 8) + statistics)


class Copy(nn.Module):
    """A producer that keeps nothing, so that the norm after it may overwrite its output."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clone()


def test_block_with_projection_and_identity_follow_their_definition() -> None:
    x = torch.randn(2, 8, 6, 10)
    for block in (PreActivationBlock(8, (4, 8), NORM), PreActivationBlock(8, (4, 6, 12), NORM, stride=2, groups=2)):
        reference = with_batchnorm(block)
        normed = reference.bn1(x.clone())
        shortcut = x if block.proj_conv is None else reference.proj_conv(normed)
        torch.testing.assert_close(block(x.clone()), reference.convs(normed) + shortcut)
    assert block.proj_conv is not None


def test_dropout_in_front_of_last_convolution_drops_whole_channels() -> None:
    block = PreActivationBlock(8, (64, 8), NORM, dropout=0.5)
    assert [name for name, _ in block.convs.named_children()] == ["conv1", "bn2", "dropout", "conv2"]
    dropped: list[Tensor] = []
    block.convs.conv2.register_forward_pre_hook(lambda _, args: dropped.append(args[0]))
    block(torch.randn(2, 8, 6, 6))
    zero = (dropped[0] == 0).flatten(2)
    assert torch.equal(zero.any(2), zero.all(2))
    assert 0 < zero.all(2).float().mean() < 1


def test_block_with_identity_refuses_to_start_after_its_norm() -> None:
    with pytest.raises(TypeError, match="needs its input"):
        PreActivationBlock(8, (8, 8), NORM).after_norm(torch.randn(1, 8, 4, 4))
