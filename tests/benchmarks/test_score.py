"""Rows, slugs and demands of the scoring benchmark, on inputs that take no time."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import score, score_files
from benchmarks.score_files import WORKS, Work, file_rows
from benchmarks.score_precision import precision_rows
from benchmarks.score_update import update_row
from benchmarks.table import Row

SMALL = (Work("40x30", 3, (30, 40), 4),)


def test_files_have_a_row_per_size_and_peer(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("panopticapi.evaluation", reason="panopticapi-lite is not installed")
    rows = file_rows(1, 1, SMALL)
    assert {row.slug: (row.must, row.aim) for row in rows} == {
        "files-panopticapi-40x30": (1 / 20, None),
        "files-hotcoco-40x30": (1.2, 1.0),
        "files-boundary-40x30": (None, None),
    }
    assert all(row.ratio is not None and row.ratio > 0 for row in rows)
    assert capfd.readouterr().out == "", "the processes of panopticapi talk"


def test_the_sizes_are_the_agreed_ones() -> None:
    assert [(work.name, work.num_pairs, work.size) for work in WORKS] == [
        ("640x480", 200, (480, 640)),
        ("1024x2048", 16, (1024, 2048)),
        ("4032x3024", 10, (3024, 4032)),
    ]
    assert WORKS[1].num_segments == 60


def test_without_a_peer_its_row_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hotcoco.panoptic", None)
    monkeypatch.setitem(sys.modules, "panopticapi.evaluation", None)
    monkeypatch.setitem(sys.modules, "torchmetrics.detection", None)
    rows = [*file_rows(1, 1, SMALL)[:2], update_row(1, (30, 40), 15)]
    assert all(row.ratio is None and row.holds is False and "is not installed" in row.measure for row in rows)


def test_sides_that_compute_different_things_are_no_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_files, "_panopticapi", lambda truth, results: lambda: 0.123)
    with pytest.raises(AssertionError, match="different things"):
        file_rows(1, 1, SMALL)


def test_maps_in_memory() -> None:
    pytest.importorskip("torchmetrics.detection", reason="torchmetrics is not installed")
    row = update_row(1, (30, 40), 15)
    assert (row.slug, row.must) == ("update-torchmetrics", 1 / 50)
    assert row.ratio is not None


def test_average_precision_has_a_row_for_boxes_and_one_for_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = precision_rows(1, 3, 4)
    assert [row.slug for row in rows] == ["ap-bbox", "ap-segm"]
    assert all(row.ratio is not None and row.ratio > 0 for row in rows)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert all(row.ratio is None and "not installed" in row.measure for row in precision_rows(1, 3, 4))


def test_all_rows_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "benchmarks.machine.in_fresh_process", lambda function, *rest: [Row(function.__name__, "m", 1, 2, "ms")]
    )
    monkeypatch.setattr(score, "RESULTS", tmp_path)
    score.main(["--quick"])
    assert list(tmp_path.iterdir()) == []
    score.main([])
    written = json.loads((tmp_path / "score.json").read_text())
    assert [row["slug"] for row in written["rows"]] == ["counting_rows", "fused_rows"]
    assert "panopticapi-lite" in written["versions"]
