"""Ends a run between two steps when the system asks for it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class StopRequest:
    """Whether somebody wants the run to end."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Within it SIGINT and SIGTERM set the request, to be heeded at the next step; a second one ends at once."""
    request = StopRequest()
    previous = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        if request:
            raise KeyboardInterrupt
        request.signal = signal.Signals(number)

    for kind in previous:
        signal.signal(kind, note)
    try:
        yield request
    finally:
        for kind, handler in previous.items():
            signal.signal(kind, handler)
