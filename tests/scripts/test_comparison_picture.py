"""The script that draws a comparison of settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.script_module import load_script

from seamseg.visualization.colors import BLUE, ORANGE


@pytest.fixture(scope="module")
def script() -> Any:
    """The script as a module."""
    return load_script("comparison_picture")


def result(pqs: tuple[float, ...], seconds: float | None = 90.0) -> dict[str, Any]:
    """Result of a training that finds one segment of one class in each image with these qualities."""
    images = [
        {"image_id": one, "classes": [0], "iou": [pq], "tp": [1], "fp": [0], "fn": [0]} for one, pq in enumerate(pqs)
    ]
    pq = sum(pqs) / len(pqs)
    return {
        "pq": {"all": pq, "things": pq, "stuff": pq},
        "box_ap": 0.25,
        "mask_ap": 0.125,
        "curve": [pq],
        "cpu_seconds": seconds,
        "num_classes": 1,
        "images": images,
    }


CHANGES = {
    "the config": (0.60, 0.64),
    "better": (0.66, 0.72),
    "worse": (0.58, 0.60),
    "as good, with a name that is so long that it does not fit into one line": (0.58, 0.66),
}


@pytest.fixture
def comparison(tmp_path: Path) -> Path:
    """Comparison file with a recorded training of the config and of three changes; a fourth is not finished."""
    names = ", ".join(f'"{name}": [optimizer.lr={place}]' for place, name in enumerate([*CHANGES][1:], start=1))
    (tmp_path / "some.yaml").write_text(f"config: scenes_r18\nseeds: [0]\nchanges: {{{names}, later: [a=1]}}\n")
    results = {name: {"0": result(pqs)} for name, pqs in CHANGES.items()}
    (tmp_path / "some.json").write_text(json.dumps(results))
    return tmp_path / "some.yaml"


def columns_of(picture: np.ndarray[Any, Any], color: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    """Columns of the pixels of a color, with the row as a second column."""
    rows, columns = np.nonzero((picture == np.array(color, np.uint8)).all(axis=2))
    return np.stack([columns, rows], axis=1)


def test_gains_are_right_of_0_and_losses_left_in_their_colors(script: Any, comparison: Path) -> None:
    script.main(comparison)
    picture = cv2.imread(str(comparison.with_suffix(".png")))[:, :, ::-1]
    plot = picture[script._TOP : -script._MARGIN - script._LINE]
    _, zero = np.flatnonzero(np.bincount(columns_of(plot, script.INK)[:, 0]) > 0.8 * len(plot))  # a line of two pixels
    better, worse, equal = (columns_of(plot, color) for color in (BLUE, ORANGE, script.UNDECIDED))
    assert better[:, 0].min() > zero
    assert worse[:, 0].max() < zero
    assert equal[:, 0].min() < zero < equal[:, 0].max()
    assert better[:, 1].max() < worse[:, 1].min() < worse[:, 1].max() < equal[:, 1].min(), "in the order of the file"
    # The differences are 7, −3 and 0 points, which the centers of the dots show on one scale.
    centers = [np.median(one[one[:, 1] == np.bincount(one[:, 1]).argmax(), 0]) for one in (better, worse)]
    assert (centers[0] - zero) / (zero - centers[1]) == pytest.approx(7 / 3, rel=0.2)


def test_labels_are_broken_into_lines_of_similar_lengths(script: Any) -> None:
    assert script.balanced("short") == ["short"]
    text = [*CHANGES][-1]
    lines = script.balanced(text)
    assert lines == ["as good, with a name that is so long", "that it does not fit into one line"]


def test_numbers_are_means_over_the_seeds(script: Any) -> None:
    results = [result((0.5,), 60), result((0.75,), None)]
    assert script.numbers(results) == ["2", "62.5", "25.0", "12.5", "1.0"]
    assert script.numbers(results[1:]) == ["1", "75.0", "25.0", "12.5", "-"]


def test_comparison_without_results_says_how_to_train(script: Any, tmp_path: Path) -> None:
    (tmp_path / "new.yaml").write_text("config: scenes_r18\nseeds: [0]\nchanges: {faster: [optimizer.lr=1]}\n")
    with pytest.raises(SystemExit, match=r"new\.yaml has no results; train first: .*compare_settings\.py train"):
        script.main(tmp_path / "new.yaml", tmp_path / "new.png")
    assert not (tmp_path / "new.png").exists()
