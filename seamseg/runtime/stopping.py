"""Ends a run between two steps when the system asks for it."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C, the end of a job, and what job schedulers send some time before it."""
_SECONDS = 1.0


class StopRequest:
    """Whether somebody wants the run to end.

    Attributes:
        signal: that this process got, or None.
        agreed: the signal for which all ranks have agreed to end, the same on each, or None.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.agreed: signal.Signals | None = None

    def agree(self, number: int) -> None:
        """Notes the largest signal of all ranks; 0 for none."""
        if number:
            self.agreed = signal.Signals(number)

    @property
    def exit_code(self) -> int:
        """128 + the agreed signal, as shells say it; 0 without one."""
        return 0 if self.agreed is None else 128 + self.agreed


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Within it SIGINT, SIGTERM and SIGUSR1 set the request, to be heeded at the next step.

    A later Ctrl-C (SIGINT) ends at once. Other repetitions, and those that follow at once, mean nothing: launchers and
    job schedulers send a signal to several processes of a job, which forward it to each other.
    """
    request = StopRequest()
    previous = {kind: signal.getsignal(kind) for kind in SIGNALS}
    first = 0.0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if request.signal is None:
            request.signal, first = signal.Signals(number), time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - first > _SECONDS:
            raise KeyboardInterrupt

    for kind in previous:
        signal.signal(kind, note)
    try:
        yield request
    finally:
        for kind, handler in previous.items():
            signal.signal(kind, handler)
