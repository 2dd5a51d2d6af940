"""Medians of measurements that take turns."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import TypeVar

T = TypeVar("T")
Side = Callable[[], float]
"""Does its work once and returns what it took."""


def timed(prepare: Callable[[], T], work: Callable[[T], object]) -> Side:
    """A side that times ``work`` alone, in milliseconds: neither making its input nor freeing its result counts."""

    def once() -> float:
        given = prepare()
        start = time.perf_counter()
        result = work(given)
        taken = 1000 * (time.perf_counter() - start)
        del given, result
        return taken

    return once


def medians(sides: Mapping[str, Side], rounds: int, warm_up: int) -> dict[str, float]:
    """The median of every side over rounds in which all sides take turns.

    Whatever disturbs the machine for a while then disturbs all sides, and every other round turns the order around, so
    that none always runs in the wake of the same other.

    Args:
        sides: what to measure.
        rounds: that count, at least one.
        warm_up: rounds before them that don't.
    """
    taken: dict[str, list[float]] = {name: [] for name in sides}
    gc.collect()
    for turn in range(warm_up + rounds):
        for name in list(sides)[:: 1 if turn % 2 == 0 else -1]:
            value = sides[name]()
            if turn >= warm_up:
                taken[name].append(value)
    return {name: median(values) for name, values in taken.items()}
