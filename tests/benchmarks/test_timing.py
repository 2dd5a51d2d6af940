"""Medians of sides that take turns."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from benchmarks.timing import Side, medians, timed


def recorder(name: str, order: list[str], values: Iterator[float]) -> Side:
    def once() -> float:
        order.append(name)
        return next(values)

    return once


def test_medians_run_sides_in_turn_and_reverse_every_other_round() -> None:
    order: list[str] = []
    sides = {name: recorder(name, order, iter([0.0] * 9)) for name in "ab"}
    medians(sides, rounds=3, warm_up=1)
    assert "".join(order) == "ab" + "ba" + "ab" + "ba"


def test_medians_leave_the_warm_up_out() -> None:
    sides = {
        "ours": recorder("ours", [], iter([900, 800, 1, 5, 3])),
        "peer": recorder("peer", [], iter([0, 0, 10, 40, 1000])),
    }
    assert medians(sides, rounds=3, warm_up=2) == {"ours": 3, "peer": 40}


def test_timed_side_excludes_preparation_and_freeing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    freed_at: list[float] = []

    class Result:
        def __del__(self) -> None:
            clock[0] += 100
            freed_at.append(clock[0])

    def prepare() -> str:
        clock[0] += 10
        return "input"

    def work(given: str) -> Result:
        assert given == "input"
        clock[0] += 0.25
        return Result()

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    side = timed(prepare, work)
    assert [side(), side()] == [250, 250], "milliseconds of only the work"
    assert len(freed_at) == 2, "results are freed before the next round"
