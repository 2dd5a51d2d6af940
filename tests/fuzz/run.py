"""Cases in worker processes, each of which may crash or hang."""

from __future__ import annotations

import json
import os
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
SECONDS = 600.0
"""Maximum wall-clock time of a case in seconds; endless computation is stopped sooner by the worker's own timer."""


@dataclass(frozen=True)
class Outcome:
    """A finished case.

    Attributes:
        number: Number of the case.
        faults: How it was neither read nor properly rejected; usually empty.
        seconds: Time that it took, in seconds.
    """

    number: int
    faults: list[str]
    seconds: float


@dataclass(frozen=True)
class Fuzz:
    """Settings of a fuzzing run.

    Attributes:
        seed: Seed of all cases.
        reader: Program of the sanitized reader; None leaves it out.
        seconds: Maximum wall-clock time of a case, in seconds.
        module: Module of the worker.
    """

    seed: int
    reader: Path | None = None
    seconds: float = SECONDS
    module: str = "fuzz.worker"


def run(fuzz: Fuzz, numbers: Sequence[int], num_workers: int) -> Iterator[Outcome]:
    """Run all cases in several processes and yield the outcomes in the order in which they finish."""
    done: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    for worker in range(num_workers):
        threading.Thread(target=_run_share, args=(fuzz, list(numbers[worker::num_workers]), done), daemon=True).start()
    for _ in numbers:
        yield done.get()


def _run_share(fuzz: Fuzz, remaining: list[int], done: queue.SimpleQueue[Outcome]) -> None:
    """Run one process after another; each continues after the case that the previous one did not survive."""
    while remaining:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, tempfile.TemporaryFile() as errors:
            begin, end = time.monotonic(), ""
            with _start(fuzz, remaining, folder, errors) as process:
                for line in _lines(process, fuzz.seconds):
                    if line is None:
                        end = f"hangs: takes more than {fuzz.seconds:g} s"
                        process.kill()
                    elif "faults" in line:
                        remaining.remove(line["number"])
                        done.put(Outcome(**line))
                    else:
                        begin = time.monotonic()
            if remaining:
                errors.seek(0)
                if process.returncode == -signal.SIGPROF:
                    end = "hangs: computes without end"
                end = end or f"crashes: the process exits with {process.returncode}"
                fault = f"{end}: {errors.read()[-2000:].decode(errors='replace')}"
                done.put(Outcome(remaining.pop(0), [fault], time.monotonic() - begin))


def _start(fuzz: Fuzz, numbers: Sequence[int], folder: str, errors: Any) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    arguments = [str(fuzz.seed), str(fuzz.reader or ""), folder, *map(str, numbers)]
    return subprocess.Popen(
        [sys.executable, "-m", fuzz.module, *arguments],
        stdout=subprocess.PIPE,
        stderr=errors,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )


def _lines(process: subprocess.Popen[bytes], seconds: float) -> Iterator[dict[str, Any] | None]:
    """Yield the lines of a worker; yield None if it prints nothing for too long."""
    assert process.stdout is not None
    text, patience = b"", SECONDS  # Python and torch start slowly
    while True:
        if not select.select([process.stdout], [], [], patience)[0]:
            yield None
            return
        part = os.read(process.stdout.fileno(), 1 << 16)
        if not part:
            return
        *lines, text = (text + part).split(b"\n")
        yield from map(json.loads, lines)
        patience = seconds
