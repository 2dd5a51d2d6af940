"""`seamseg train` in its own process: signals, and data workers that die or hang."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command_processes import Command
from support.tiny_experiment import write_tiny_config

from seamseg.runtime.checkpoint import load_checkpoint, newest_checkpoint
from seamseg.runtime.log import read_metrics


def wait_for_a_step(run: Path, process: Command) -> None:
    end = time.monotonic() + 120
    while not (run.is_dir() and read_metrics(run)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)


def start_training(data: Path, folder: Path, *more: str) -> tuple[Command, Path]:
    """Start a long training run in its own session; return the process and the run folder."""
    overrides = ["training.epochs=300", "training.validate_every=0", "data.num_workers=1", *more]
    config, run = write_tiny_config(folder / "long.yaml", data, *overrides), folder / "run"
    return Command("train", config, "--run-dir", run, "--device", "cpu", folder=folder, new_session=True), run


@pytest.mark.slow
def test_train_signal_to_the_process_group_saves_a_checkpoint(data: Path, tmp_path: Path) -> None:
    """Data workers get the signal, too, as `timeout` and job schedulers send it."""
    process, run = start_training(data, tmp_path)
    try:
        wait_for_a_step(run, process)
        os.killpg(process.pid, signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143
    assert "Traceback" not in err
    position = load_checkpoint(newest_checkpoint(run)[0]).position
    assert position.iteration >= 1
    assert f"stopped and saved at iteration {position.iteration}; pass --resume to continue" in err


def children(process: int) -> list[int]:
    return [
        int(child)
        for thread in Path(f"/proc/{process}/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]


@pytest.mark.slow
def test_train_killed_data_worker_is_reported_in_one_sentence(data: Path, tmp_path: Path) -> None:
    process, run = start_training(data, tmp_path)
    try:
        wait_for_a_step(run, process)
        for child in children(process.pid):
            os.kill(child, signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 2
    assert "Traceback" not in err
    assert "seamseg: a worker process that reads images was killed (DataLoader worker" in err


@pytest.fixture
def stalling(data: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copy the data set and replace the last image of a split by a pipe, so that reading it blocks."""

    def copy(split: str) -> Path:
        folder = tmp_path / "data"
        shutil.copytree(data, folder)
        image = sorted((folder / "images" / split).iterdir())[-1]
        image.unlink()
        os.mkfifo(image)
        return folder

    return copy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "split", "code"),
    [(signal.SIGTERM, "train", 143), (signal.SIGINT, "train", 130), (signal.SIGTERM, "val", 143)],
)
def test_train_signal_while_waiting_for_data_saves_a_checkpoint(
    stalling: Callable[[str], Path], tmp_path: Path, number: signal.Signals, split: str, code: int
) -> None:
    """A signal also stops a validation, which the resumed run repeats."""
    process, run = start_training(stalling(split), tmp_path, "training.validate_every=1", "data.train_batch_size=1")
    try:
        wait_for_a_step(run, process)
        time.sleep(3)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, err
    assert "Traceback" not in err
    position = load_checkpoint(newest_checkpoint(run)[0]).position
    assert position.epoch == 0
    assert (position.iteration < 4) == (split == "train")
    assert f"stopped and saved at iteration {position.iteration}; pass --resume to continue" in err


@pytest.mark.slow
def test_train_hanging_data_worker_ends_the_run(stalling: Callable[[str], Path], tmp_path: Path) -> None:
    process, _ = start_training(stalling("train"), tmp_path, "data.worker_timeout=2")
    try:
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 2, err
    assert "Traceback" not in err
    for fact in ("2 seconds", "--shm-size", "data.num_workers"):
        assert fact in err.splitlines()[-1]
