"""Rows, demands and both sides of the benchmark of fusion, on images that take no time."""

from __future__ import annotations

import pytest
import torch
from oracles import fusion as oracle

from benchmarks import score_fusion
from benchmarks.score_fusion import a_street, argmax_rows, fuse_rows, fusion_rows, whole_fusion
from benchmarks.table import Row

SMALL = (96, 192)


def limits(rows: list[Row]) -> dict[str, tuple[float | None, float | None]]:
    return {row.slug: (row.must, row.aim) for row in rows}


def test_fusion_has_a_row_of_time_and_one_of_memory() -> None:
    time, memory = fuse_rows(1, SMALL, 12)
    assert limits([time, memory]) == {"fusion": (0.03, 0.015), "fusion-memory": (1.0, None)}
    assert (time.unit, memory.unit) == ("ms", "MB")
    assert memory.peer == 100
    assert memory.ours is not None
    assert 12e-6 * SMALL[0] * SMALL[1] < memory.ours < 1  # ids and owners
    assert "96×192, 12 objects of 28×28, 19 classes" in time.measure


def test_the_arg_max_has_a_row_of_time_and_one_of_memory() -> None:
    time, memory = argmax_rows(1, SMALL, 7)
    assert limits([time, memory]) == {"argmax": (0.6, None), "argmax-memory": (0.1, None)}
    pixels = SMALL[0] * SMALL[1]
    assert memory.ours == 8 * pixels / 1e6
    assert memory.peer == (4 * 7 + 8) * pixels / 1e6


def test_the_sizes_are_the_agreed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []
    for name in ("fuse_rows", "argmax_rows"):
        monkeypatch.setattr(score_fusion, name, lambda *given: calls.append(given) or [])
    assert fusion_rows(5) == []
    assert calls == [(5, (1024, 2048), 100), (5, (1920, 2560), 65)]
    fusion_rows(2, quick=True)
    assert calls[2:] == [(2, (128, 256), 100), (2, (128, 256), 65)]


def test_the_other_side_fuses_as_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_fusion, "MIN_AREA", 40)
    detections, semantics = a_street((48, 80), 9)
    ids, classes = whole_fusion(detections, semantics)
    parts = (detections.boxes, detections.classes, detections.scores, detections.masks)
    expected, expected_classes, _, _ = oracle.fuse(*parts, semantics, 11, 0.5, 0.5, 40)
    assert classes == expected_classes
    assert (ids != expected).sum() <= 2


def test_objects_overlap_and_all_take_part() -> None:
    detections, semantics = a_street((1024, 2048), 100)
    assert (detections.scores > score_fusion.SCORE).all()
    height, width = (detections.boxes[:, 2:] - detections.boxes[:, :2]).unbind(1)
    assert height.min() > 5
    assert 0.5 < float((height * width).sum()) / (1024 * 2048) < 4
    assert len(semantics.unique()) > 10


def test_sides_that_compute_different_things_are_no_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_fusion, "upsample_argmax", lambda scores, size: torch.zeros(size, dtype=torch.int64))
    with pytest.raises(AssertionError, match="different things"):
        argmax_rows(1, SMALL, 7)
    monkeypatch.undo()
    monkeypatch.setattr(
        score_fusion, "paste_whole", lambda masks, boxes, image: torch.zeros(len(masks), *image.shape) > 0
    )
    with pytest.raises(AssertionError, match="different things"):
        fuse_rows(1, SMALL, 12)
