"""Parallel map over many items, in threads or processes.

Threads suit work done by native code that releases the global interpreter lock.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import wait
from typing import Any, TypeVar, overload

import cv2

from seamseg.errors import SettingsError

Item = TypeVar("Item")
Result = TypeVar("Result")


ITEMS_PER_WORKER = 16
"""Minimum number of items per process; with fewer, starting a process takes longer than it saves."""
ITEMS_AHEAD = 8
"""Maximum number of items per process in progress at the same time; limits memory."""

PRELOADED = [__name__, "torch"]
"""Modules imported once, before the workers are forked: importing torch takes seconds."""

_function: Callable[[Any], Any]


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


@overload
def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int
) -> Iterator[Result]: ...
@overload
def ordered_map(
    function: Callable[[Item], Result], items: Sequence[Item], *, processes: int | None
) -> Iterator[Result]: ...
def ordered_map(
    function: Callable[[Item], Result],
    items: Any,
    *,
    threads: int | None = None,
    ahead: int = 0,
    processes: int | None = None,
) -> Iterator[Result]:
    """Apply a function to all items in threads or processes and yield the results in the order of the items.

    With ``threads``, items are taken from their source in the thread that iterates over the results, so stages can be
    chained: reading in threads, the network in the main thread, writing in threads. A result is yielded as soon as it
    and
    all earlier ones are ready.

    Args:
        function: Function of one item, called by several threads or processes at the same time. Each process receives
            it once, so it must be picklable: a module-level function or a ``functools.partial`` of one.
        items: Iterable for threads; sequence of picklable items for processes.
        threads: Number of threads, at least 1.
        ahead: Maximum number of items that are in progress or finished but not yet yielded; limits memory. Applies to
            threads only.
        processes: Number of processes, at least 1; None means one per core. With one process or few items, the calling
            process does the work. At most :data:`ITEMS_AHEAD` items per process are in progress at the same time.

    Raises:
        SeamsegError: ``processes`` is less than 1.
        ChildProcessError: A worker process was killed.
        Exception: Any error raised by the function or the items; items that have not started by then are dropped.
    """
    if threads is not None:
        name = getattr(function, "__name__", "work")
        pool = partial(ThreadPoolExecutor, threads, thread_name_prefix=name)
        return _pooled(pool, function, items, ahead, early=True)
    wanted = available_cores() if processes is None else processes
    if wanted < 1:
        raise SettingsError(f"the number of workers is {wanted}; it must be at least 1")
    workers = min(wanted, len(items) // ITEMS_PER_WORKER)
    if workers <= 1:
        return map(function, items)
    return _pooled(partial(_process_pool, function, workers), _call, items, ITEMS_AHEAD * workers, early=False)


def _pooled(
    make_pool: Callable[[], Executor],
    function: Callable[[Item], Result],
    items: Iterable[Item],
    ahead: int,
    early: bool,
) -> Iterator[Result]:
    """Yield results in order with at most ``ahead`` items pending.

    If ``early`` is set, results are yielded as soon as they are ready. Otherwise ``ahead`` items are kept pending.
    """
    pool = make_pool()
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            while pending and (len(pending) > ahead or (early and pending[0].done())):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise ChildProcessError(
            "a worker process was killed, most likely because memory ran out; use fewer workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _process_pool(function: Callable[[Any], Any], workers: int) -> ProcessPoolExecutor:
    # A plain fork copies locks that other threads (of the progress bar or torch) may hold at that moment.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return ProcessPoolExecutor(workers, context, initializer=_prepare_worker, initargs=(function,))


def _prepare_worker(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    # The workers already run in parallel; threads inside them would only compete for the cores.
    cv2.setNumThreads(0)
    # Ctrl-C signals a whole process group. Only the main process must receive it; it stops its workers itself.
    os.setpgrp()
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _call(item: Any) -> Any:
    return _function(item)
