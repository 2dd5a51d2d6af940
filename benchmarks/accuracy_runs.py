"""Trainings that are compared after the same CPU time: commands, their CPU time, and results that are kept."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import machine
from seamseg.io.files import write_text

ROOT = Path(__file__).resolve().parents[1]
SEAMSEG = (sys.executable, "-m", "seamseg")


def execute(command: Sequence[object], run: Path, threads: int = 1) -> float:
    """Run a command with its output in a log beside the run folder; exit with a sentence if it fails.

    Args:
        command: Words of the command.
        run: Run folder; the log is ``NAME.log`` beside it.
        threads: Number of threads of the command.

    Returns:
        CPU time in seconds, over all threads.
    """
    log = run.with_name(f"{run.name}.log")
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))  # the benchmarks are not installed
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": paths}
    with log.open("a") as file:
        process = subprocess.Popen([str(word) for word in command], env=environment, stdout=file, stderr=file)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()  # a later call may train into the same folder
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{run.name} failed, see {log}")
    return usage.ru_utime + usage.ru_stime


def execute_forked(command: Sequence[object], run: Path, threads: int = 1) -> float:
    """Run ``python -m MODULE …`` like :func:`execute`, but without importing everything again, and with its output.

    Args:
        command: Words of the command.
        run: Run folder.
        threads: Number of threads of the command.

    Returns:
        CPU time in seconds, over all threads.
    """
    _, _, module, *arguments = (str(word) for word in command)
    return machine.in_forked_process(run_module, module, arguments, threads)


def run_module(module: str, arguments: Sequence[str], threads: int) -> float:
    """Run a module as a program in this process, which must be new, and return its CPU seconds."""
    torch.set_num_threads(threads)
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"python -m {module} ended with {ended.code}") from None
    return time.process_time()


def once(file: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the content of a JSON file; if it is missing, measure it first."""
    if not file.exists():
        write_text(file, json.dumps(measure()))
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@dataclass(frozen=True)
class Pace:
    """CPU time of a training, a linear function of its epochs.

    Attributes:
        epoch: CPU time of an epoch in seconds.
        start: CPU time of everything else in seconds.
    """

    epoch: float
    start: float

    def epochs(self, budget: float) -> float:
        """Return the number of epochs that fit into a budget of CPU seconds."""
        return (budget - self.start) / self.epoch


def measure_pace(file: Path, train: Callable[[int], float], lengths: Mapping[int, float]) -> Pace:
    """Measure how long an epoch takes by two trainings, once, and keep it in a file.

    Args:
        file: JSON file of the result.
        train: Function that trains and returns the CPU seconds.
        lengths: Number of epochs by argument of ``train``, for the shorter and for the longer training.
    """

    def measure() -> dict[str, float]:
        short, long = (train(argument) for argument in lengths)
        fewer, more = lengths.values()
        epoch = (long - short) / (more - fewer)
        return asdict(Pace(epoch, short - fewer * epoch))

    return Pace(**once(file, measure))
