"""python -m fuzz (`make fuzz`): damaged files for everything that reads a data set

Read damaged images, segment PNGs and JSON files the way training, evaluation, scoring, conversion and `seamseg check`
do. Each file must either be read or be rejected in one sentence that names a file. Crashes, hangs and all other errors
are failures, and so are invalid memory accesses of the native reader of segment PNGs. Files that fail are kept.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from fuzz.cases import make_case
from fuzz.run import Fuzz, Outcome, run
from fuzz.sanitized import build_reader
from fuzz.sets import write_sets
from seamseg.io.progress import progress_bar
from seamseg.io.workers import available_cores

CASES = 2000
KEPT = Path("runs/fuzz")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--cases", type=_at_least_one, default=CASES, help=f"number of cases (default: {CASES})")
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first case; --first N --cases 1 repeats case N"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed of the cases (default: 0)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        reader = build_reader(Path(folder))
        if reader is None:
            print("no g++ with sanitizers: invalid accesses of the native reader are only detected if they crash")
        numbers = range(options.first, options.first + options.cases)
        outcomes: list[Outcome] = []
        with progress_bar("fuzz", options.cases) as advance:
            for outcome in run(Fuzz(options.seed, reader), numbers, available_cores()):
                outcomes.append(outcome)
                advance(len(outcomes), f"case {outcome.number}")
                if outcome.faults:
                    report(outcome, options.seed)
    failed = sum(bool(outcome.faults) for outcome in outcomes)
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    print(f"{options.cases} cases of seed {options.seed}: {failed} failed", end="; ")
    print(f"the slowest case, {slowest.number}, took {slowest.seconds:.1f} s")
    return 1 if failed else 0


def _at_least_one(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def report(outcome: Outcome, seed: int) -> None:
    """Keep the file of a failed case and print what went wrong."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        case = make_case(seed, outcome.number, write_sets(Path(folder) / "sets"))
    KEPT.mkdir(parents=True, exist_ok=True)
    path = KEPT / f"{seed}-{case.number}-{case.name}"
    path.write_bytes(case.data)
    for fault in outcome.faults:
        print(f"case {case.number} ({case.kind}, {path}) {fault}\n", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
