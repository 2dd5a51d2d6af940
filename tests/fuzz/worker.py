"""Some cases in a process of its own: python -m fuzz.worker SEED READER FOLDER NUMBER…

Says on its standard output, line by line in JSON, which case begins and what is wrong with it. `run` reads that, and
knows which case it was when the process crashes or hangs. READER is the sanitized reader, or nothing.
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
"""Of address space: a file that makes its reader take all memory fails, and nobody else does."""
CPU_SECONDS = 30
"""Of computing, that a case may take at most; a clock would count what a busy machine does for others."""


def main(arguments: list[str]) -> None:
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, resource.RLIM_INFINITY))
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    seed, program, folder, *numbers = arguments
    sanitized = SanitizedReader(Path(program)) if program else None
    sets = write_sets(Path(folder))
    for number in map(int, numbers):
        say(number=number)
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)  # nobody listens: SIGPROF ends the process
        case, begin = make_case(int(seed), number, sets), time.monotonic()
        say(number=number, faults=faults_of(case, sets, sanitized), seconds=time.monotonic() - begin)
    if sanitized is not None:
        sanitized.close()


def say(**values: object) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
