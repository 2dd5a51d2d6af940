"""Contact sheet and its legend."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from seamseg.structures import Categories, Category, PanopticSegmentation
from seamseg.visualization.contact_sheet import SheetRow, contact_sheet
from seamseg.visualization.legend import draw_legend, legend_height

CATEGORIES = Categories(
    tuple(
        [Category(f"stuff number {n}", False, (10 * n + 40, 200 - 7 * n, 10), n) for n in range(12)]
        + [Category("Fußgänger", True, (220, 20, 60), 50), Category("car", True, (0, 0, 142), 51)]
    )
)
RED = (231, 17, 3)


def _segmentation(height: int, width: int, classes: list[int]) -> PanopticSegmentation:
    """Return a segmentation of vertical bands, one per class."""
    ids = torch.arange(width).mul(len(classes)).div(width, rounding_mode="floor").repeat(height, 1)
    numbers = torch.tensor(classes)
    return PanopticSegmentation(ids, numbers, torch.zeros(len(classes), dtype=torch.bool))


def _row(height: int, width: int, name: str = "street.jpg", pq: float | None = 0.713) -> SheetRow:
    image = np.full((height, width, 3), RED, np.uint8)
    truth, prediction = (_segmentation(height, width, classes) for classes in ([255, 0, 12], [255, 1, 12, 12]))
    return SheetRow(name, image, truth, prediction, pq)


def _red_rows(sheet: np.ndarray, x: int) -> np.ndarray:
    return (sheet[:, x] == RED).all(axis=1)


@pytest.mark.parametrize("column_width", [100, 320, 640])
def test_contact_sheet_width_depends_only_on_the_column_width(column_width: int) -> None:
    sheets = [contact_sheet([_row(*size)], CATEGORIES, column_width) for size in ((60, 80), (80, 60), (30, 200))]
    assert len({sheet.shape[1] for sheet in sheets}) == 1
    assert 3 * column_width < sheets[0].shape[1] < 3.5 * column_width
    assert sheets[2].shape[0] < sheets[0].shape[0] < sheets[1].shape[0]
    assert all(sheet.dtype == np.uint8 and sheet.shape[2] == 3 for sheet in sheets)


def test_contact_sheet_has_white_margins() -> None:
    sheet = contact_sheet([_row(60, 80), _row(40, 80)], CATEGORIES, 320)
    margin = 20
    for edge in (sheet[:margin], sheet[-margin:], sheet[:, :margin], sheet[:, -margin:]):
        assert (edge == 255).all()


def test_contact_sheet_keeps_the_aspect_ratio_of_images() -> None:
    sheet = contact_sheet([_row(60, 80)], CATEGORIES, 320)
    red = (sheet == RED).all(axis=2)
    assert abs(red.any(axis=1).sum() - 240) <= 2
    assert abs(red.any(axis=0).sum() - 320) <= 2


def test_tall_image_among_wide_ones_is_scaled_down_and_centered() -> None:
    sheet = contact_sheet([_row(60, 80), _row(60, 80), _row(160, 80)], CATEGORIES, 320)
    red = (sheet == RED).all(axis=2)
    tall = red[np.flatnonzero(red.any(axis=1))[-100]]
    assert 100 < tall.sum() < 160
    columns = np.flatnonzero(tall)
    full = np.flatnonzero(red.any(axis=0))
    assert abs((columns[0] + columns[-1]) - (full[0] + full[-1])) <= 2


def test_tall_images_among_tall_ones_fill_their_columns() -> None:
    sheet = contact_sheet([_row(100, 80), _row(100, 80)], CATEGORIES, 320)
    red = (sheet == RED).all(axis=2)
    assert abs(red.any(axis=1).sum() - 800) <= 4


def test_contact_sheet_of_three_rows_shows_all_of_them() -> None:
    rows = [_row(60, 80), _row(60, 80), _row(60, 80)]
    red = (contact_sheet(rows, CATEGORIES, 320) == RED).all(axis=2).any(axis=1)
    assert (np.diff(red.astype(int)) == 1).sum() == 3


def test_contact_sheet_writes_name_and_pq_in_their_columns() -> None:
    sheets = [contact_sheet([_row(60, 80, name, pq)], CATEGORIES, 320) for name, pq in (("a", 0.5), ("b", None))]
    assert sheets[0].shape == sheets[1].shape
    differing = np.flatnonzero((sheets[0] != sheets[1]).any(axis=(0, 2)))
    third = sheets[0].shape[1] // 3
    assert (differing < third).any()
    assert (differing > 2 * third).any()
    assert not ((differing > third) & (differing < 2 * third)).any()


def test_contact_sheet_with_a_long_name_keeps_it_in_its_column() -> None:
    sheets = [contact_sheet([_row(60, 80, name)], CATEGORIES, 320) for name in ("a", "a" * 300)]
    differing = np.flatnonzero((sheets[0] != sheets[1]).any(axis=(0, 2)))
    assert differing.max() < sheets[0].shape[1] / 3


def test_contact_sheet_writes_scores_only_on_predictions() -> None:
    row = _row(60, 80)
    halved = replace(row.prediction, scores=row.prediction.filled_scores / 2)
    sheets = [contact_sheet([SheetRow("a", row.image, p, p)], CATEGORIES, 640) for p in (row.prediction, halved)]
    differing = np.flatnonzero((sheets[0] != sheets[1]).any(axis=(0, 2)))
    assert len(differing)
    assert differing.min() > 2 * sheets[0].shape[1] / 3


def test_contact_sheet_of_the_same_rows_is_reproducible() -> None:
    assert np.array_equal(*(contact_sheet([_row(60, 80)], CATEGORIES, 200) for _ in range(2)))


def test_contact_sheet_with_only_void_is_drawn() -> None:
    void = _segmentation(60, 80, [255])
    sheet = contact_sheet([SheetRow("empty", _row(60, 80).image, void, void)], CATEGORIES, 200)
    assert sheet.ndim == 3


def test_contact_sheet_with_invalid_input_raises() -> None:
    row = _row(60, 80)
    with pytest.raises(ValueError, match="at least one row"):
        contact_sheet([], CATEGORIES)
    with pytest.raises(ValueError, match="at least 100 pixels"):
        contact_sheet([row], CATEGORIES, 99)
    with pytest.raises(ValueError, match=r"the prediction of a\.jpg"):
        contact_sheet([SheetRow("a.jpg", row.image, row.truth, _segmentation(61, 80, [255, 0]))], CATEGORIES)


@pytest.mark.parametrize("width", [100, 400, 1500])
@pytest.mark.parametrize("classes", [[0], [255], [12, 13], list(range(14)), [0, 1, 13, 255]])
def test_legend_of_any_width_has_the_promised_height_and_every_class(width: int, classes: list[int]) -> None:
    height = legend_height(CATEGORIES, classes, width, 16)
    canvas = np.full((height + 40, width + 40, 3), 255, np.uint8)
    draw_legend(canvas, (20, 20), CATEGORIES, classes, width, 16)
    drawn = (canvas != 255).any(axis=2)
    assert not drawn[:20].any()
    assert not drawn[20 + height :].any()
    assert not drawn[:, :20].any()
    for number in classes:
        if number < CATEGORIES.num_stuff:
            assert (canvas == CATEGORIES.colors[number]).all(axis=2).sum() > 100
    swatches = (np.ptp(canvas.astype(int), axis=2) > 60).astype(np.uint8)
    things = [number for number in classes if 12 <= number < 255]
    colored = [number for number in classes if number != 255]
    assert cv2.connectedComponents(swatches)[0] - 1 >= len(colored) >= len(things)
