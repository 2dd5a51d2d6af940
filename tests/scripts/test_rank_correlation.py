"""The script that compares a ranking with the scores of its images."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "rank_correlation.py"
SPEC = spec_from_file_location("rank_correlation", SCRIPT)
assert SPEC is not None
MODULE = module_from_spec(SPEC)
SPEC.loader.exec_module(MODULE)


def run(folder: Path, errors: list[float], table: str) -> subprocess.CompletedProcess[str]:
    entries = [
        {"file_name": f"sub/{place}.jpg", "expected_error": error, "pixels": error, "things": None}
        for place, error in enumerate(errors)
    ]
    (folder / "ranking.json").write_text(json.dumps(entries))
    (folder / "images.csv").write_text(table)
    words = [sys.executable, str(SCRIPT), str(folder / "ranking.json"), str(folder / "images.csv")]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_rank_correlation_of_opposite_orders_is_one_and_unscored_images_are_left_out(tmp_path: Path) -> None:
    table = "image_id,file_name,pq\n1,sub/0.png,0.1\n2,sub/1.png,0.2\n3,2.png,0.5\n4,3.png,0.9\n5,4.png,\n"
    done = run(tmp_path, [0.9, 0.5, 0.4, 0.1, 0.05], table)
    assert "expected_error: rank correlation 1.00" in done.stdout
    assert "things" not in done.stdout
    assert "mean PQ 10.0 of the first 1 images, 42.5 of 4" in done.stdout


def test_rank_correlation_without_common_images_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, [0.9, 0.5], "image_id,file_name,pq\n1,a.png,0.1\n")
    assert done.returncode == 1
    assert "in common" in done.stderr


def test_spearman_of_equal_values_uses_their_mean_rank() -> None:
    """Ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4."""
    expected = np.corrcoef([1, 2.5, 2.5, 4], [1, 3, 2, 4])[0, 1]
    assert MODULE.spearman([0.1, 0.2, 0.2, 0.9], [5, 7, 6, 8]) == pytest.approx(expected)
