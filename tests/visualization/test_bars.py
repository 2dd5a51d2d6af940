"""Bar charts: lengths and colors of the bars."""

from __future__ import annotations

import math

import numpy as np

from seamseg.visualization.bars import BarGroup, StackedBar, grouped_bars, stacked_bars
from seamseg.visualization.images import Picture

RED, BLUE, GREEN = (200, 30, 30), (30, 30, 200), (30, 160, 30)


def columns_of(picture: Picture, color: tuple[int, int, int]) -> np.ndarray:
    """Return the number of pixels of a color in every column, below the key."""
    return (picture[150:] == color).all(-1).sum(0)


def test_grouped_bars_have_heights_of_their_values() -> None:
    groups = [BarGroup("small", "3 true", (0.25, 0.5)), BarGroup("large", "none", (1.0, math.nan))]
    picture = grouped_bars(groups, (("things", RED), ("stuff", BLUE)), "title", "subtitle")
    red, blue = columns_of(picture, RED), columns_of(picture, BLUE)
    heights = sorted(set(red[red > 60].tolist()))
    assert heights == [75, 300]  # a quarter of 300 pixels, and all of them
    assert red[red == 75].size == red[red == 300].size
    assert set(blue[blue > 0].tolist()) == {150}


def test_stacked_bars_have_widths_of_their_shares() -> None:
    bars = [StackedBar("car", (1, 2, 1), "4 true"), StackedBar("bus", (0, 0, 0), "")]
    picture = stacked_bars(bars, (("matched", RED), ("localization", BLUE), ("missed", GREEN)), "title", "subtitle")
    edge = (
        (picture[142] == RED).all(-1).sum(),
        (picture[142] == BLUE).all(-1).sum(),
        (picture[142] == GREEN).all(-1).sum(),
    )
    assert edge == (140, 280, 140)
    assert not any((picture[172] == color).all(-1).any() for color in (RED, BLUE, GREEN))


def test_bars_without_data_draw_only_the_frame() -> None:
    for picture in (grouped_bars([], [("all", RED)], "title", ""), stacked_bars([], [("all", RED)], "title", "")):
        assert picture.dtype == np.uint8
        assert picture.shape[2] == 3
        assert (picture < 255).any()
