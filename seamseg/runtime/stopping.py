"""Graceful stop of a run between two steps when the system requests it."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import TypeVar

Item = TypeVar("Item")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Signals of Ctrl-C, of the end of a job, and of the advance warning that job schedulers send."""
_REPEAT_SECONDS = 1.0
"""Interval in seconds within which a repeated Ctrl-C is ignored."""
_RANK_PATIENCE = 10.0
"""Seconds that one of several ranks waits for data before it stops on its own; torchrun kills it after 30."""


class WaitStopped(Exception):
    """A stop was requested while the process waited for data."""


class StopRequest:
    """Request to end the run.

    Args:
        num_ranks: Number of processes of the run.

    Attributes:
        signal: Signal that this process received, or None.
        agreed: Signal for which all ranks have agreed to stop, the same on each rank, or None.
    """

    def __init__(self, num_ranks: int = 1) -> None:
        self.signal: signal.Signals | None = None
        self.agreed: signal.Signals | None = None
        self._patience = 0.0 if num_ranks == 1 else _RANK_PATIENCE

    def check_wait(self, seconds: float) -> None:
        """Stop waiting for data if a stop was requested.

        Ranks agree on a stop during a step, which needs data. If none arrives, one of several ranks stops on its own
        after ten seconds.

        Args:
            seconds: Time that the process has waited so far, in seconds.

        Raises:
            WaitStopped: The run must end; ``agreed`` is the signal.
        """
        if self.signal is not None and seconds >= self._patience:
            self.agree(self.signal)
            raise WaitStopped

    def agree(self, number: int) -> None:
        """Record the largest signal of all ranks; 0 means none."""
        if number:
            self.agreed = signal.Signals(number)

    @property
    def exit_code(self) -> int:
        """Exit code as in shells: 128 + the agreed signal, or 0 without one."""
        return 0 if self.agreed is None else 128 + self.agreed


def until_stopped(items: Iterator[Item]) -> Iterator[Item]:
    """Yield items until waiting for the next one is stopped."""
    with contextlib.suppress(WaitStopped):
        yield from items


@contextlib.contextmanager
def stop_on_signals(num_ranks: int = 1) -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM and SIGUSR1 into a stop request that is honored at the next step.

    A later Ctrl-C (SIGINT) ends the process immediately. Other repeated signals, and those that follow within a second,
    are ignored: launchers and job schedulers send a signal to several processes of a job, which forward it to each
    other.

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
        elif number == signal.SIGINT and time.monotonic() - first > _REPEAT_SECONDS:
            raise KeyboardInterrupt

    for kind in previous:
        signal.signal(kind, note)
    try:
        yield request
    finally:
        for kind, handler in previous.items():
            signal.signal(kind, handler)
