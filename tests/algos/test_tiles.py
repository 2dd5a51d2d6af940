"""Tiles of an image: they cover it, overlap enough, and are decided in order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from seamseg.algos.tiles import Tiling, intersection

CASES = [
    ((64, 64), (64, 64), 16),
    ((65, 64), (64, 64), 32),
    ((200, 31), (64, 64), 16),
    ((300, 500), (64, 96), 0),
    ((127, 333), (50, 40), 20),
    ((1, 90), (8, 32), 3),
]


@pytest.mark.parametrize(("size", "tile", "overlap"), CASES)
def test_tiles_cover_the_image_and_overlap_enough(size: tuple[int, int], tile: tuple[int, int], overlap: int) -> None:
    grid = Tiling(tile, overlap).grid(size)
    for starts, length, part in zip((grid.rows, grid.columns), size, grid.tile, strict=True):
        assert starts[0] == 0
        assert starts[-1] + part == length
        assert all(before + part - after >= overlap for before, after in itertools.pairwise(starts))
        fewer = len(starts) - 1
        assert fewer == 0 or part + (fewer - 1) * (part - overlap) < length, "no fewer tiles would do"


@pytest.mark.parametrize(("size", "tile", "overlap"), CASES)
def test_regions_partition_the_image_and_no_later_tile_covers_them(
    size: tuple[int, int], tile: tuple[int, int], overlap: int
) -> None:
    grid = Tiling(tile, overlap).grid(size)
    count = np.zeros(size, int)
    for number in range(len(grid)):
        y0, x0, y1, x1 = region = grid.region(number)
        count[y0:y1, x0:x1] += 1
        assert intersection(region, grid.window(number)) == region
        for later in range(number + 1, len(grid)):
            shared = intersection(region, grid.window(later))
            assert shared[0] == shared[2] or shared[1] == shared[3]
    assert (count == 1).all()


def test_earlier_neighbors_are_the_earlier_tiles_that_share_pixels() -> None:
    grid = Tiling((20, 20), 10).grid((75, 64))
    for number in range(len(grid)):
        shared = [intersection(grid.window(number), grid.window(other)) for other in range(number)]
        expected = [other for other, one in enumerate(shared) if one[0] < one[2] and one[1] < one[3]]
        assert list(grid.earlier_neighbors(number)) == expected


def test_centrality_of_two_neighbors_changes_linearly_across_their_overlap() -> None:
    grid = Tiling((20, 20), 8).grid((8, 32))
    assert grid.columns == (0, 12)
    first, second = (grid.centrality(number, (0, 12, 8, 20))[3] for number in (0, 1))
    share = second / (first + second)
    assert np.allclose(share, (np.arange(8) + 0.5) / 8)


@pytest.mark.parametrize(("tile", "overlap"), [((0, 4), 0), ((64, 64), 33), ((64, 20), 11), ((64, 64), -1)])
def test_tiling_out_of_range_raises(tile: tuple[int, int], overlap: int) -> None:
    with pytest.raises(ValueError, match=f"{tile[0]}×{tile[1]}|1×1"):
        Tiling(tile, overlap)
