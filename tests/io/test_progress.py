"""Progress bars on standard error."""

from __future__ import annotations

import contextlib

import pytest

from seamseg.io.progress import progress_bar, split_progress


def test_progress_bar_shows_title_count_and_remark(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("testing", 10, done=3) as advance:
        advance(5, "first")
        advance(10, "loss 0.5")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "testing" in captured.err
    assert "10/10" in captured.err
    assert "loss 0.5" in captured.err


def test_progress_bar_shows_markup_literally(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("packing [/a].zip", 1) as advance:
        advance(1, "street[/b]:car:.jpg")
    output = " ".join(capsys.readouterr().err.split())
    assert "packing [/a].zip" in output
    assert "street[/b]:car:.jpg" in output


def test_hidden_progress_bar_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("testing", 10, shown=False) as advance:
        advance(5, "half")
    assert capsys.readouterr() == ("", "")


def test_progress_bar_stops_at_the_count_of_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(ZeroDivisionError), progress_bar("testing", 10) as advance:
        advance(2, "")
        raise ZeroDivisionError
    assert "2/10" in capsys.readouterr().err


def test_split_progress_shows_one_bar_per_part(capsys: pytest.CaptureFixture[str]) -> None:
    with split_progress("checking") as advance:
        for part, total in (("train", 3), ("val", 2)):
            for done in range(1, total + 1):
                advance(part, done, total)
    lines = capsys.readouterr().err.splitlines()
    assert ["3/3" in line for line in lines if "checking train" in line][-1:] == [True]
    assert ["2/2" in line for line in lines if "checking val" in line][-1:] == [True]
