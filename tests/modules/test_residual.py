from __future__ import annotations

import pytest
import torch
from oracles.norm import activate, stir
from torch import Tensor, nn

from seamseg.modules.abn import AffineAct
from seamseg.modules.norm import GroupNormAct, Norm, NormName
from seamseg.modules.residual import ResidualBlock

NORM = Norm("affine", "elu", 0.3)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def plain_norm(norm: nn.Module, x: Tensor) -> Tensor:
    """An affine norm without its activation."""
    assert isinstance(norm, AffineAct)
    return nn.functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


def by_definition(block: ResidualBlock, x: Tensor) -> Tensor:
    """Convolutions and norms in order, activations between them, the sum, an activation."""
    layers = list(block.convs)
    branch = x
    for index in range(0, len(layers), 2):
        branch = plain_norm(layers[index + 1], layers[index](branch))
        if index + 2 < len(layers):
            branch = activate(branch, "elu", 0.3)
    shortcut = plain_norm(block.proj_bn, block.proj_conv(x)) if hasattr(block, "proj_conv") else x
    return activate(branch + shortcut, "elu", 0.3)


@pytest.mark.parametrize("bottleneck", [False, True], ids=["plain", "bottleneck"])
@pytest.mark.parametrize(("in_channels", "stride"), [(8, 1), (6, 1), (8, 2), (6, 2)])
def test_a_block_is_what_it_says(bottleneck: bool, in_channels: int, stride: int) -> None:
    block = ResidualBlock(in_channels, 4 if bottleneck else 8, 8, NORM, stride, bottleneck)
    stir(block)
    x = random(2, in_channels, 7, 10)
    before = x.clone()
    found = block(x)
    assert torch.equal(x, before), "the input is the shortcut and must not be overwritten"
    assert found.shape == (2, 8, 7 if stride == 1 else 4, 10 // stride)
    torch.testing.assert_close(found, by_definition(block, x))
    assert hasattr(block, "proj_conv") == ((in_channels, stride) != (8, 1))


@pytest.mark.parametrize(
    ("bottleneck", "kernels", "strides"),
    [(False, [3, 3], [2, 1]), (True, [1, 3, 1], [1, 2, 1])],
    ids=["plain", "bottleneck"],
)
def test_the_stride_sits_on_the_first_3x3(bottleneck: bool, kernels: list[int], strides: list[int]) -> None:
    block = ResidualBlock(8, 4, 16, NORM, 2, bottleneck)
    convs = [layer for layer in block.convs if isinstance(layer, nn.Conv2d)]
    assert [conv.kernel_size for conv in convs] == [(kernel, kernel) for kernel in kernels]
    assert [conv.stride for conv in convs] == [(stride, stride) for stride in strides]
    assert [conv.bias for conv in (*convs, block.proj_conv)] == [None] * (len(kernels) + 1)


@pytest.mark.parametrize("name", ["bn", "gn"])
@pytest.mark.parametrize("bottleneck", [False, True], ids=["plain", "bottleneck"])
def test_all_norms_but_the_shortcuts_activate(name: NormName, bottleneck: bool) -> None:
    block = ResidualBlock(8, 16, 32, Norm(name, groups=4), 2, bottleneck)
    norms = [layer for layer in block.convs if hasattr(layer, "activation")]
    assert [norm.activation for norm in (*norms, block.proj_bn)] == ["leaky_relu"] * len(norms) + ["identity"]
    assert all(isinstance(norm, GroupNormAct) == (name == "gn") for norm in norms)
