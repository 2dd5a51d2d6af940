"""Rows and peer of the benchmark of fusion on small images."""

from __future__ import annotations

import pytest
from oracles import fusion as oracle

from benchmarks import score_fusion
from benchmarks.score_fusion import a_street, argmax_rows, fuse_rows, whole_fusion
from benchmarks.table import Row

SMALL = (96, 192)


def limits(rows: list[Row]) -> dict[str, tuple[float | None, float | None]]:
    return {row.slug: (row.must, row.aim) for row in rows}


def test_fuse_rows_measure_time_and_memory() -> None:
    time, memory = fuse_rows(1, SMALL, 12)
    assert limits([time, memory]) == {"fusion": (0.03, 0.015), "fusion-memory": (1.0, None)}
    assert (time.unit, memory.unit) == ("ms", "MB")
    assert memory.peer == 100
    assert memory.ours is not None
    assert 12e-6 * SMALL[0] * SMALL[1] < memory.ours < 1  # ids and owners
    assert "96×192, 12 objects of 28×28, 19 classes" in time.measure


def test_argmax_rows_measure_time_and_memory() -> None:
    time, memory = argmax_rows(1, SMALL, 7)
    assert limits([time, memory]) == {"argmax": (0.6, None), "argmax-memory": (0.1, None)}
    pixels = SMALL[0] * SMALL[1]
    assert memory.ours == 8 * pixels / 1e6
    assert memory.peer == (4 * 7 + 8) * pixels / 1e6


def test_peer_of_fusion_equals_the_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_fusion, "MIN_AREA", 40)
    detections, semantics = a_street((48, 80), 9)
    ids, classes = whole_fusion(detections, semantics)
    parts = (detections.boxes, detections.classes, detections.scores, detections.masks)
    expected, expected_classes, _, _ = oracle.fuse(*parts, semantics, 11, 0.5, 0.5, 40)
    assert classes == expected_classes
    assert (ids != expected).sum() <= 2
