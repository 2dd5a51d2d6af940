"""One function on many items, in threads: for work that native code does, which lets other threads run meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

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
