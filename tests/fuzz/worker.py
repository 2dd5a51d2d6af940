"""Run some cases in a separate process: python -m fuzz.worker SEED READER FOLDER NUMBER…

Print one line of JSON when a case begins and one with its faults when it ends. `run` reads these lines, so it knows
the current case when the process crashes or hangs. READER is the sanitized reader, or empty.
"""

from __future__ import annotations

import faulthandler
import json
import resource
import signal
import sys
import time
from pathlib import Path

import cv2
import torch

from fuzz.cases import make_case
from fuzz.readers import faults_of
from fuzz.sanitized import SanitizedReader
from fuzz.sets import write_sets

MOST_BYTES = 12 << 30
"""Limit on the address space, so that only a file whose reader takes all memory fails."""
CPU_SECONDS = 30
"""Limit on the CPU time of a case; wall-clock time would include other processes of a busy machine."""


def main(arguments: list[str]) -> None:
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, resource.RLIM_INFINITY))
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    seed, program, folder, *numbers = arguments
    sanitized = SanitizedReader(Path(program)) if program else None
    sets = write_sets(Path(folder))
    for number in map(int, numbers):
        print_json(number=number)
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)  # SIGPROF ends the process because it has no handler
        case, begin = make_case(int(seed), number, sets), time.monotonic()
        print_json(number=number, faults=faults_of(case, sets, sanitized), seconds=time.monotonic() - begin)
    if sanitized is not None:
        sanitized.close()


def print_json(**values: object) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
