"""All benchmarks: python -m benchmarks.all  (`make bench`).

Runs them one after another, each in a new process. With --quick, two at a time and in copies of one process that has
imported everything, because importing would take most of the time.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import cv2

from benchmarks import machine

NAMES = (
    "network",
    "accuracy",
    "export",
    "soak",
    "distributed",
    "predict",
    "abn",
    "memory_forms",
    "score",
    "data",
    "semantic_loss",
)
"""Modules of the benchmarks; those whose quick runs take longest come first."""
AT_A_TIME = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all benchmarks; exit with a sentence if any fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.all", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--quick", action="store_true", help="only check that everything runs, and record nothing")
    quick = parser.parse_args(arguments).quick
    failed = [name for name, code in (_quick_codes() if quick else _codes()) if code]
    if failed:
        sys.exit(f"these benchmarks failed, see their output above: {', '.join(failed)}")


def _codes() -> Iterator[tuple[str, int]]:
    """Run each benchmark and yield its name and exit code."""
    for name in NAMES:
        print(f"\n{name}", flush=True)
        yield name, subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode


def _quick_codes() -> Iterator[tuple[str, int | None]]:
    """Run the quick forms and yield names and exit codes in the order in which they end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([f"benchmarks.{name}" for name in NAMES])

    def run(name: str, log: Path) -> int | None:
        process = context.Process(target=_run_quickly, args=(name, log))
        process.start()
        process.join()
        return process.exitcode

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(AT_A_TIME) as pool:
        logs = {name: Path(folder, name) for name in NAMES}
        for log in logs.values():
            log.touch()
        running = {pool.submit(run, name, log): name for name, log in logs.items()}
        for ended in as_completed(running):
            name = running[ended]
            print(f"\n{name}\n{logs[name].read_text()}", end="", flush=True)
            yield name, ended.result()


def _run_quickly(name: str, log: Path) -> None:
    """Run the quick form of a benchmark with its output in a file."""
    with log.open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    machine.forks = "fork"  # nothing has been computed in this process, and no thread started
    cv2.setNumThreads(1)
    importlib.import_module(f"benchmarks.{name}").main(["--quick"])


if __name__ == "__main__":
    main()
