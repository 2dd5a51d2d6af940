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
"""Most that a case may take on the clock; what computes without end is stopped sooner, by the worker's own timer."""


@dataclass(frozen=True)
class Outcome:
    """A case that is done.

    Attributes:
        number: of the case.
        faults: how it was neither read nor refused properly; none, most of the time.
        seconds: that it took.
    """

    number: int
    faults: list[str]
    seconds: float


@dataclass(frozen=True)
class Fuzz:
    """What to run.

    Attributes:
        seed: of all cases.
        reader: the sanitized reader; None leaves it out.
        seconds: most that a case may take on the clock.
        module: of the worker.
    """

    seed: int
    reader: Path | None = None
    seconds: float = SECONDS
    module: str = "fuzz.worker"


def run(fuzz: Fuzz, numbers: Sequence[int], num_workers: int) -> Iterator[Outcome]:
    """Does all cases, in several processes; in the order in which they are done."""
    done: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    for worker in range(num_workers):
        threading.Thread(target=_share, args=(fuzz, list(numbers[worker::num_workers]), done), daemon=True).start()
    for _ in numbers:
        yield done.get()


def _share(fuzz: Fuzz, left: list[int], done: queue.SimpleQueue[Outcome]) -> None:
    """One process after the other; each goes on behind the case that the one before did not survive."""
    while left:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, tempfile.TemporaryFile() as said:
            begin, end = time.monotonic(), ""
            with _start(fuzz, left, folder, said) as process:
                for line in _lines(process, fuzz.seconds):
                    if line is None:
                        end = f"hangs: it takes more than {fuzz.seconds:g} s"
                        process.kill()
                    elif "faults" in line:
                        left.remove(line["number"])
                        done.put(Outcome(**line))
                    else:
                        begin = time.monotonic()
            if left:
                said.seek(0)
                if process.returncode == -signal.SIGPROF:
                    end = "hangs: it computes and computes"
                end = end or f"crashes, the process ends with {process.returncode}"
                fault = f"{end}: {said.read()[-2000:].decode(errors='replace')}"
                done.put(Outcome(left.pop(0), [fault], time.monotonic() - begin))


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
    """What a worker says; None where it says nothing for too long."""
    assert process.stdout is not None
    text, patience = b"", SECONDS  # for the start of Python and torch
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
