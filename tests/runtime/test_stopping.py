"""Signals request a stop; a second Ctrl-C ends the process immediately."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest

from seamseg.runtime import stopping
from seamseg.runtime.stopping import SIGNALS, StopRequest, WaitStopped, stop_on_signals, until_stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signal_sets_the_stop_request(number: signal.Signals) -> None:
    with stop_on_signals() as stop:
        assert stop.signal is None
        os.kill(os.getpid(), number)
        assert stop.signal is number
        assert stop.agreed is None


def test_agree_records_the_signal_and_exit_code() -> None:
    stop = StopRequest()
    assert (stop.agreed, stop.exit_code) == (None, 0)
    stop.agree(0)
    assert (stop.agreed, stop.exit_code) == (None, 0)
    stop.agree(15)
    assert (stop.agreed, stop.exit_code) == (signal.SIGTERM, 143)
    stop.agree(0)
    assert stop.exit_code == 143


def test_check_wait_stops_after_a_stop_request() -> None:
    for num_ranks, patience in ((1, 0.0), (2, 10.0)):
        stop = StopRequest(num_ranks)
        stop.check_wait(1000.0)
        stop.signal = signal.SIGTERM
        if patience:
            stop.check_wait(patience - 0.1)  # the other ranks may still be in the step
        assert stop.agreed is None
        with pytest.raises(WaitStopped):
            stop.check_wait(patience)
        assert stop.exit_code == 143


def test_until_stopped_ends_when_waiting_is_stopped() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise WaitStopped

    assert list(until_stopped(items())) == [1]


def test_second_interrupt_raises_keyboard_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_REPEAT_SECONDS", 0.0)
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal is signal.SIGTERM


def test_repeated_signals_count_as_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with stop_on_signals() as stop:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        monkeypatch.setattr(stopping, "_REPEAT_SECONDS", 0.0)
        for number in (signal.SIGTERM, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        assert stop.signal is signal.SIGINT


def test_signal_handlers_are_restored_afterward() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with contextlib.suppress(ZeroDivisionError), stop_on_signals():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in SIGNALS] == before
