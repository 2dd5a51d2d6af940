"""Pictures of scored images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.ranks import on_ranks

from seamseg.algos.fusion import FusedImage
from seamseg.engine.evaluate import ScoredImage
from seamseg.engine.gallery import SampleGallery, WorstGallery, smaller
from seamseg.structures import VOID, Categories, Category, Detections, PanopticSegmentation

CATEGORIES = Categories((Category("sky", False, (0, 0, 255), 1), Category("car", True, (255, 0, 0), 2)))
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
CLASSES = torch.tensor([VOID, 0, 1])
NO_CROWD = torch.zeros(3, dtype=torch.bool)


def scored(number: int, right: bool = True) -> ScoredImage:
    """Return a car in the sky, at twice the size of the network's input; the wrong prediction is all sky."""
    ids = torch.ones(20, 30, dtype=torch.int64)
    ids[5:15, 10:20] = 2
    truth = PanopticSegmentation(ids, CLASSES, NO_CROWD)
    found = ids if right else torch.ones_like(ids)
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0), torch.zeros(0, 28, 28))
    segmentation = PanopticSegmentation(found, CLASSES, NO_CROWD, torch.tensor([0.0, 1.0, 0.7]))
    gray = (0.5 - torch.tensor(MEAN)) / torch.tensor(STD)
    image = gray[:, None, None].expand(3, 10, 15)
    return ScoredImage(
        100 + number,
        image,
        FusedImage(segmentation, nothing, CLASSES[found]),
        truth,
        number,
        1.0 if right else 0.5 * 500 / 600,
    )


def sample_gallery(limit: int) -> SampleGallery:
    return SampleGallery(CATEGORIES, MEAN, STD, limit)


@pytest.mark.parametrize(("limit", "names"), [(0, []), (2, ["101", "102"]), (9, ["101", "102", "103"])])
def test_sample_gallery_keeps_the_first_images_up_to_its_limit(limit: int, names: list[str]) -> None:
    gallery = sample_gallery(limit)
    for number in (1, 2, 3):
        gallery.add(scored(number))
    assert [row.name for row in gallery.rows] == names


def test_sample_gallery_row_has_the_size_of_the_annotation() -> None:
    gallery = sample_gallery(1)
    gallery.add(scored(1, right=False))
    row = gallery.rows[0]
    assert row.image.shape == (20, 30, 3)
    assert np.abs(row.image.astype(int) - 128).max() <= 1
    assert row.truth.semantics[10, 15] == 1
    assert row.prediction.semantics[10, 15] == 0
    assert row.truth.filled_scores.tolist() == [0, 1, 1]


@pytest.mark.parametrize(("right", "quality"), [(True, 1.0), (False, 0.5 * 500 / 600)])
def test_sample_gallery_row_contains_the_quality(right: bool, quality: float) -> None:
    gallery = sample_gallery(1)
    gallery.add(scored(1, right))
    assert gallery.rows[0].quality == pytest.approx(quality)


def test_sheet_draws_all_rows_in_one_picture() -> None:
    gallery = sample_gallery(2)
    gallery.add(scored(1))
    one = gallery.sheet(120)
    gallery.add(scored(2))
    two = gallery.sheet(120)
    assert one.dtype == two.dtype == np.uint8
    assert two.shape[0] > one.shape[0]
    assert two.shape[1] == one.shape[1] >= 3 * 120
    # Above the legend the car is tinted red in truth and prediction, not in the image.
    upper = one[: one.shape[0] * 6 // 10].astype(int)
    red = (upper[..., 0] - upper[..., 2] > 60).any(axis=0)
    assert [bool(third.any()) for third in np.array_split(red, 3)] == [False, True, True]


def test_worst_gallery_keeps_the_lowest_quality_in_ascending_order() -> None:
    gallery = WorstGallery(CATEGORIES, MEAN, STD, 3)
    for number, quality in ((1, 0.7), (2, 0.2), (3, float("nan")), (4, 0.9), (5, 0.7), (6, 0.1)):
        gallery.add(replace(scored(number), quality=quality))
    assert [(row.name, row.quality) for row in gallery.rows] == [("106", 0.1), ("102", 0.2), ("101", 0.7)]
    gallery.over_ranks()
    assert [row.name for row in gallery.rows] == ["106", "102", "101"]


def test_worst_gallery_with_limit_zero_stays_empty() -> None:
    gallery = WorstGallery(CATEGORIES, MEAN, STD, 0)
    gallery.add(scored(1))
    gallery.over_ranks()
    assert gallery.rows == []


def test_worst_gallery_shrinks_images_to_its_width() -> None:
    gallery = WorstGallery(CATEGORIES, MEAN, STD, 1, width=15)
    gallery.add(scored(1, right=False))
    (row,) = gallery.rows
    assert row.image.shape == (10, 15, 3)
    assert row.truth.ids.shape == row.prediction.ids.shape == (10, 15)
    assert smaller(row, 15) is row


def worst_of_rank(rank: int) -> list[tuple[str, float | None]]:
    gallery = WorstGallery(CATEGORIES, MEAN, STD, 3)
    for number in range(3):
        gallery.add(replace(scored(10 * rank + number), quality=0.1 * (2 * number + rank + 1)))
    gallery.over_ranks()
    return [(row.name, round(row.quality or 0, 6)) for row in gallery.rows]


def test_worst_gallery_over_ranks_is_equal_on_every_rank(tmp_path: Path) -> None:
    first, second = on_ranks(__file__, "worst_of_rank", tmp_path, 2)
    assert first == second == [("100", 0.1), ("110", 0.2), ("101", 0.3)]
