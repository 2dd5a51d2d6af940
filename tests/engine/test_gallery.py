"""Scored images as pictures."""

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
NOBODY = torch.zeros(3, dtype=torch.bool)


def scored(number: int, right: bool = True) -> ScoredImage:
    """A car in the sky, at twice the size of the network's input; the wrong prediction sees sky alone."""
    ids = torch.ones(20, 30, dtype=torch.int64)
    ids[5:15, 10:20] = 2
    truth = PanopticSegmentation(ids, CLASSES, NOBODY)
    found = ids if right else torch.ones_like(ids)
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0), torch.zeros(0, 28, 28))
    segmentation = PanopticSegmentation(found, CLASSES, NOBODY, torch.tensor([0.0, 1.0, 0.7]))
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


def album(limit: int) -> SampleGallery:
    return SampleGallery(CATEGORIES, MEAN, STD, limit)


@pytest.mark.parametrize(("limit", "names"), [(0, []), (2, ["101", "102"]), (9, ["101", "102", "103"])])
def test_the_first_images_are_kept(limit: int, names: list[str]) -> None:
    kept = album(limit)
    for number in (1, 2, 3):
        kept.add(scored(number))
    assert [row.name for row in kept.rows] == names


def test_a_row_shows_image_truth_and_prediction_at_the_size_of_the_annotation() -> None:
    kept = album(1)
    kept.add(scored(1, right=False))
    row = kept.rows[0]
    assert row.image.shape == (20, 30, 3)
    assert np.abs(row.image.astype(int) - 128).max() <= 1
    assert row.truth.semantics[10, 15] == 1
    assert row.prediction.semantics[10, 15] == 0
    assert row.truth.filled_scores.tolist() == [0, 1, 1]


@pytest.mark.parametrize(("right", "pq"), [(True, 1.0), (False, 0.5 * 500 / 600)])
def test_a_row_says_how_good_it_is(right: bool, pq: float) -> None:
    kept = album(1)
    kept.add(scored(1, right))
    assert kept.rows[0].pq == pytest.approx(pq)


def test_all_rows_in_one_picture() -> None:
    kept = album(2)
    kept.add(scored(1))
    one = kept.sheet(120)
    kept.add(scored(2))
    two = kept.sheet(120)
    assert one.dtype == two.dtype == np.uint8
    assert two.shape[0] > one.shape[0]
    assert two.shape[1] == one.shape[1] >= 3 * 120
    # Above the legend the car is tinted red in truth and prediction, not in the image.
    upper = one[: one.shape[0] * 6 // 10].astype(int)
    red = (upper[..., 0] - upper[..., 2] > 60).any(axis=0)
    assert [bool(third.any()) for third in np.array_split(red, 3)] == [False, True, True]


def test_the_worst_are_kept_in_their_order() -> None:
    kept = WorstGallery(CATEGORIES, MEAN, STD, 3)
    for number, pq in ((1, 0.7), (2, 0.2), (3, float("nan")), (4, 0.9), (5, 0.7), (6, 0.1)):
        kept.add(replace(scored(number), pq=pq))
    assert [(row.name, row.pq) for row in kept.rows] == [("106", 0.1), ("102", 0.2), ("101", 0.7)]
    kept.over_ranks()
    assert [row.name for row in kept.rows] == ["106", "102", "101"]


def test_no_worst_images_are_wanted() -> None:
    kept = WorstGallery(CATEGORIES, MEAN, STD, 0)
    kept.add(scored(1))
    kept.over_ranks()
    assert kept.rows == []


def test_the_worst_are_kept_small() -> None:
    kept = WorstGallery(CATEGORIES, MEAN, STD, 1, width=15)
    kept.add(scored(1, right=False))
    (row,) = kept.rows
    assert row.image.shape == (10, 15, 3)
    assert row.truth.ids.shape == row.prediction.ids.shape == (10, 15)
    assert smaller(row, 15) is row


def worst_of_rank(rank: int) -> list[tuple[str, float | None]]:
    kept = WorstGallery(CATEGORIES, MEAN, STD, 3)
    for number in range(3):
        kept.add(replace(scored(10 * rank + number), pq=0.1 * (2 * number + rank + 1)))
    kept.over_ranks()
    return [(row.name, round(row.pq or 0, 6)) for row in kept.rows]


def test_ranks_agree_on_the_worst(tmp_path: Path) -> None:
    first, second = on_ranks(__file__, "worst_of_rank", tmp_path, 2)
    assert first == second == [("100", 0.1), ("110", 0.2), ("101", 0.3)]
