"""Classes of a large image: they equal those of image-sized scores, with memory that does not grow with the height."""

from __future__ import annotations

import pytest
import torch
from oracles.tile_blending import blended_scores
from torch import Tensor

from seamseg.algos.tile_classes import TileClasses
from seamseg.algos.tiles import TileGrid, Tiling
from seamseg.runtime.memory import MemoryTracker
from seamseg.structures import VOID, SemanticLogits

NUM_CLASSES = 5


def random_logits(grid: TileGrid, shape: tuple[int, int], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(NUM_CLASSES, *shape, generator=generator) for _ in range(len(grid))]


def classes_of(grid: TileGrid, logits: list[Tensor]) -> Tensor:
    blended = TileClasses(grid)
    for number, scores in enumerate(logits):
        blended.add(number, SemanticLogits(scores, grid.tile, grid.tile))
    return blended.classes


@pytest.mark.parametrize(
    ("size", "tile", "overlap", "shape"),
    [
        ((40, 50), (24, 20), 8, (6, 5)),
        ((40, 50), (24, 20), 10, (24, 20)),
        ((31, 17), (8, 8), 4, (3, 2)),
        ((9, 61), (16, 16), 8, (2, 8)),
        ((30, 20), (10, 10), 0, (5, 5)),
    ],
)
def test_classes_equal_those_of_image_sized_scores(
    size: tuple[int, int], tile: tuple[int, int], overlap: int, shape: tuple[int, int]
) -> None:
    grid = Tiling(tile, overlap).grid(size)
    logits = random_logits(grid, shape)
    expected = blended_scores(logits, [grid.window(number) for number in range(len(grid))], size)
    best = expected.topk(2, dim=0).values
    clear = best[0] - best[1] > 1e-4
    assert clear.float().mean() > 0.99
    assert torch.equal(classes_of(grid, logits)[clear].long(), expected.argmax(dim=0)[clear])


def test_classes_of_padded_logits_ignore_the_padding() -> None:
    """Tiles of 24×20 pixels at half size have 12×10 pixels, padded to 16×16, with a score for each 4×4."""
    grid = Tiling((24, 20), 8).grid((40, 36))
    padded = random_logits(grid, (4, 4))
    blended = TileClasses(grid)
    for number, scores in enumerate(padded):
        blended.add(number, SemanticLogits(scores, (16, 16), (12, 10)))
    large = [torch.nn.functional.interpolate(one[None], (32, 32), mode="bilinear")[0, :, :24, :20] for one in padded]
    expected = blended_scores(large, [grid.window(number) for number in range(len(grid))], (40, 36))
    best = expected.topk(2, dim=0).values
    clear = best[0] - best[1] > 1e-4
    assert torch.equal(blended.classes[clear].long(), expected.argmax(dim=0)[clear])


def test_class_of_two_tiles_changes_where_their_weights_are_equal() -> None:
    """Both tiles are equally sure of different classes, so the border is in the middle of the overlap."""
    grid = Tiling((20, 20), 8).grid((4, 32))
    logits = [torch.zeros(NUM_CLASSES, 1, 1) for _ in range(2)]
    logits[0][1], logits[1][3] = 1.0, 1.0
    assert classes_of(grid, logits).tolist() == [[1] * 16 + [3] * 16] * 4


def test_infinite_and_nan_scores_affect_only_pixels_of_their_tile() -> None:
    grid = Tiling((20, 20), 8).grid((4, 32))
    logits = [torch.zeros(NUM_CLASSES, 4, 20) for _ in range(2)]
    logits[0][1], logits[1][3] = 1.0, 1.0
    logits[0][2, :, 13] = torch.inf
    logits[1][3, :, 7] = torch.nan  # column 19 of the image
    found = classes_of(grid, logits)[0].tolist()
    assert found[:12] == [1] * 12
    assert found[13] == 2
    assert found[19] == 1
    assert found[20:] == [3] * 12


def test_tiles_without_class_scores_leave_all_pixels_void() -> None:
    grid = Tiling((8, 8), 4).grid((12, 12))
    assert classes_of(grid, [torch.zeros(0, 0, 0)] * len(grid)).unique().tolist() == [VOID]


def peak_bytes(height: int) -> int:
    """Return the peak memory of blending an image of this height, with 60 scores per pixel."""
    grid, generator = Tiling((32, 32), 8).grid((height, 56)), torch.Generator().manual_seed(0)
    with MemoryTracker() as tracker:
        blended = TileClasses(grid)
        for number in range(len(grid)):
            blended.add(number, SemanticLogits(torch.randn(60, 32, 32, generator=generator), grid.tile, grid.tile))
    return sum(tracker.peak.values())


def test_memory_grows_by_one_byte_per_pixel_with_the_height() -> None:
    """The scores of the whole image would take 240 bytes per pixel.

    Among more rows, more pixels may be on the border of two classes at a time, whose scores are enlarged.
    """
    short, tall = peak_bytes(80), peak_bytes(320)
    assert 240 * 56 <= tall - short <= 1.5 * 240 * 56
    assert short < 240 * 80 * 56
