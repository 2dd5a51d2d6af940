"""Pictures of calibration: bars as high as the accuracy, and curves through their points."""

from __future__ import annotations

import math

import numpy as np

from seamseg.visualization.calibration_picture import GAP, RIGHT, CalibrationRow, calibration_picture

EMPTY = (0, math.nan, math.nan)
ROW = CalibrationRow("things", "note", [EMPTY] * 14 + [(3, 1.0, 0.5)], [(0.5, 0.0), (1.0, 0.2)], "note")


def count(picture: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((picture == color).all(-1).sum())


def test_bar_of_half_accuracy_is_half_as_high_as_the_plot_and_the_gap_is_the_other_half() -> None:
    picture = calibration_picture([ROW])
    plain = calibration_picture([CalibrationRow("things", "note", [EMPTY] * 15, (), "note")])
    right = count(picture, RIGHT) - count(plain, RIGHT)
    gap = count(picture, GAP) - count(plain, GAP)
    assert abs(gap - 149 * 19) < 200  # the diagonal covers a part
    assert right > 150 * 19


def test_picture_of_several_rows_is_higher_and_has_the_same_width() -> None:
    one, two = calibration_picture([ROW]), calibration_picture([ROW, ROW])
    assert two.shape[0] > one.shape[0] + 300
    assert two.shape[1] == one.shape[1]
    assert one.dtype == np.uint8


def test_picture_of_a_curve_with_one_point_or_undefined_values_is_drawn() -> None:
    for curve in ([(1.0, 0.3)], [], [(math.nan, math.nan)], [(1.0, 0.0)]):
        picture = calibration_picture([CalibrationRow("pixels", "", [EMPTY] * 15, curve, "")])
        assert picture.shape[2] == 3
