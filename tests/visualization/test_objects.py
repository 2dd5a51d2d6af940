"""Objects drawn over images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from seamseg.metrics.run_length import encode_patch
from seamseg.structures import Categories, Category, DrawnObjects, Instance
from seamseg.visualization.colors import class_colors, instance_shades
from seamseg.visualization.contact_sheet import SheetRow, contact_sheet
from seamseg.visualization.objects import draw_objects
from seamseg.visualization.overlay import Style

CATEGORIES = Categories((Category("sky", False, (0, 0, 255), 1), Category("car", True, (200, 40, 40), 2)))
SIZE = (120, 160)
GRAY = np.full((*SIZE, 3), 90, np.uint8)


def square(y: int, x: int, side: int, score: float = 0.9, crowd: bool = False) -> Instance:
    mask = encode_patch(np.ones((side, side), np.bool_), y, x, SIZE)
    return Instance(0, (float(y), float(x), float(y + side), float(x + side)), mask, score, crowd)


def shade(number: int) -> list[int]:
    return instance_shades(class_colors(CATEGORIES)[[1]], np.array([number]))[0].tolist()


def test_masks_have_shades_of_the_class_color_and_the_best_one_is_on_top() -> None:
    objects = DrawnObjects(SIZE, [square(20, 20, 60, 0.9), square(50, 50, 60, 0.6)])
    picture = draw_objects(GRAY, objects, CATEGORIES, Style(opacity=1.0, labels=False))
    assert picture[100, 100].tolist() == shade(1)  # the less likely one is drawn first
    assert picture[30, 30].tolist() == picture[65, 65].tolist() == shade(2)
    assert picture[5, 5].tolist() == [90, 90, 90]
    assert (GRAY == 90).all()


def test_objects_without_masks_are_boxes_and_names() -> None:
    one = replace(square(40, 20, 60), mask=None)
    plain = draw_objects(GRAY, DrawnObjects(SIZE, [one]), CATEGORIES, Style(labels=False))
    changed = (plain != 90).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), columns.min(), rows.max(), columns.max()) == pytest.approx((40, 20, 99, 79), abs=1)
    assert not changed[50:90, 30:70].any()
    named = draw_objects(GRAY, DrawnObjects(SIZE, [one]), CATEGORIES)
    rows, columns = np.nonzero((named != plain).any(axis=2))
    assert rows.max() < 40 <= rows.max() + 4
    assert columns.min() >= 20


def test_names_stay_inside_the_image_and_crowd_is_striped() -> None:
    objects = DrawnObjects(SIZE, [square(0, 130, 30), square(60, 0, 50, crowd=True)])
    picture = draw_objects(GRAY, objects, CATEGORIES)
    assert picture.shape == GRAY.shape
    assert len(np.unique(picture[70:100, 10:40].reshape(-1, 3), axis=0)) > 1


def test_objects_are_scaled_to_the_picture() -> None:
    large = np.full((240, 320, 3), 90, np.uint8)
    picture = draw_objects(
        large, DrawnObjects(SIZE, [square(20, 20, 60)]), CATEGORIES, Style(opacity=1.0, labels=False)
    )
    assert picture[100, 100].tolist() == shade(1)
    assert picture[190, 190].tolist() == [90, 90, 90]


def test_contact_sheet_shows_objects_and_lists_their_classes() -> None:
    empty, found = DrawnObjects(SIZE, []), DrawnObjects(SIZE, [square(20, 20, 60)])
    without, with_objects = (
        contact_sheet([SheetRow("a", GRAY, side, side)], CATEGORIES, 200) for side in (empty, found)
    )
    assert with_objects.shape[0] > without.shape[0]  # the legend
