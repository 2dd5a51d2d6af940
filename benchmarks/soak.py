"""Long runs in which many ranks have no objects: python -m benchmarks.soak  (`make soak`).

Two, three and four processes train a small network for a thousand steps, half of them with each value of norm.sync. The
images of all, no or some ranks have no objects (only stuff, a crowd, or void), and sizes differ. Nothing may hang,
crash or grow, and all ranks must end with the same bits. Then a training run is killed at random moments, and must end
like an undisturbed run.
"""

from __future__ import annotations

import queue
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import machine
from benchmarks.command import benchmark_parser, publish
from benchmarks.soak_kills import kill_rows
from benchmarks.soak_rank import MAX_GROUPS, SECONDS, Report, Soak, train
from benchmarks.table import Row
from seamseg.io.progress import Advance, progress_bar

STEPS, QUICK_STEPS = 500, 10
"""Steps with each value of `norm.sync`."""
SYNCS = ("active", "masked")
NUM_RANKS = (2, 3, 4)


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = benchmark_parser("soak", __doc__, f"{QUICK_STEPS} steps of two ranks, no kills")
    options = parser.parse_args(arguments)
    steps = QUICK_STEPS if options.quick else STEPS
    runs = [(num_ranks, sync) for num_ranks in (NUM_RANKS[:1] if options.quick else NUM_RANKS) for sync in SYNCS]
    rows: list[Row] = []
    with progress_bar("soak", steps * len(runs)) as advance:
        for number, (num_ranks, sync) in enumerate(runs):
            rows += soak_rows(num_ranks, sync, steps, _from(number * steps, advance, f"{num_ranks} ranks, {sync}"))
    if not options.quick:
        rows += kill_rows()
    publish("soak", options, 1, ["torch", "seamseg"], rows)


def soak_rows(num_ranks: int, sync: str, steps: int, advance: Advance) -> list[Row]:
    """Run one soak and return the rows with its limits."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        outcome = run(Soak(num_ranks, sync, steps, Path(folder)), advance)
    slug, words = f"{num_ranks}-{sync}", f"{num_ranks} ranks, {sync}"
    missing = f"unfinished steps, {words}; all steps" + (f" ({outcome.failure})" if outcome.failure else "")
    rows = [Row(f"unfinished-{slug}", missing, steps - outcome.steps, steps, "steps", must=0)]
    if not outcome.reports:
        return rows
    reports, words = outcome.reports, f"of a rank, {words}"
    most_groups = max(report.most_groups for report in reports)
    most, before = max((report.growth() for report in reports), key=lambda pair: pair[0] / pair[1])
    together, alone = reports[0].empty[1], max(report.empty[0] for report in reports)
    return [
        *rows,
        Row(
            f"unequal-{slug}",
            f"tensors {words}, that differ from another rank's; all tensors",
            *_unequal(reports),
            "tensors",
            must=0,
        ),
        Row(f"groups-{slug}", f"most process groups {words}; the maximum", most_groups, MAX_GROUPS, "groups", must=1),
        Row(f"memory-{slug}", f"peak memory {words}, after the warm-up; during it", most, before, "MB", must=1.1),
        Row(f"empty-{slug}", f"steps {words}, without objects on any rank; on this rank", together, alone, "steps"),
        Row(f"step-{slug}", f"median time of a step {words}; no peer", outcome.milliseconds, None, "ms"),
    ]


def _unequal(reports: list[Report]) -> tuple[int, int]:
    """Return the number of tensors whose bits differ between ranks, and of all tensors."""
    first, *others = (report.digests for report in reports)
    return sum(any(other[name] != digest for other in others) for name, digest in first.items()), len(first)


@dataclass
class Outcome:
    """Result of a run.

    Attributes:
        steps: Number of steps that all ranks finished.
        failure: Description of the failure, or an empty string.
        reports: Report of each rank; empty if one failed.
        milliseconds: Median time of a step.
    """

    steps: int = 0
    failure: str = ""
    reports: list[Report] = field(default_factory=list)
    milliseconds: float = 0.0


def run(soak: Soak, advance: Advance) -> Outcome:
    """Run one soak in new processes, which are always ended."""
    context: Any = machine.forking_context(__name__)
    messages: Any = context.Queue()
    ranks = [context.Process(target=_rank, args=(soak, rank, messages)) for rank in range(soak.num_ranks)]
    for process in ranks:
        process.start()
    try:
        return _follow(soak, ranks, messages, advance)
    finally:
        for process in ranks:
            process.kill()
            process.join()


def _rank(soak: Soak, rank: int, messages: Any) -> None:
    try:
        messages.put((rank, train(soak, rank, lambda step: messages.put((rank, step)))))
    except Exception as error:
        messages.put((rank, f"rank {rank}: {type(error).__name__}: {str(error).splitlines()[0]}"))
        raise


def _follow(soak: Soak, ranks: Sequence[BaseProcess], messages: Any, advance: Advance) -> Outcome:
    outcome, reports, done = Outcome(), dict[int, Report](), [0] * soak.num_ranks
    times: list[float] = []
    last = time.perf_counter()
    for rank, message in _messages(ranks, messages):
        if isinstance(message, str):
            outcome.failure = message
            break
        if isinstance(message, Report):
            reports[rank] = message
        else:
            done[rank] = message
        if min(done) > outcome.steps:
            outcome.steps, now = min(done), time.perf_counter()
            times.append(1000 * (now - last))
            last = now
            advance(outcome.steps, "")
        if len(reports) == soak.num_ranks:
            outcome.reports = [reports[one] for one in range(soak.num_ranks)]
            break
    outcome.milliseconds = median(times[1:] or [0.0])
    return outcome


def _messages(ranks: Sequence[BaseProcess], messages: Any) -> Iterator[tuple[int, Any]]:
    """Yield the messages of the ranks, and a failure if all are silent for too long or one has ended."""
    silent_since = time.monotonic()
    while True:
        try:
            yield messages.get(timeout=1)
            silent_since = time.monotonic()
        except queue.Empty:
            died = [rank for rank, process in enumerate(ranks) if process.exitcode not in (None, 0)]
            if died:
                yield died[0], f"rank {died[0]} ended with code {ranks[died[0]].exitcode}"
            if time.monotonic() - silent_since > 2 * SECONDS:
                yield 0, f"a hang: nothing happened for {2 * SECONDS} s"


def _from(before: int, advance: Advance, remark: str) -> Advance:
    """Return a progress function that continues from ``before``."""
    return lambda done, _: advance(before + done, remark)


if __name__ == "__main__":
    main()
