"""Joining of detections that tiles see differently: thresholds, fragments, classes, and objects that must stay two."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seamseg.algos.tile_objects import JoinedObject, ObjectJoiner
from seamseg.algos.tiles import Tiling
from seamseg.structures import Detections

GRID = Tiling((40, 40), 20).grid((40, 60))
"""Two tiles, columns 0 … 40 and 20 … 60; both see columns 20 … 40."""

Found = list[tuple[tuple[float, float, float, float], float, int]]
"""Box in pixels of the tile, score and class of each detection; masks fill the boxes."""


def detections(found: Found, masks: bool = True) -> Detections:
    side = 28 if masks else 0
    return Detections(
        torch.tensor([box for box, _, _ in found], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([category for _, _, category in found], dtype=torch.int64),
        torch.tensor([score for _, score, _ in found]),
        torch.full((len(found), side, side), 20.0),
    )


def joined(*tiles: Found, grid: object = GRID, masks: bool = True) -> list[JoinedObject]:
    joiner = ObjectJoiner(grid)
    for number, found in enumerate(tiles):
        joiner.add(number, detections(found, masks))
    return joiner.joined()


def tiles_of(objects: list[JoinedObject]) -> list[list[int]]:
    return [[part.tile for part in one.parts] for one in objects]


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize(("bottom", "number"), [(20, 1), (16, 1), (15, 2)])
def test_detections_join_if_their_iou_in_the_overlap_exceeds_one_half(bottom: int, number: int, masks: bool) -> None:
    """The second tile sees the object up to another row. Beyond the overlap, both differ completely."""
    objects = joined([((10, 5, 20, 40), 0.7, 0)], [((10, 0, bottom, 35), 0.9, 0)], masks=masks)
    assert len(objects) == number
    assert (objects[0].score, objects[0].category) == (pytest.approx(0.9), 0)


def test_iou_counts_only_the_overlap() -> None:
    """The masks share 20×10 of 2×(50×10) pixels, but agree in the overlap."""
    (one,) = joined([((10, 0, 20, 40), 0.7, 0)], [((10, 0, 20, 40), 0.9, 0)])
    assert one.box == (10, 0, 20, 60)
    assert one.patch().mask.shape == (10, 60)
    assert one.patch().mask.all()


def test_detections_of_different_classes_do_not_join() -> None:
    assert len(joined([((10, 5, 20, 40), 0.7, 0)], [((10, 0, 20, 35), 0.9, 1)])) == 2


def test_detections_of_one_tile_never_join() -> None:
    """A second tile that takes two objects for one joins the more similar one, also by way of a third tile."""
    two: Found = [((10, 20, 20, 40), 0.8, 0), ((20, 20, 26, 40), 0.7, 0)]
    objects = joined(two, [((10, 0, 26, 20), 0.9, 0)])
    assert sorted(tiles_of(objects)) == [[0], [1, 0]]
    grid = Tiling((40, 40), 20).grid((60, 60))
    middle = ((22, 20, 32, 40), 0.8, 0), ((30, 20, 38, 40), 0.7, 0)  # of tile 0: rows 22 … 32 and 30 … 38 overlap
    below = ((2, 20, 14, 40), 0.6, 0)  # of tile 2, rows 22 … 34
    right = ((26, 0, 38, 20), 0.6, 0)  # of tile 1, rows 26 … 38
    corner = ((4, 0, 17, 20), 0.5, 0)  # of tile 3, rows 24 … 37
    objects = joined(list(middle), [right], [below], [corner], grid=grid)
    assert all(len(set(tiles)) == len(tiles) for tiles in tiles_of(objects))
    assert sum(0 in tiles for tiles in tiles_of(objects)) == 2


def test_cut_fragment_of_a_larger_object_is_dropped() -> None:
    """The second tile sees columns 20 … 25 of the object, and finds only some of its rows."""
    whole: Found = [((10, 2, 20, 25), 0.6, 0)]
    assert tiles_of(joined(whole, [((10, 0, 13, 5), 0.9, 0)])) == [[0]]
    assert len(joined(whole, [((10, 0, 13, 5), 0.9, 1)])) == 2, "another class"
    assert len(joined(whole, [((10, 2, 13, 5), 0.9, 0)])) == 2, "not cut by the edge of the tile"
    assert len(joined(whole, [((16, 0, 30, 5), 0.9, 0)])) == 2, "mostly beside the object"
    assert len(joined(whole, [((10, 0, 13, 30), 0.9, 0)])) == 2, "beyond the overlap"
    assert len(joined([((10, 22, 20, 25), 0.6, 0)], [((10, 0, 13, 5), 0.9, 0)])) == 2, "no larger object"


def test_fragments_of_several_tiles_that_agree_are_dropped_together() -> None:
    """Three tiles see an object around the corner of four; both left ones find only its last columns in them."""
    grid = Tiling((40, 40), 20).grid((60, 60))
    sliver = 0.9, 0
    upper_left: Found = [((26, 37, 40, 40), *sliver)]
    lower_left: Found = [((6, 37, 20, 40), *sliver)]
    whole: Found = [((6, 6, 36, 30), 0.6, 0)]
    assert tiles_of(joined(upper_left, [], lower_left, [], grid=grid)) == [[0, 2]]
    assert tiles_of(joined(upper_left, [], lower_left, whole, grid=grid)) == [[3]]


def test_pixels_of_a_joined_object_are_decided_by_the_most_central_tile() -> None:
    """The border between the tiles is in the middle of the overlap, at column 30."""
    (one,) = joined([((10, 10, 20, 40), 0.7, 0)], [((12, 0, 20, 30), 0.9, 0)])
    patch = one.patch()
    mask = np.zeros(GRID.size, bool)
    mask[patch.window] = patch.mask.numpy()
    expected = np.zeros(GRID.size, bool)
    expected[10:20, 10:30] = expected[12:20, 30:50] = True
    assert (mask == expected).all()


def test_objects_are_sorted_by_score_and_tiles_without_detections_are_allowed() -> None:
    objects = joined([((0, 0, 4, 4), 0.2, 0), ((8, 0, 12, 4), 0.9, 0)], [])
    assert [one.score for one in objects] == pytest.approx([0.9, 0.2])
    assert joined([], []) == []
