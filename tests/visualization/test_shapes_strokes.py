"""Outlines, stripes and blending."""

from __future__ import annotations

import numpy as np
import pytest

from seamseg.visualization.shapes import blend, line_thickness, outlines, stripes


def test_outlines_are_inside_the_chosen_segment_along_its_border() -> None:
    ids = np.zeros((600, 600), np.int64)
    ids[100:300, 100:300] = 1
    ids[100:300, 300:500] = 2
    alpha = outlines(ids, np.array([False, True, False]))
    assert alpha[200, 100] > 0.8
    assert alpha[200, 299] > 0.8  # toward segment 2, which has no line itself
    assert alpha[100:300, 303:].max() == 0
    assert alpha[:97].max() == 0
    assert alpha[110:290, 110:290].max() == 0


def test_outlines_of_a_segment_that_fills_the_image_are_empty() -> None:
    assert outlines(np.ones((50, 50), np.int64), np.array([False, True])).max() == 0


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 1), (2, 2)])
def test_outlines_and_stripes_of_tiny_images_keep_the_shape(height: int, width: int) -> None:
    assert outlines(np.zeros((height, width), np.int64), np.array([True])).shape == (height, width)
    assert stripes(height, width).shape == (height, width)


def test_outlines_grow_with_the_image_and_fade_in_small_ones() -> None:
    def line(side: int) -> np.ndarray:
        ids = np.zeros((side, side), np.int64)
        ids[:, side // 2 :] = 1
        return outlines(ids, np.array([False, True]))[side // 4]

    assert (line(3000) > 0.5).sum() >= 4
    assert 1 <= (line(800) > 0.5).sum() <= 2
    assert 0.2 < line(120).max() < 0.6
    assert line_thickness(3000, 3000) == pytest.approx(5 * line_thickness(600, 600))


def test_stripes_cover_a_quarter_and_are_diagonal() -> None:
    striped = stripes(400, 500)
    assert striped.mean() == pytest.approx(0.25, abs=0.01)
    assert np.array_equal(striped[1:, :-1], striped[:-1, 1:])


def test_blend_with_alpha_moves_pixels_toward_the_level() -> None:
    canvas = np.full((1, 3, 3), 100, np.uint8)
    blend(canvas, np.array([[0, 0.5, 1]], np.float32), 200)
    assert canvas[0, :, 0].tolist() == [100, 150, 200]
