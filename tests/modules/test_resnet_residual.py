"""Residual blocks: definition, in-place norms, and memory."""

from __future__ import annotations

import copy

import pytest
import torch
from oracles.norm import activate, stir
from support.pairwise import pairwise
from torch import Tensor, nn

from benchmarks.memory import saved_bytes
from seamseg.modules.abn import ABN, InPlaceABN
from seamseg.modules.norm import AffineAct, GroupNormAct, NormFactory, NormName
from seamseg.modules.resnet import ResidualBlock

NORM = NormFactory("affine", "elu", 0.3)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def plain_norm(norm: nn.Module, x: Tensor) -> Tensor:
    """Apply an affine norm without its activation."""
    assert isinstance(norm, AffineAct)
    return nn.functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


def by_definition(block: ResidualBlock, x: Tensor) -> Tensor:
    """Apply convolutions and norms with activations between them, then the sum and an activation."""
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
def test_residual_block_equals_its_layers_in_order(bottleneck: bool, in_channels: int, stride: int) -> None:
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
def test_residual_block_has_its_stride_on_the_first_3x3(
    bottleneck: bool, kernels: list[int], strides: list[int]
) -> None:
    block = ResidualBlock(8, 4, 16, NORM, 2, bottleneck)
    convs = [layer for layer in block.convs if isinstance(layer, nn.Conv2d)]
    assert [conv.kernel_size for conv in convs] == [(kernel, kernel) for kernel in kernels]
    assert [conv.stride for conv in convs] == [(stride, stride) for stride in strides]
    assert [conv.bias for conv in (*convs, block.proj_conv)] == [None] * (len(kernels) + 1)


@pytest.mark.parametrize("name", ["bn", "gn"])
@pytest.mark.parametrize("bottleneck", [False, True], ids=["plain", "bottleneck"])
def test_residual_block_has_activations_in_all_norms_but_the_projection(name: NormName, bottleneck: bool) -> None:
    block = ResidualBlock(8, 16, 32, NormFactory(name, groups=4), 2, bottleneck)
    norms = [layer for layer in block.convs if hasattr(layer, "activation")]
    assert [norm.activation for norm in (*norms, block.proj_bn)] == ["leaky_relu"] * len(norms) + ["identity"]
    assert all(isinstance(norm, GroupNormAct) == (name == "gn") for norm in norms)


def out_of_place(block: ResidualBlock) -> ResidualBlock:
    """Return a copy with out-of-place norms."""
    other = copy.deepcopy(block)
    for parent in (other, other.convs):
        for name, norm in list(parent.named_children()):
            if isinstance(norm, InPlaceABN):
                twin = ABN(norm.num_channels, norm.activation, norm.slope, scale=norm.scale)
                twin.to(norm.running_mean.dtype).load_state_dict(norm.state_dict())
                setattr(parent, name, twin)
    return other.train(block.training)


def training_step(block: nn.Module, x: Tensor) -> list[Tensor]:
    leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
    z = block(leaf)
    upstream = torch.empty_like(z).normal_(generator=torch.Generator().manual_seed(3))
    gradients = torch.autograd.grad(z, [leaf, *block.parameters()], upstream)
    return [z, *gradients, *(buffer for buffer in block.buffers() if buffer.is_floating_point())]


@pytest.mark.parametrize(
    ("bottleneck", "shape", "norm", "channels_last"),
    pairwise(
        [False, True],
        [(8, 1), (6, 2)],
        [NormFactory(), NormFactory(scale="signed"), NormFactory(activation="elu", slope=0.5)],
        [False, True],
    ),
)
def test_residual_block_with_in_place_norms_equals_out_of_place_norms(
    bottleneck: bool, shape: tuple[int, int], norm: NormFactory, channels_last: bool
) -> None:
    in_channels, stride = shape
    block = ResidualBlock(in_channels, 4 if bottleneck else 8, 8, norm, stride, bottleneck).double()
    stir(block)
    x = random(2, in_channels, 7, 10).double()
    if channels_last:
        x, block = x.contiguous(memory_format=torch.channels_last), block.to(memory_format=torch.channels_last)
    expected = training_step(out_of_place(block), x)
    before = x.clone()
    found = training_step(block, x)
    torch.testing.assert_close(found, expected)
    assert torch.equal(x, before)
    if channels_last:
        assert found[0].is_contiguous(memory_format=torch.channels_last)
        assert found[1].is_contiguous(memory_format=torch.channels_last)


def test_two_blocks_under_autocast_equal_out_of_place_norms() -> None:
    """The output of the first block is input, shortcut and residual of the second."""
    blocks = [ResidualBlock(4, 4, 8, NormFactory(), 1, True), ResidualBlock(8, 4, 8, NormFactory(), 1, True)]
    network = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), *blocks)
    stir(network)
    twin = nn.Sequential(copy.deepcopy(network[0]), *(out_of_place(block) for block in blocks))
    x = random(2, 3, 8, 8)
    for types in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", types, enabled=types != torch.float32):
            found, expected = training_step(network, x), training_step(twin, x)
        assert found[0].dtype == types
        assert [one.dtype for one in found[1:]] == [torch.float32] * (len(found) - 1)
        tolerance = 2e-5 if types == torch.float32 else 0.1
        for one, other in zip(found, expected, strict=True):
            assert (one.float() - other.float()).norm() < tolerance * other.float().norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_identity_block_keeps_one_output_per_norm(dtype: torch.dtype) -> None:
    block = ResidualBlock(32, 8, 32, NormFactory(), 1, True).to(dtype)
    x = torch.randn(2, 32, 24, 24, dtype=dtype)
    numbers = 2 * 24 * 24 * (8 + 8 + 32)
    assert numbers * x.element_size() <= saved_bytes(block, x) < 1.05 * numbers * x.element_size()


def test_projection_block_keeps_its_projection_once() -> None:
    block = ResidualBlock(16, 8, 32, NormFactory(), 2, True)
    numbers = 2 * (24 * 24 * 8 + 12 * 12 * (8 + 32 + 32))
    assert numbers * 4 <= saved_bytes(block, torch.randn(2, 16, 24, 24)) < 1.05 * numbers * 4
