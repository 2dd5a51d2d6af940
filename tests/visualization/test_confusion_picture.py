"""Picture of a confusion matrix: which classes it shows, and their colors."""

from __future__ import annotations

import numpy as np
import pytest

from seamseg.visualization.confusion_picture import AT_MOST, confusion_picture


def picture(matrix: np.ndarray, names: list[str]) -> np.ndarray:
    return confusion_picture(matrix, names, "title", "missed", "segments")


def colors(shown: np.ndarray, num: int, row: int) -> list[list[int]]:
    """Return the colors of a row's cells, taken near their corners."""
    top, left = 36 + 45 + 190, 36 + 190
    return [shown[top + row * 46 + 3, left + column * 46 + 3].tolist() for column in range(num)]


def test_confusion_picture_has_a_blue_diagonal_and_red_errors() -> None:
    shown = picture(np.array([[8, 2, 0], [0, 5, 5]]), ["sky", "a class with quite a long name, longer than fits"])
    right, wrong, nothing = colors(shown, 3, 0)
    assert right[2] > right[0] + 50
    assert wrong[0] > wrong[2] + 50
    assert nothing == [255] * 3
    assert colors(shown, 3, 1)[2][0] > colors(shown, 3, 1)[2][2] + 100


def test_confusion_picture_skips_a_class_without_counts() -> None:
    with_it = picture(np.array([[8, 0, 0, 2], [0, 0, 0, 0], [0, 0, 5, 5]]), ["sky", "unseen", "car"])
    without = picture(np.array([[8, 0, 2], [0, 5, 5]]), ["sky", "car"])
    assert np.array_equal(with_it, without)


def test_confusion_picture_of_many_classes_shows_the_worst() -> None:
    num = AT_MOST + 6
    matrix = np.zeros((num, num + 1), int)
    np.fill_diagonal(matrix, 10)
    matrix[4:, -1] = np.arange(num - 4) + 1
    few = picture(matrix[: AT_MOST - 1, [*range(AT_MOST - 1), -1]], [str(n) for n in range(AT_MOST - 1)])
    many = picture(matrix, [str(n) for n in range(num)])
    assert many.shape[0] == few.shape[0] + 46
    assert many.shape == picture(np.vstack([matrix]), [str(n) for n in range(num)]).shape


def test_confusion_picture_without_counts_or_with_a_wrong_shape_draws_or_raises() -> None:
    assert picture(np.zeros((2, 3), int), ["sky", "car"]).shape[2] == 3
    with pytest.raises(ValueError, match=r"must have shape \(2, 3\)"):
        picture(np.zeros((2, 2), int), ["sky", "car"])
