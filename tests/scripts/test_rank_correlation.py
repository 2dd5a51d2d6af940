"""The script that compares a ranking with the true errors of its images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.panoptic_pairs import Side, listed, write_side
from support.script_module import load_script

MODULE = load_script("rank_correlation")


def write_ranking(folder: Path, names: list[str]) -> Path:
    entries = [
        {"file_name": f"{name}.jpg", "expected_error": 1 - place / 10, "pixels": 1 - place / 10, "things": None}
        for place, name in enumerate(names)
    ]
    (folder / "ranking.json").write_text(json.dumps(entries))
    return folder / "ranking.json"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Four images of sky with a car; in image N, the prediction misses N columns of the car, and all of it in 3."""
    ids = np.ones((4, 8), np.int64)
    ids[:, 2:5] = 2
    true = Side(ids, listed(ids, {1: 7, 2: 3}, set()))
    sides = []
    for columns in range(4):
        found = ids.copy()
        found[:, 2 : 2 + columns] = 1
        sides.append(Side(found, listed(found, {1: 7, 2: 3}, set())))
    return write_side(tmp_path, "truth", [true] * 4), write_side(tmp_path, "results", sides, bare=True)


def test_true_errors_by_hand(files: tuple[Path, Path]) -> None:
    errors = MODULE.true_errors(*files)
    assert [errors[f"00{image}"]["pixels"] for image in range(4)] == pytest.approx([0, 4 / 32, 8 / 32, 12 / 32])
    assert [errors[f"00{image}"]["things"] for image in range(4)] == pytest.approx([0, 0, 1, 1])
    assert errors["001"]["expected_error"] == pytest.approx(1 - (2 / 3 + 5 / 6) / 2)


def test_rank_correlation_of_the_right_order_is_one(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    MODULE.main(write_ranking(tmp_path, ["003", "002", "unknown", "001", "000"]), *files)
    printed = capsys.readouterr().out
    assert "pixels and wrong pixels: rank correlation 1.00; first quarter 37.5 %, all 18.8 %" in printed
    assert "RQ" not in printed
    MODULE.main(write_ranking(tmp_path, ["000", "001", "002", "003"]), *files)
    assert "rank correlation -1.00" in capsys.readouterr().out


def test_rank_correlation_without_common_images_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="in common"):
        MODULE.main(write_ranking(tmp_path, ["a", "001"]), *files)


def test_spearman_of_equal_values_uses_their_mean_rank() -> None:
    """Ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4."""
    expected = np.corrcoef([1, 2.5, 2.5, 4], [1, 3, 2, 4])[0, 1]
    assert MODULE.spearman([0.1, 0.2, 0.2, 0.9], [5, 7, 6, 8]) == pytest.approx(expected)
