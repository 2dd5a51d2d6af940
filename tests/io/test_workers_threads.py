"""One function on many items in threads: order, limit of items ahead, and errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from seamseg.io.workers import ordered_map


def test_thread_results_are_in_the_order_of_the_items() -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.02 if number < 3 else 0)
        return number * number

    assert list(ordered_map(slow_at_first, range(50), threads=4, ahead=5)) == [number**2 for number in range(50)]
    assert list(ordered_map(str, [], threads=2, ahead=1)) == []


def test_threads_take_no_more_items_than_allowed_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    gate = threading.Event()
    results = ordered_map(lambda number: gate.wait(10) and number, items(), threads=2, ahead=3)
    threading.Timer(0.05, gate.set).start()
    assert next(results) == 0
    assert len(taken) <= 5
    for result in results:
        assert len(taken) <= result + 5


def test_threads_work_while_the_caller_is_busy() -> None:
    done: list[int] = []
    results = ordered_map(done.append, range(4), threads=1, ahead=4)
    next(results)
    deadline = time.monotonic() + 10
    while len(done) < 4:
        next(results, None)
        assert time.monotonic() < deadline


def test_thread_stages_can_be_chained() -> None:
    first = ordered_map(lambda number: number + 1, range(30), threads=2, ahead=2)
    here = (number * 10 for number in first)
    assert list(ordered_map(str, here, threads=2, ahead=2)) == [str(10 * number) for number in range(1, 31)]


def test_error_in_a_thread_is_raised_and_stops_the_others() -> None:
    begun: list[int] = []

    def fails(number: int) -> int:
        begun.append(number)
        if number == 3:
            raise OSError(28, "No space left on device")
        return number

    results = ordered_map(fails, range(1000), threads=1, ahead=3)
    with pytest.raises(OSError, match="No space left"):
        list(results)
    assert len(begun) < 10
    assert not any(thread.name.startswith("fails") for thread in threading.enumerate())
