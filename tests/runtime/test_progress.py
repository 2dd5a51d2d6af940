"""Bars on standard error."""

from __future__ import annotations

import contextlib

import pytest

from seamseg.runtime.progress import progress_bar


def test_a_bar_shows_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("testing", 10, done=3) as advance:
        advance(5, "first")
        advance(10, "loss 0.5")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "testing" in captured.err
    assert "10/10" in captured.err
    assert "loss 0.5" in captured.err


def test_a_bar_that_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("testing", 10, shown=False) as advance:
        advance(5, "half")
    assert capsys.readouterr() == ("", "")


def test_the_bar_ends_with_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(ZeroDivisionError), progress_bar("testing", 10) as advance:
        advance(2, "")
        raise ZeroDivisionError
    assert "2/10" in capsys.readouterr().err
