"""One function on many items, in threads: for work that native code does, which lets other threads run meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import wait
from typing import Any, TypeVar

import cv2

Item = TypeVar("Item")
Result = TypeVar("Result")


def done_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], num_threads: int, ahead: int
) -> Iterator[Result]:
    """Applies a function to all items, in the background of whoever goes through the results; these come in order.

    The items are taken from their source in the thread that asks for results. Stages can so be put one into the other:
    reading in threads, the network in the main thread, writing in threads.

    Args:
        function: is called in several threads at a time.
        items: to apply it to.
        num_threads: at least 1.
        ahead: items that may be under way or finished before their results are asked for: what bounds the memory.

    Raises:
        Exception: whatever the function or the items raise; what has not begun by then is not begun.
    """
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix=getattr(function, "__name__", "work"))
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            while pending and (len(pending) > ahead or pending[0].done()):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


ITEMS_PER_WORKER = 16
"""With fewer items for each, starting another process takes longer than it saves."""
ITEMS_AHEAD = 8
"""Items per worker that are handed out at a time: what bounds the memory."""

PRELOADED = [__name__, "torch"]
"""Modules that are imported once, before the workers part: torch takes seconds."""

_function: Callable[[Any], Any]


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def results_in_order(
    function: Callable[[Item], Result], items: Sequence[Item], num_workers: int | None = None
) -> Iterator[Result]:
    """Applies a function to all items; the results come in the order of the items, whatever the number of workers.

    Only a few items per worker are under way at a time.

    Args:
        function: can be pickled (a function of a module, ``functools.partial`` of one); goes to every worker once.
        items: can be pickled.
        num_workers: processes, at least 1; None takes one per core. One, or few items, stay in this process.

    Raises:
        ChildProcessError: a worker was ended from outside.
        Exception: whatever the function raises.
    """
    wanted = available_cores() if num_workers is None else num_workers
    if wanted < 1:
        raise ValueError(f"{wanted} workers cannot work; ask for at least 1")
    workers = min(wanted, len(items) // ITEMS_PER_WORKER)
    return _in_processes(function, items, workers) if workers > 1 else map(function, items)


def _in_processes(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    # A plain fork copies locks that threads of this process (of the progress bar, of torch) may hold at that moment.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    pool = ProcessPoolExecutor(workers, context, initializer=_prepare_worker, initargs=(function,))
    pending: deque[Future[Result]] = deque()
    left = iter(items)
    try:
        pending.extend(pool.submit(_call, item) for item in islice(left, ITEMS_AHEAD * workers))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(_call, item) for item in islice(left, 1))
            yield result
    except BrokenProcessPool:
        raise ChildProcessError(
            "a worker process was ended from outside, most likely because memory ran out; use fewer workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare_worker(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    # The workers are the parallelism; threads inside them would only fight over the cores.
    cv2.setNumThreads(0)
    # Ctrl-C signals a whole process group. Only the main process shall hear it: it ends its workers itself.
    os.setpgrp()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _call(item: Any) -> Any:
    return _function(item)
