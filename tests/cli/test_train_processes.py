"""`seamseg train` as a process of its own: signals to it, and the end of those that read for it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command_processes import COMMAND, environment
from tiny_experiment import write_tiny_config

from seamseg.runtime.checkpoint import load_checkpoint
from seamseg.runtime.log import read_metrics
from seamseg.runtime.run_folder import newest_checkpoint


def wait_for_a_step(run: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not (run.is_dir() and read_metrics(run)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)


def start_training(data: Path, folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that trains for long, in a session of its own, and its run folder."""
    overrides = ["training.epochs=300", "training.validate_every=0", "data.num_workers=1"]
    config, run = write_tiny_config(folder / "long.yaml", data, *overrides), folder / "run"
    process = subprocess.Popen(
        [*COMMAND, "train", str(config), "--run-dir", str(run), "--device", "cpu"],
        env=environment(),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    return process, run


@pytest.mark.slow
def test_a_signal_to_the_whole_process_group_saves_too(data: Path, tmp_path: Path) -> None:
    """As `timeout` and job schedulers send it: the processes that read images get it as well."""
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
    assert f"stopped and saved at iteration {position.iteration}; --resume goes on" in err


def children(process: int) -> list[int]:
    return [
        int(child)
        for thread in Path(f"/proc/{process}/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]


@pytest.mark.slow
def test_a_killed_reader_of_images_gives_one_sentence(data: Path, tmp_path: Path) -> None:
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
    assert "seamseg: a process that reads images was killed (DataLoader worker" in err
