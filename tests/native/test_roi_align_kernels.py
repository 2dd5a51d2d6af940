"""The CUDA kernels of multilevel RoIAlign, run thread by thread on the CPU, compared with torchvision."""

from __future__ import annotations

import pytest
import torch
from native.harness import TYPES, Fault, build
from native.roi_align_kernels import RoIAlignKernels
from oracles import multilevel_roi_align as oracle
from support.roi_align_cases import SIZES, Case
from torch import Tensor

from seamseg.ops.multilevel_roi_align import multilevel_roi_align

LAYOUTS = pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> RoIAlignKernels:
    return RoIAlignKernels(build("roi_align.cpp", tmp_path_factory.mktemp("roi_align")))


def gradients(kernels: RoIAlignKernels, case: Case, weights: Tensor) -> list[Tensor]:
    """Return the gradients of the levels, given those of the features."""
    heights, widths = zip(*SIZES, strict=True)
    return kernels.multilevel_roi_align_gradient(weights, *case.regions(), 2, heights, widths, case.channels_last)


@LAYOUTS
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize(("channels", "size"), [(1, 1), (3, 2), (33, 7), (5, 14)])
def test_features_and_gradients_equal_torchvision(
    kernels: RoIAlignKernels, channels: int, size: int, dtype: torch.dtype, channels_last: bool
) -> None:
    case = Case(channels, size, dtype, channels_last)
    levels = case.levels()
    expected = oracle.multilevel_roi_align(levels, *case.regions(), size)
    found = kernels.multilevel_roi_align(levels, *case.regions(), size)
    rounding = 1e-5 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(found.float(), expected, rtol=rounding, atol=rounding)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    right = torch.autograd.grad(expected, levels, weights.float())
    for one, other in zip(gradients(kernels, case, weights), right, strict=True):
        torch.testing.assert_close(one, other.float(), rtol=rounding, atol=rounding)


@LAYOUTS
def test_regions_with_more_features_than_a_block_has_threads_equal_the_cpu(
    kernels: RoIAlignKernels, channels_last: bool
) -> None:
    case = Case(70, 9, channels_last=channels_last, num_regions=3)
    levels, regions = case.levels(), case.regions()
    expected = multilevel_roi_align(levels, *regions, 9)
    torch.testing.assert_close(kernels.multilevel_roi_align(levels, *regions, 9), expected)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2))
    for one, other in zip(
        gradients(kernels, case, weights), torch.autograd.grad(expected, levels, weights), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@LAYOUTS
def test_samples_beyond_the_border_repeat_it_for_one_pixel_and_are_zero_outside(
    kernels: RoIAlignKernels, channels_last: bool
) -> None:
    level = torch.arange(1.0, 7).view(1, 2, 1, 3).expand(1, 2, 4, 3)
    level = level.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    regions = torch.tensor([[0.0, -2.0, 8.0, 6.0]]), torch.tensor([0]), torch.tensor([0])
    features = kernels.multilevel_roi_align([level], *regions, 8)[0]
    row = [0, 1, 1, 2, 3, 3, 0, 0]  # centers of the rows 0 … 7 and of the columns −2 … 5
    assert features[0, 0].tolist() == row
    assert features[1, 4].tolist() == [value + 3 * (value > 0) for value in row]
    assert not features[:, 5:].any()
    ones = torch.ones(1, 2, 8, 8)
    (gradient,) = kernels.multilevel_roi_align_gradient(ones, *regions, 1, [4], [3], channels_last)
    assert gradient[0, 0].tolist() == [[2.0, 1, 2]] * 3 + [[4.0, 2, 4]]


@pytest.mark.parametrize("edge", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_boxes_that_are_not_finite_or_far_away_read_nothing(kernels: RoIAlignKernels, edge: float) -> None:
    index = torch.zeros(1, dtype=torch.int64)
    level = torch.full((1, 3, 5, 6), torch.inf)
    features = kernels.multilevel_roi_align([level], torch.full((1, 4), edge), index, index, 4)
    assert not features.any()
    ones = torch.ones_like(features)
    box = torch.full((1, 4), edge)
    assert not kernels.multilevel_roi_align_gradient(ones, box, index, index, 1, [5], [6], False)[0].any()


@pytest.mark.parametrize(
    ("image", "level", "message"),
    [
        (2, 0, "no image"),
        (-1, 0, "no image"),
        (0, 2, "no level"),
        (0, -1, "no level"),
        (0, 1, "no pixels"),
    ],
)
def test_index_that_does_not_exist_fails_an_assertion(
    kernels: RoIAlignKernels, image: int, level: int, message: str
) -> None:
    levels = [torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 0, 4)]
    boxes = torch.tensor([[0.0, 0, 4, 4]])
    with pytest.raises(Fault, match=message):
        kernels.multilevel_roi_align(levels, boxes, torch.tensor([image]), torch.tensor([level]), 2)
