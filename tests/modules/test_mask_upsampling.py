"""Upsampling of some regions compared with the layers, run on all regions."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from oracles.norm import stir
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from seamseg.modules.abn import ABN, InPlaceABN
from seamseg.modules.mask_upsampling import _MomentsAndRows, can_upsample_rows, upsample_rows
from seamseg.modules.norm import NormFactory, running_statistics
from seamseg.modules.roi_head import RoIHead
from seamseg.ops.inplace_abn import Activation

ROWS = torch.tensor([4, 0, 69])


def layers(activation: Activation = "leaky_relu", kernel_size: int = 2, norm: type[ABN] = InPlaceABN) -> nn.Sequential:
    torch.manual_seed(0)
    conv = nn.ConvTranspose2d(5, 4, kernel_size, kernel_size, bias=False)
    made = nn.Sequential(conv, norm(4, activation, 0.3)).double()
    stir(made)
    return made


def features(count: int = 70, offset: float = 0.0, memory_format: torch.memory_format = torch.channels_last) -> Tensor:
    """Return features of more regions than are processed at a time, with correlated channels."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 5, 3, 2, generator=generator, dtype=torch.float64)
    x = torch.einsum("nchw,cd->ndhw", x, torch.randn(5, 5, generator=generator, dtype=torch.float64)) + offset
    return x.contiguous(memory_format=memory_format).requires_grad_()


def gradients(y: Tensor, x: Tensor, made: nn.Module) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    loss = (y * torch.randn(y.shape, generator=generator, dtype=y.dtype)).sum()
    return list(torch.autograd.grad(loss, [x, *made.parameters()]))


@pytest.mark.parametrize("activation", ["leaky_relu", "elu", "identity"])
@pytest.mark.parametrize("kernel_size", [1, 2, 3])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_upsample_rows_equals_rows_of_the_layers(
    activation: Activation, kernel_size: int, memory_format: torch.memory_format
) -> None:
    made, x = layers(activation, kernel_size, ABN), features(memory_format=memory_format)
    ours = layers(activation, kernel_size)
    expected, found = made(x)[ROWS], upsample_rows(ours[0], ours[1], nn.Identity(), x, ROWS)
    torch.testing.assert_close(found, expected)
    for one, other in zip(gradients(found, x, ours), gradients(expected, x, made), strict=True):
        torch.testing.assert_close(one, other)
    for (name, one), other in zip(ours.named_buffers(), made.buffers(), strict=True):
        torch.testing.assert_close(one, other, msg=name)


@pytest.mark.parametrize("rows", [None, torch.arange(66)])
def test_many_rows_in_chunks_equal_the_layers(rows: Tensor | None) -> None:
    made, ours, x = layers(norm=ABN), layers(), features()
    output, other = nn.Conv2d(4, 2, 1).double(), nn.Conv2d(4, 2, 1).double()
    other.load_state_dict(output.state_dict())
    expected = other(made(x) if rows is None else made(x)[rows])
    found = upsample_rows(ours[0], ours[1], output, x, rows)
    torch.testing.assert_close(found, expected)
    layer_pairs = (nn.Sequential(ours, output), found), (nn.Sequential(made, other), expected)
    for one, same in zip(*(gradients(y, x, network) for network, y in layer_pairs), strict=True):
        torch.testing.assert_close(one, same)


@pytest.mark.parametrize("norm", ["bn", "gn"])
@pytest.mark.parametrize("some_rows", [True, False])
def test_backward_pass_never_holds_the_upsampled_maps_of_all_regions(norm: str, some_rows: bool) -> None:
    head = RoIHead(4, 3, 8, 6, NormFactory(norm, groups=2))  # type: ignore[arg-type]
    x = torch.randn(320, 4, 14, 14, requires_grad=True)
    made: list[int] = []

    class CountElements(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor) and result.shape[-2:] == (28, 28) and result.shape[1] == 6:
                made.append(len(result))
            return result

    with CountElements():
        head.masks(x, torch.arange(0, 320, 2) if some_rows else None).sum().backward()
    assert made
    assert max(made) <= 64


@pytest.mark.parametrize("rows", [torch.tensor([], dtype=torch.int64), torch.tensor([0])])
@pytest.mark.parametrize("count", [0, 2])
def test_upsample_rows_of_few_or_no_rows_has_finite_gradients(rows: Tensor, count: int) -> None:
    made, rows = layers(), rows[:count]
    before = copy.deepcopy(made.state_dict())
    x = features(count)
    y = upsample_rows(made[0], made[1], nn.Identity(), x, rows)
    assert y.shape == (len(rows), 4, 6, 4)
    for gradient in gradients(y, x, made):
        assert gradient.isfinite().all()
        assert gradient.any() == bool(len(rows))
    moved = {name for name, value in made.state_dict().items() if not torch.equal(value, before[name])}
    assert bool(moved) == bool(count), "a batch without samples must not change the running statistics"


def test_moments_of_inputs_with_a_large_mean_are_accurate() -> None:
    x = features(offset=1000.0).detach()
    mean, covariance, _ = _MomentsAndRows.apply(x.float(), ROWS)
    samples = x.float().double().movedim(1, -1).flatten(0, -2)
    torch.testing.assert_close(mean.double(), samples.mean(dim=0), rtol=1e-6, atol=0)
    torch.testing.assert_close(covariance.double(), torch.cov(samples.T, correction=0), rtol=1e-4, atol=1e-4)


def test_gradients_of_moments_and_rows_equal_finite_differences() -> None:
    rows = torch.tensor([65, 2, 65])
    assert torch.autograd.gradcheck(lambda x: _MomentsAndRows.apply(x, rows), features(66)[:, :2])


def test_upsample_rows_under_autocast_is_close_to_float32() -> None:
    made, x = layers().float(), features(8).detach().float()
    expected = upsample_rows(made[0], made[1], nn.Identity(), x, ROWS[:2])
    with torch.autocast("cpu", torch.bfloat16):
        found = upsample_rows(made[0], made[1], nn.Identity(), x.bfloat16(), ROWS[:2])
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.03, atol=0.03)


@pytest.mark.parametrize(
    ("norm", "expected"), [("bn", True), ("syncbn", True), ("plain", False), ("gn", False), ("mabn", False)]
)
def test_only_batch_statistics_of_in_place_norms_follow_from_the_input(norm: str, expected: bool) -> None:
    factory = NormFactory(norm, groups=2)  # type: ignore[arg-type]
    conv, made = factory.conv_transpose(4, 4, 2, 2), factory.make(4)
    assert can_upsample_rows(conv, made) == expected
    with running_statistics(made):
        assert not can_upsample_rows(conv, made)
    assert not can_upsample_rows(nn.ConvTranspose2d(4, 4, 3, 2, bias=False), InPlaceABN(4)), "blocks that overlap"


@pytest.mark.parametrize("norm", ["bn", "plain", "gn", "affine", "brn"])
@pytest.mark.parametrize("training", [True, False])
def test_masks_of_some_rows_equal_those_of_all(norm: str, training: bool) -> None:
    head = RoIHead(4, 3, 8, 6, NormFactory(norm, groups=2)).train(training)  # type: ignore[arg-type]
    stir(head)
    other, x = copy.deepcopy(head), torch.randn(5, 4, 14, 14, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([3, 1])
    torch.testing.assert_close(head.masks(x, rows), other.masks(x)[rows], rtol=1e-4, atol=1e-4)
    for (name, one), buffer in zip(head.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(one, buffer, rtol=1e-4, atol=1e-5, msg=name)
