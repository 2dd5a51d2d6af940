"""The picture of a confusion matrix: which classes it shows, and how dark."""

from __future__ import annotations

import numpy as np
import pytest

from seamseg.visualization.confusion_picture import AT_MOST, confusion_picture


def picture(matrix: np.ndarray, names: list[str]) -> np.ndarray:
    return confusion_picture(matrix, names, "title", "missed", "segments")


def colors(shown: np.ndarray, num: int, row: int) -> list[list[int]]:
    """Of the corners of a row's cells."""
    top, left = 36 + 45 + 190, 36 + 190
    return [shown[top + row * 46 + 3, left + column * 46 + 3].tolist() for column in range(num)]


def test_the_diagonal_is_blue_and_errors_are_red() -> None:
    shown = picture(np.array([[8, 2, 0], [0, 5, 5]]), ["sky", "a class with quite a long name, longer than fits"])
    right, wrong, nothing = colors(shown, 3, 0)
    assert right[2] > right[0] + 50
    assert wrong[0] > wrong[2] + 50
    assert nothing == [255] * 3
    assert colors(shown, 3, 1)[2][0] > colors(shown, 3, 1)[2][2] + 100


def test_a_class_without_a_count_is_left_out() -> None:
    with_it = picture(np.array([[8, 0, 0, 2], [0, 0, 0, 0], [0, 0, 5, 5]]), ["sky", "unseen", "car"])
    without = picture(np.array([[8, 0, 2], [0, 5, 5]]), ["sky", "car"])
    assert np.array_equal(with_it, without)


def test_of_many_classes_the_worst_are_shown() -> None:
    num = AT_MOST + 6
    matrix = np.zeros((num, num + 1), int)
    np.fill_diagonal(matrix, 10)
    matrix[4:, -1] = np.arange(num - 4) + 1
    few = picture(matrix[: AT_MOST - 1, [*range(AT_MOST - 1), -1]], [str(n) for n in range(AT_MOST - 1)])
    many = picture(matrix, [str(n) for n in range(num)])
    assert many.shape[0] == few.shape[0] + 46
    assert many.shape == picture(np.vstack([matrix]), [str(n) for n in range(num)]).shape


def test_nothing_to_find() -> None:
    assert picture(np.zeros((2, 3), int), ["sky", "car"]).shape[2] == 3
    with pytest.raises(ValueError, match="one more column"):
        picture(np.zeros((2, 2), int), ["sky", "car"])
