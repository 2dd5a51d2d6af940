"""Commands whose CPU time is measured, and results that are kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from benchmarks.accuracy_runs import Pace, execute, measure_pace, once


def test_execute_returns_cpu_time_and_logs_the_output(tmp_path: Path) -> None:
    work = (
        "import os, time; [pow(3, 10**4) for _ in range(2000)]; time.sleep(0.2); print(os.environ['OMP_NUM_THREADS'])"
    )
    seconds = execute([sys.executable, "-c", work], tmp_path / "run", threads=3)
    assert 0 < seconds < 60
    assert (tmp_path / "run.log").read_text() == "3\n"


def test_execute_exits_with_the_log_of_a_command_that_fails(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"run failed, see .*run\.log"):
        execute([sys.executable, "-c", "raise SystemExit('broken')"], tmp_path / "run")
    assert (tmp_path / "run.log").read_text() == "broken\n"


def test_execute_when_interrupted_ends_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[int] = []

    def interrupted(child: int, options: int) -> None:
        children.append(child)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "wait4", interrupted)
    with pytest.raises(KeyboardInterrupt):
        execute([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "run")
    (child,) = children
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_once_measures_only_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    assert once(file, lambda: {"a": 1}) == {"a": 1}
    assert once(file, lambda: pytest.fail("measured again")) == {"a": 1}


def test_once_when_interrupted_keeps_nothing(tmp_path: Path) -> None:
    def interrupted() -> dict[str, int]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        once(tmp_path / "x.json", interrupted)
    assert once(tmp_path / "x.json", lambda: {"a": 2}) == {"a": 2}


def test_pace_separates_the_start_from_the_epochs(tmp_path: Path) -> None:
    lengths: list[int] = []

    def train(steps: int) -> float:
        lengths.append(steps)
        return 7.0 + 0.5 * steps

    pace = measure_pace(tmp_path / "pace.json", train, {40: 40 / 360, 160: 160 / 360})
    assert (pace.start, pace.epoch) == pytest.approx((7, 180))
    assert pace.epochs(7 + 3.5 * 180) == pytest.approx(3.5)
    assert measure_pace(tmp_path / "pace.json", train, {1: 1, 2: 2}) == Pace(pace.epoch, pace.start)
    assert lengths == [40, 160]
