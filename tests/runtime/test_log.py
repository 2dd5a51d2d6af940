"""The log of a run, including interrupted runs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.full_disk import file_size_limit
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seamseg.runtime.log import METRICS_FILE, TENSORBOARD_FOLDER, RunLog, read_metrics


def board(folder: Path) -> Any:
    events = EventAccumulator(str(folder / TENSORBOARD_FOLDER))  # type: ignore[no-untyped-call]
    return events.Reload()  # type: ignore[no-untyped-call]


def log_steps(folder: Path, first: int, last: int, start: int = 0) -> None:
    log = RunLog(folder, start)
    for iteration in range(first, last + 1):
        log.scalars("train", iteration, {"loss": 1 / iteration})
    log.close()


def iterations(folder: Path) -> list[int]:
    return [entry["iteration"] for entry in read_metrics(folder)]


def test_run_log_writes_one_json_line_per_event(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "new" / "run")
    log.scalars("train", 20, {"total": 0.5, "lr": 0.01})
    log.scalars("validation", 20, {"pq": 0.25})
    lines = (tmp_path / "new" / "run" / METRICS_FILE).read_text().splitlines()  # before the log is closed
    log.close()
    assert [json.loads(line) for line in lines] == [
        {"kind": "train", "iteration": 20, "total": 0.5, "lr": 0.01},
        {"kind": "validation", "iteration": 20, "pq": 0.25},
    ]
    assert read_metrics(tmp_path / "new" / "run") == [json.loads(line) for line in lines]


def test_run_log_writes_nan_and_infinity_as_null(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.scalars("train", 1, {"a": math.nan, "b": math.inf, "c": 1.0})
    log.close()
    assert "NaN" not in (tmp_path / METRICS_FILE).read_text()
    assert read_metrics(tmp_path) == [{"kind": "train", "iteration": 1, "a": None, "b": None, "c": 1.0}]


def test_run_log_writes_scalars_and_pictures_to_tensorboard(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.scalars("train", 3, {"total": 0.5})
    log.picture("validation/7", 3, np.full((4, 6, 3), 200, np.uint8))
    log.close()
    events = board(tmp_path)
    assert [(event.step, event.value) for event in events.Scalars("train/total")] == [(3, 0.5)]
    assert [(event.step, event.height, event.width) for event in events.Images("validation/7")] == [(3, 4, 6)]


def test_resumed_log_drops_entries_after_the_resumed_iteration(tmp_path: Path) -> None:
    log_steps(tmp_path, 1, 6)
    log_steps(tmp_path, 5, 7, start=4)
    assert iterations(tmp_path) == [1, 2, 3, 4, 5, 6, 7]
    assert [event.step for event in board(tmp_path).Scalars("train/loss")] == [1, 2, 3, 4, 5, 6, 7]


def test_resumed_log_keeps_the_entry_of_the_resumed_iteration(tmp_path: Path) -> None:
    log_steps(tmp_path, 1, 3)
    log_steps(tmp_path, 4, 4, start=3)
    assert iterations(tmp_path) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "rest", ['{"kind": "train", "iter', "{", '{"kind": "train", "iteration": 3, "loss": 0.3', "\x00"]
)
def test_read_metrics_skips_a_truncated_last_line(tmp_path: Path, rest: str) -> None:
    log_steps(tmp_path, 1, 2)
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write(rest)
    assert iterations(tmp_path) == [1, 2]
    log_steps(tmp_path, 3, 4, start=2)
    assert iterations(tmp_path) == [1, 2, 3, 4]


def test_read_metrics_without_file_is_empty(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_tensorboard_on_a_full_disk_raises_error_naming_the_folder(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    with pytest.raises(OSError, match=f"{tmp_path / TENSORBOARD_FOLDER} cannot be written"), file_size_limit(10_000):  # noqa: PT012
        log = RunLog(tmp_path)
        log.picture("noise", 1, picture)
        log.close()
