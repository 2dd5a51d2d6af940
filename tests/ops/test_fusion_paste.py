"""Masks pasted inside their boxes, against PyTorch's sampler over the whole image."""

from __future__ import annotations

import pytest
import torch
from oracles.paste import paste_values
from support.fusion_cases import check_mask

from seamseg.ops.fusion import Patch, paste_mask, windows

SIZE = (23, 31)


def whole(patch: Patch, size: tuple[int, int] = SIZE) -> torch.Tensor:
    image = torch.zeros(size, dtype=torch.bool)
    image[patch.window] = patch.mask
    return image


def assert_as_sampled(logits: torch.Tensor, box: torch.Tensor, size: tuple[int, int] = SIZE) -> None:
    expected = paste_values(logits, box, size)
    wrong = whole(paste_mask(logits, box, size), size) != (expected > 0.5)
    assert not (wrong & ((expected - 0.5).abs() > 1e-5)).any()


@pytest.mark.parametrize("seed", range(40))
def test_paste_mask_equals_sampling_the_whole_image(seed: int) -> None:
    check_mask(28, seed)


@pytest.mark.parametrize("cells", [1, 2, 7, 56])
def test_paste_mask_of_any_number_of_cells_equals_the_oracle(cells: int) -> None:
    logits = torch.randn(cells, cells, generator=torch.Generator().manual_seed(cells)) * 3
    assert_as_sampled(logits, torch.tensor([2.3, 1.1, 20.9, 27.4]))


def test_paste_mask_of_a_full_mask_fills_pixels_with_their_center_in_the_box() -> None:
    patch = paste_mask(torch.full((28, 28), 30.0), torch.tensor([1.0, 2.0, 4.0, 6.0]), (6, 8))
    drawn = ["........", "..####..", "..####..", "..####..", "........", "........"]
    assert ["".join(".#"[int(pixel)] for pixel in row) for row in whole(patch, (6, 8))] == drawn


def test_paste_mask_leaves_a_center_on_the_edge_out() -> None:
    patch = paste_mask(torch.full((4, 4), 30.0), torch.tensor([0.5, 0.5, 3.5, 3.5]), (5, 5))
    assert whole(patch, (5, 5)).nonzero().tolist() == [[y, x] for y in (1, 2) for x in (1, 2)]


def test_paste_mask_leaves_values_of_one_half_out() -> None:
    assert not paste_mask(torch.zeros(8, 8), torch.tensor([0.0, 0.0, 8.0, 8.0]), (8, 8)).mask.any()


def test_paste_mask_of_half_a_mask_fills_half_of_the_box() -> None:
    logits = torch.full((4, 4), -30.0)
    logits[:, 2:] = 30.0
    patch = paste_mask(logits, torch.tensor([0.0, 0.0, 4.0, 8.0]), (4, 8))
    assert whole(patch, (4, 8)).tolist() == [[False] * 4 + [True] * 4] * 4


@pytest.mark.parametrize(
    "box",
    [
        [5.0, 5.0, 5.0, 9.0],  # no height
        [5.5, 5.5, 5.5, 5.5],  # a point, on a pixel's center
        [5.6, 5.6, 6.4, 6.4],  # between centers
        [-9.0, -9.0, -1.0, -1.0],  # before the image
        [40.0, 40.0, 50.0, 50.0],  # behind it
        [9.0, 9.0, 5.0, 5.0],  # inside out
    ],
)
def test_paste_mask_of_a_box_without_pixels_is_empty(box: list[float]) -> None:
    patch = paste_mask(torch.full((28, 28), 30.0), torch.tensor(box), SIZE)
    assert patch.mask.numel() == 0
    assert not whole(patch).any()


def test_paste_mask_of_a_box_smaller_than_a_pixel_around_its_center_fills_it() -> None:
    patch = paste_mask(torch.full((28, 28), 30.0), torch.tensor([3.4, 7.4, 3.6, 7.6]), SIZE)
    assert whole(patch).nonzero().tolist() == [[3, 7]]


def test_paste_mask_takes_half_precision_logits() -> None:
    logits = torch.randn(28, 28, generator=torch.Generator().manual_seed(0)).bfloat16()
    box = torch.tensor([1.0, 2.0, 20.0, 30.0])
    assert torch.equal(paste_mask(logits, box, SIZE).mask, paste_mask(logits.float(), box, SIZE).mask)


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([1.0, 2.0, 4.0, 6.0], [1, 2, 4, 6]),
        ([1.5, 2.5, 3.5, 5.5], [2, 3, 3, 5]),  # centers on the edge
        ([-3.0, -3.0, 99.0, 99.0], [0, 0, 23, 31]),
        ([-INF, 3.0, INF, 4.0], [0, 3, 23, 4]),
        ([-9.0, -9.0, -1.0, -1.0], [0, 0, 0, 0]),
        ([40.0, 40.0, 50.0, 50.0], [23, 31, 23, 31]),
        ([5.6, 5.6, 6.4, 6.4], [6, 6, 6, 6]),
        ([9.0, 9.0, 5.0, 5.0], [9, 9, 9, 9]),
    ],
)
def test_window_has_the_pixels_with_their_center_inside_the_box(box: list[float], expected: list[int]) -> None:
    assert windows(torch.tensor([box]), SIZE).tolist() == [expected]


@pytest.mark.parametrize("box", [[NAN] * 4, [0.0, NAN, 9.0, 9.0], [NAN, 0.0, 9.0, 9.0], [-INF, -INF, INF, INF]])
def test_window_of_a_box_with_nan_is_empty(box: list[float]) -> None:
    assert not paste_mask(torch.full((28, 28), 30.0), torch.tensor(box), SIZE).mask.any()


def test_paste_mask_of_a_mask_that_is_not_square_is_refused() -> None:
    with pytest.raises(ValueError, match="paste_mask: masks must be square"):
        paste_mask(torch.zeros(3, 4), torch.tensor([0.0, 0.0, 2.0, 2.0]), SIZE)


def test_paste_mask_operator_passes_opcheck() -> None:
    paste_mask(torch.zeros(1, 1), torch.tensor([0.0, 0.0, 1.0, 1.0]), (1, 1))  # loads the operator
    arguments = (torch.rand(4, 4), 0.5, 0.5, 5.5, 6.5, 1, 1, 4, 5)
    torch.library.opcheck(torch.ops.seamseg.paste_mask.default, arguments)


@pytest.mark.parametrize("window", [(-1, 0, 2, 2), (0, -1, 2, 2), (0, 0, -1, 2), (0, 0, 2, -1)])
def test_operator_with_a_window_outside_of_the_image_is_refused(window: tuple[int, int, int, int]) -> None:
    paste_mask(torch.zeros(1, 1), torch.tensor([0.0, 0.0, 1.0, 1.0]), (1, 1))  # loads the operator
    with pytest.raises((ValueError, RuntimeError), match="paste_mask: a window must lie in the image"):
        torch.ops.seamseg.paste_mask(torch.rand(4, 4), 0.0, 0.0, 2.0, 2.0, *window)
