"""Ends a run between two steps when the system asks for it."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import TypeVar

Item = TypeVar("Item")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C, the end of a job, and what job schedulers send some time before it."""
_SECONDS = 1.0
_RANK_PATIENCE = 10.0
"""Seconds that one of several ranks waits for data before it stops by itself; torchrun kills it after 30."""


class WaitStopped(Exception):
    """A stop was requested while the process waited for data."""


class StopRequest:
    """Whether somebody wants the run to end.

    Args:
        num_ranks: Number of processes of the run.

    Attributes:
        signal: that this process got, or None.
        agreed: the signal for which all ranks have agreed to end, the same on each, or None.
    """

    def __init__(self, num_ranks: int = 1) -> None:
        self.signal: signal.Signals | None = None
        self.agreed: signal.Signals | None = None
        self._patience = 0.0 if num_ranks == 1 else _RANK_PATIENCE

    def check_wait(self, seconds: float) -> None:
        """Ends waiting for data if a stop was requested.

        Ranks agree on a stop in a step, which needs data. If none arrives, one of several ranks stops by itself after
        ten seconds.

        Args:
            seconds: How long the process has waited so far.

        Raises:
            WaitStopped: The run has to end; ``agreed`` says why.
        """
        if self.signal is not None and seconds >= self._patience:
            self.agree(self.signal)
            raise WaitStopped

    def agree(self, number: int) -> None:
        """Notes the largest signal of all ranks; 0 for none."""
        if number:
            self.agreed = signal.Signals(number)

    @property
    def exit_code(self) -> int:
        """128 + the agreed signal, as shells say it; 0 without one."""
        return 0 if self.agreed is None else 128 + self.agreed


def until_stopped(items: Iterator[Item]) -> Iterator[Item]:
    """Yields items until a wait for the next one is stopped."""
    with contextlib.suppress(WaitStopped):
        yield from items


@contextlib.contextmanager
def stop_on_signals(num_ranks: int = 1) -> Iterator[StopRequest]:
    """Within it SIGINT, SIGTERM and SIGUSR1 set the request, to be heeded at the next step.

    A later Ctrl-C (SIGINT) ends at once. Other repetitions, and those that follow at once, mean nothing: launchers and
    job schedulers send a signal to several processes of a job, which forward it to each other.

    Args:
        num_ranks: Number of processes of the run.
    """
    request = StopRequest(num_ranks)
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
