"""Region features from several levels, against torchvision."""

from __future__ import annotations

import pytest
import torch
from oracles import multilevel_roi_align as oracle
from support.roi_align_cases import COUNTS, Case, check_case
from torch import Tensor

from seamseg.ops.multilevel_roi_align import has_kernel, multilevel_roi_align

LAYOUTS = pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])


def one_region(level: Tensor, box: list[float], size: int) -> Tensor:
    first = torch.zeros(1, dtype=torch.int64)
    return multilevel_roi_align([level], torch.tensor([box]), first, first, size)[0]


@LAYOUTS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("channels", "size"), COUNTS)
def test_features_and_gradients_equal_torchvision(
    channels: int, size: int, dtype: torch.dtype, channels_last: bool
) -> None:
    check_case(Case(channels, size, dtype, channels_last))


@LAYOUTS
def test_samples_beyond_the_border_repeat_it_for_one_pixel_and_are_zero_outside(channels_last: bool) -> None:
    level = torch.arange(1.0, 7).view(1, 2, 1, 3).expand(1, 2, 4, 3)
    level = level.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    level.requires_grad_()
    features = one_region(level, [0.0, -2.0, 8.0, 6.0], 8)  # centers of the rows 0 … 7 and of the columns −2 … 5
    row = [0, 1, 1, 2, 3, 3, 0, 0]
    assert features[0, 0].tolist() == row
    assert features[1, 4].tolist() == [value + 3 * (value > 0) for value in row]
    assert not features[:, 5:].any()
    features.sum().backward()
    assert level.grad is not None
    assert level.grad[0, 0].tolist() == [[2.0, 1, 2]] * 3 + [[4.0, 2, 4]]


@LAYOUTS
@pytest.mark.parametrize("edge", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_boxes_that_are_not_finite_or_far_away_read_nothing(edge: float, channels_last: bool) -> None:
    levels = Case(3, 4, channels_last=channels_last).levels()
    features = one_region(levels[0], [edge, edge, edge, edge], 4)
    assert not features.any()
    assert not torch.autograd.grad(features.sum(), levels[0])[0].any()


@LAYOUTS
def test_gradients_do_not_depend_on_the_number_of_threads(channels_last: bool) -> None:
    case = Case(96, 14, channels_last=channels_last, num_regions=100)
    results = []
    threads = torch.get_num_threads()
    try:
        for number in (1, 2, 3, 7):
            torch.set_num_threads(number)
            levels = case.levels()
            features = multilevel_roi_align(levels, *case.regions(), case.output_size)
            results.append([features, *torch.autograd.grad(features.square().sum(), levels)])
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results[0], result, strict=True))


@LAYOUTS
def test_no_regions_give_zero_rows_and_zero_gradients(channels_last: bool) -> None:
    case = Case(5, 7, channels_last=channels_last, num_regions=0)
    levels = case.levels()
    features = multilevel_roi_align(levels, *case.regions(), case.output_size)
    assert features.shape == (0, 5, 7, 7)
    for level, gradient in zip(levels, torch.autograd.grad(features.sum(), levels), strict=True):
        assert gradient.shape == level.shape
        assert not gradient.any()


@pytest.mark.parametrize(("first", "other"), [(False, True), (True, False)])
def test_features_have_the_layout_of_the_first_level(first: bool, other: bool) -> None:
    levels = [Case(6, 7, channels_last=first).levels()[0], *Case(6, 7, channels_last=other).levels()[1:]]
    regions = Case(6, 7).regions()
    features = multilevel_roi_align(levels, *regions, 7)
    assert features.is_contiguous(memory_format=torch.channels_last) == first
    torch.testing.assert_close(features, oracle.multilevel_roi_align(levels, *regions, 7), rtol=1e-5, atol=1e-5)


def test_views_of_levels_and_of_gradients_are_read_correctly() -> None:
    wide = torch.randn(2, 6, 10, 30, generator=torch.Generator().manual_seed(0)).requires_grad_()
    level, regions = wide[:, ::2, :, 5:25], Case(3, 4).regions()
    regions = regions[0], regions[1], torch.zeros_like(regions[2])
    found, expected = multilevel_roi_align([level], *regions, 4), oracle.multilevel_roi_align([level], *regions, 4)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    weights = torch.randn(1, 3, 1, 1).expand(found.shape)
    right = torch.autograd.grad(expected, wide, weights)[0]
    torch.testing.assert_close(torch.autograd.grad(found, wide, weights)[0], right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("num_regions", "channels_last"), [(0, False), (5, True)])
def test_operators_pass_opcheck(num_regions: int, channels_last: bool) -> None:
    case = Case(3, 4, channels_last=channels_last, num_regions=num_regions)
    levels, regions = case.levels(), case.regions()
    features = multilevel_roi_align(levels, *regions, 4)
    torch.library.opcheck(torch.ops.seamseg.multilevel_roi_align.default, (levels, *regions, 4))
    gradient = torch.randn_like(features).detach()
    heights, widths = [level.shape[2] for level in levels], [level.shape[3] for level in levels]
    torch.library.opcheck(
        torch.ops.seamseg.multilevel_roi_align_gradient.default, (gradient, *regions, 2, heights, widths, channels_last)
    )


def test_multilevel_roi_align_compiles_without_a_graph_break() -> None:
    case = Case(3, 4)
    compiled = torch.compile(multilevel_roi_align, fullgraph=True, backend="aot_eager")
    results = []
    for function in (multilevel_roi_align, compiled):
        levels = case.levels()
        features = function(levels, *case.regions(), 4)
        results.append([features, *torch.autograd.grad(features.square().sum(), levels)])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize(
    ("position", "wrong", "message"),
    [
        (0, [], "there must be a level"),
        (0, [torch.zeros(2, 3, 4)], "four dimensions"),
        (0, [torch.zeros(2, 3, 4, 4), torch.zeros(2, 2, 4, 4)], "same number of images and channels"),
        (0, [torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4).bfloat16()], "same type"),
        (0, [torch.zeros(2, 3, 4, 4).double()], "float32 or bfloat16"),
        (0, [torch.zeros(2, 3, 0, 4)], "no pixels"),
        (1, torch.zeros(2, 3), "four float32 numbers per region"),
        (1, torch.zeros(2, 4).double(), "four float32 numbers per region"),
        (2, torch.zeros(1, dtype=torch.int64), "one int64 number per region"),
        (2, torch.tensor([0, 2]), "no image"),
        (2, torch.tensor([-1, 0]), "no image"),
        (3, torch.zeros(2, dtype=torch.int32), "one int64 number per region"),
        (3, torch.tensor([0, 1]), "no level"),
        (4, 0, "must be positive"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(position: int, wrong: object, message: str) -> None:
    index = torch.zeros(2, dtype=torch.int64)
    arguments: list[object] = [[torch.zeros(2, 3, 4, 4)], torch.tensor([[0.0, 0, 4, 4]] * 2), index, index, 2]
    arguments[position] = wrong
    with pytest.raises(ValueError, match=f"multilevel_roi_align: .*{message}"):
        multilevel_roi_align(*arguments)  # type: ignore[arg-type]


def test_has_kernel_is_false_for_other_types_and_mixed_ones() -> None:
    single, half = torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1).bfloat16()
    assert has_kernel([single, single])
    assert has_kernel([half])
    assert not has_kernel([single, half])
    assert not has_kernel([single.double()])
    assert not has_kernel([single.half()])
