"""Rows of the scoring benchmark on small inputs."""

from __future__ import annotations

import sys

import pytest

from benchmarks.score_files import Work, file_rows
from benchmarks.score_precision import precision_rows
from benchmarks.score_update import update_row

SMALL = (Work("40x30", 3, (30, 40), 4),)


def test_file_rows_have_a_row_per_size_and_peer_and_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("panopticapi.evaluation", reason="panopticapi-lite is not installed")
    rows = file_rows(1, 1, SMALL)
    assert {row.slug: (row.must, row.aim) for row in rows} == {
        "files-panopticapi-40x30": (1 / 20, None),
        "files-hotcoco-40x30": (1.2, 1.0),
        "files-boundary-40x30": (None, None),
    }
    assert all(row.ratio is not None and row.ratio > 0 for row in rows)
    assert capfd.readouterr().out == "", "the processes of panopticapi print"


def test_rows_without_a_peer_say_that_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hotcoco.panoptic", None)
    monkeypatch.setitem(sys.modules, "panopticapi.evaluation", None)
    monkeypatch.setitem(sys.modules, "torchmetrics.detection", None)
    rows = [*file_rows(1, 1, SMALL)[:2], update_row(1, (30, 40), 15)]
    assert all(row.ratio is None and row.holds is False and "is not installed" in row.measure for row in rows)


def test_update_row_times_maps_in_memory() -> None:
    pytest.importorskip("torchmetrics.detection", reason="torchmetrics is not installed")
    row = update_row(1, (30, 40), 15)
    assert (row.slug, row.must) == ("update-torchmetrics", 1 / 50)
    assert row.ratio is not None


def test_precision_rows_have_a_row_for_boxes_and_one_for_masks() -> None:
    rows = precision_rows(1, 3, 4)
    assert [row.slug for row in rows] == ["ap-bbox", "ap-segm"]
    assert all(row.ratio is not None and row.ratio > 0 for row in rows)
