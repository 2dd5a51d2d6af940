"""Colors of classes, instances and text."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from seamseg.structures import Categories, Category
from seamseg.visualization.colors import class_colors, instance_shades, segment_colors, text_color

CATEGORIES = Categories(
    (
        Category("road", False, (128, 64, 128), 7),
        Category("sky", False, (70, 130, 180), 8),
        Category("car", True, (0, 0, 142), 9),
        Category("person", True, (220, 20, 60), 10),
    )
)


def _lab(colors: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(colors[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]


def test_class_colors_of_numbers_without_a_class_are_black() -> None:
    palette = class_colors(CATEGORIES)
    assert palette.shape == (256, 3)
    assert palette.dtype == np.uint8
    assert [tuple(color) for color in palette[:4]] == list(CATEGORIES.colors)
    assert not palette[4:].any()


def test_class_colors_without_categories_are_black() -> None:
    assert not class_colors(Categories(())).any()


def test_segment_colors_of_stuff_and_void_are_class_color_and_black() -> None:
    colors = segment_colors(np.array([255, 0, 1, 0]), CATEGORIES)
    assert colors.tolist() == [[0, 0, 0], [128, 64, 128], [70, 130, 180], [128, 64, 128]]


def test_segment_colors_of_things_depend_only_on_class_and_segment_id() -> None:
    long = segment_colors(np.array([255, 0, 3, 2, 3, 3]), CATEGORIES)
    short = segment_colors(np.array([255, 2, 3, 0, 3]), CATEGORIES)
    assert long[2].tolist() == short[2].tolist()
    assert long[4].tolist() == short[4].tolist()


@pytest.mark.parametrize("color", [(0, 0, 142), (220, 20, 60), (128, 128, 128), (0, 0, 0), (255, 255, 255)])
def test_instance_shades_of_consecutive_numbers_are_distinguishable(color: tuple[int, int, int]) -> None:
    shades = _lab(instance_shades(np.array([color] * 40, np.uint8), np.arange(1, 41)))
    steps = np.linalg.norm(np.diff(shades, axis=0), axis=1)
    assert steps.min() > 5  # a difference of 2.3 is just noticeable
    assert len(np.unique(shades, axis=0)) >= 35


def test_instance_shades_stay_near_the_class_color() -> None:
    base = np.array([(200, 80, 60)] * 100, np.uint8)
    difference = np.abs(_lab(instance_shades(base, np.arange(100))) - _lab(base))
    assert difference[:, 0].max() < 18
    assert difference.max() < 30


def test_instance_shades_without_colors_are_empty() -> None:
    assert instance_shades(np.zeros((0, 3), np.uint8), np.zeros(0, np.int64)).shape == (0, 3)


@pytest.mark.parametrize(
    ("background", "white"),
    [
        ((0, 0, 0), True),
        ((255, 255, 255), False),
        ((250, 230, 60), False),
        ((20, 20, 140), True),
        ((200, 30, 40), True),
    ],
)
def test_text_color_is_white_on_dark_and_dark_on_light(background: tuple[int, int, int], white: bool) -> None:
    assert (text_color(background) == (255, 255, 255)) is white


def test_text_color_on_any_background_has_contrast() -> None:
    generator = np.random.default_rng(0)
    for background in generator.integers(0, 256, (500, 3)):
        red, green, blue = (int(channel) for channel in background)
        levels = [_luminance(color) for color in ((red, green, blue), text_color((red, green, blue)))]
        assert (max(levels) + 0.05) / (min(levels) + 0.05) >= 3


def _luminance(color: tuple[int, int, int]) -> float:
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
