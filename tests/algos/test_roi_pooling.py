"""RoI pooling, against scalar interpolation."""

from __future__ import annotations

import pytest
import torch
from oracles import roi_sampling as oracle
from oracles.bilinear import bilinear
from torch import Tensor

from seamseg.algos.roi_pooling import RoIPooler, sample_points
from seamseg.structures import PackedSequence

STRIDES = (4, 8, 16, 32)


def pyramid(padded: tuple[int, int], num_images: int = 1, channels: int = 1, seed: int = 0) -> list[Tensor]:
    """Return random maps whose sizes are rounded up."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(-(-padded[0] // stride), -(-padded[1] // stride)) for stride in STRIDES]
    return [torch.randn(num_images, channels, *size, generator=generator) for size in sizes]


def flat_pyramid(padded: tuple[int, int]) -> list[Tensor]:
    """Return levels in which level l is l everywhere."""
    return [torch.full_like(level, index) for index, level in enumerate(pyramid(padded))]


def pool(levels: list[Tensor], rows: list[list[list[float]]], padded: tuple[int, int], size: int = 14) -> Tensor:
    boxes = PackedSequence(torch.tensor(row).reshape(-1, 4) for row in rows)
    return RoIPooler(size)(levels, boxes, padded)


@pytest.mark.parametrize(
    ("side", "level"),
    [(10, 0), (111.9, 0), (112, 1), (223.9, 1), (223.9999, 2), (224, 2), (447.9, 2), (448, 3), (2000, 3)],
)
def test_pool_reads_the_level_for_the_area_of_the_box(side: float, level: int) -> None:
    padded = (4096, 4096)
    boxes = [[[0, 0, side, side], [0, 0, side / 2, side * 2]]]
    torch.testing.assert_close(pool(flat_pyramid(padded), boxes, padded), torch.full((2, 1, 14, 14), float(level)))


def test_pool_box_without_area_reads_the_finest_level() -> None:
    assert pool(flat_pyramid((64, 64)), [[[10, 10, 10, 40]]], (64, 64)).unique().tolist() == [0]


def test_pool_box_that_is_nan_gives_numbers_for_the_others() -> None:
    """A network that diverges ends with a message about its losses, not with an index error."""
    levels, box, nan = pyramid((64, 64)), [0.0, 0.0, 32.0, 32.0], [float("nan")] * 4
    assert torch.equal(pool(levels, [[box, nan]], (64, 64))[:1], pool(levels, [[box]], (64, 64)))


def test_pool_does_not_read_levels_beyond_the_fourth() -> None:
    padded = (1024, 1024)
    levels = [*flat_pyramid(padded), torch.full((1, 1, 16, 16), 9.0)]
    assert pool(levels, [[[0, 0, 1024, 1024]]], padded).unique().tolist() == [3]


def test_pool_reads_a_ramp_at_the_centers_of_the_bins() -> None:
    """A level that contains its own pixel coordinates returns the coordinates of the bin centers."""
    rows = torch.arange(32.0) + 0.5
    level = (rows[:, None] * 100 + rows[None]).reshape(1, 1, 32, 32)
    levels = [level, *(torch.zeros(1, 1, 1, 1) for _ in range(3))]
    found = pool(levels, [[[4, 8, 18, 22]]], (32, 32))[0, 0]  # scale 1: bins of one pixel
    y, x = torch.arange(14.0) + 4.5, torch.arange(14.0) + 8.5
    torch.testing.assert_close(found, y[:, None] * 100 + x[None])


@pytest.mark.parametrize("seed", range(12))
def test_pool_random_boxes_equals_scalar_interpolation(seed: int) -> None:
    """Sizes are not divisible by the strides, boxes have all sizes up to the image, and there are several images."""
    generator = torch.Generator().manual_seed(seed)
    padded = [(97, 130), (250, 131), (520, 611)][seed % 3]
    size = (14, 7)[seed % 2]
    levels = pyramid(padded, num_images=3, channels=2, seed=seed)
    limit = torch.tensor([*padded, *padded])
    corners = torch.rand(7, 2, 2, generator=generator)
    rows = torch.cat([corners.amin(1), corners.amax(1)], dim=1) * limit
    rows[0] = torch.tensor([0, 0, *padded])  # the whole image
    rows[1] = torch.tensor([padded[0] - 3, 0, padded[0], 2])  # a corner of it
    boxes = [rows[:3].tolist(), [], rows[3:].tolist()]
    found = pool(levels, boxes, padded, size)
    expected = [
        oracle.region_features(levels, image, box, padded, size)
        for image, image_boxes in enumerate(boxes)
        for box in image_boxes
    ]
    torch.testing.assert_close(found.double(), torch.stack(expected), atol=2e-4, rtol=0)


def test_pool_without_boxes_returns_zero_rows() -> None:
    levels = pyramid((64, 64), num_images=2, channels=3)
    assert pool(levels, [[], []], (64, 64)).shape == (0, 3, 14, 14)


def test_pool_gradients_reach_read_levels_or_all_levels_without_boxes() -> None:
    levels = [level.requires_grad_() for level in pyramid((512, 512))]
    pool(levels, [[[0, 0, 60, 60], [0, 0, 230, 230]]], (512, 512)).sum().backward()
    assert [bool(level.grad.abs().sum() > 0) for level in levels] == [True, False, True, False]
    levels = [level.requires_grad_() for level in pyramid((512, 512))]
    pool(levels, [[]], (512, 512)).sum().backward()
    assert all(level.grad is not None and not level.grad.any() for level in levels)


def test_pool_keeps_half_precision() -> None:
    levels = pyramid((64, 64))
    boxes = [[[3.0, 5, 40, 50]]]
    half = pool([level.bfloat16() for level in levels], boxes, (64, 64))
    assert half.dtype == torch.bfloat16
    expected = pool([level.bfloat16().float() for level in levels], boxes, (64, 64))
    torch.testing.assert_close(half, expected.bfloat16())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_pool_of_types_without_a_native_kernel_equals_float32(dtype: torch.dtype) -> None:
    levels = [level.to(dtype) for level in pyramid((250, 131), num_images=2, channels=3)]
    boxes = [[[3.0, 5, 240, 50]], [[0.0, 0, 250, 131], [20.0, 30, 22, 31]]]
    found = pool(levels, boxes, (250, 131))
    assert found.dtype == dtype
    expected = pool([level.float() for level in levels], boxes, (250, 131))
    torch.testing.assert_close(found.float(), expected, atol=2e-3, rtol=0)


def points_of(count: int, padded: tuple[int, int], dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return points in and at the edges of images, and the image of each row."""
    points = torch.rand(3, count, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points[:, :3] = torch.tensor([[0.0, 0], [1, 1], [0, 0.5]])
    return (points * torch.tensor(padded)).to(dtype), torch.tensor([0, 2, 0])


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_sample_points_equals_scalar_interpolation(dtype: torch.dtype, channels_last: bool) -> None:
    """Points at the edges of the image lie beyond the centers of the outermost positions of the level."""
    padded = 97, 130
    level = pyramid(padded, num_images=3, channels=5)[0].to(dtype)
    level = level.contiguous(memory_format=torch.channels_last) if channels_last else level
    points, images = points_of(9, padded)
    found = sample_points(level, points, images, padded)
    assert (found.shape, found.dtype) == ((3, 9, 5), dtype)
    for row, image in enumerate(images.tolist()):
        for number, (y, x) in enumerate(points[row].tolist()):
            place = (y - 0.5) * level.shape[2] / 97 + 0.5, (x - 0.5) * level.shape[3] / 130 + 0.5
            expected = torch.tensor([bilinear(plane, *place) for plane in level[image].float()])
            tolerance = 0.02 if dtype == torch.bfloat16 else 1e-4
            torch.testing.assert_close(found[row, number].float(), expected, atol=tolerance, rtol=0)


def test_sample_points_gradient_of_the_kernel_equals_that_of_float64() -> None:
    padded, gradients = (97, 130), []
    for dtype in (torch.float32, torch.float64):
        level = pyramid(padded, num_images=3, channels=5)[0].to(dtype).requires_grad_()
        found = sample_points(level, *points_of(9, padded, dtype), padded)
        (found * torch.linspace(-1, 1, found.numel()).view(found.shape)).sum().backward()
        gradients.append(level.grad)
    torch.testing.assert_close(gradients[0].double(), gradients[1], atol=1e-5, rtol=1e-4)
    assert [bool(image.any()) for image in gradients[0]] == [True, False, True]


def test_sample_points_without_points_returns_zero_rows_and_reaches_the_level() -> None:
    level = pyramid((64, 64))[0].requires_grad_()
    found = sample_points(level, torch.zeros(0, 9, 2), torch.zeros(0, dtype=torch.int64), (64, 64))
    assert found.shape == (0, 9, 1)
    found.sum().backward()
    assert level.grad is not None
