"""norm.sync=active against norm.sync=masked: python -m benchmarks.sync_modes.

Two and four processes on this machine train an RoI head of the published width, in steps in which some of them have no
regions. Both modes take turns, step by step, on the same regions. Times depend on the network between the processes;
the numbers of collectives and bytes do not.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from statistics import median
from typing import Literal

import torch
from torch import distributed as dist

from benchmarks import machine
from benchmarks.command import benchmark_parser, publish
from benchmarks.table import Row
from benchmarks.traffic import collectives_of, total_bytes
from seamseg.modules.norm import NormFactory
from seamseg.modules.roi_head import RoIHead

SYNCS: tuple[Literal["active", "masked"], ...] = ("active", "masked")
Pattern = tuple[int, ...]
"""Which of the ranks have regions."""
PATTERNS: dict[int, list[Pattern]] = {2: [(1, 1), (0, 1)], 4: [(1, 1, 1, 1), (0, 1, 1, 1), (0, 1, 0, 1), (0, 0, 0, 1)]}
"""Patterns by number of ranks."""
NUM_REGIONS = 4
"""Regions of a rank that has any: few, so that communication is not negligible next to the convolutions."""
ROUNDS, QUICK_ROUNDS, WARM_UP = 20, 1, 1


@dataclass
class Traffic:
    """Collectives and bytes of one step, summed over the ranks, and milliseconds of the slowest rank."""

    collectives: int = 0
    bytes: int = 0
    milliseconds: float = 0.0


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = benchmark_parser("sync_modes", __doc__, "two rounds of a narrow head")
    options = parser.parse_args(arguments)
    machine.warn_if_busy()
    found = {
        pattern: both for patterns in PATTERNS.values() for pattern, both in measure(patterns, options.quick).items()
    }
    rows = [row for pattern, both in found.items() for row in pattern_rows(pattern, both)]
    publish("sync_modes", options, 1, ["torch", "seamseg"], rows)


def pattern_rows(pattern: Pattern, both: dict[str, Traffic]) -> list[Row]:
    """Return rows of ``active`` (ours) against ``masked`` (peer)."""
    active, masked = (both[sync] for sync in SYNCS)
    slug, words = f"{sum(pattern)}-of-{len(pattern)}", f"{sum(pattern)} of {len(pattern)} ranks with regions"
    collectives = f"collectives of a step, summed over the ranks, {words}; masked"
    sent = f"input of these collectives, {words}; masked"
    return [
        Row(f"collectives-{slug}", collectives, active.collectives, masked.collectives, ""),
        Row(f"bytes-{slug}", sent, active.bytes / 1e3, masked.bytes / 1e3, "kB"),
        Row(f"time-{slug}", f"time of the step, {words}; masked", active.milliseconds, masked.milliseconds, "ms"),
    ]


def measure(patterns: Sequence[Pattern], quick: bool) -> dict[Pattern, dict[str, Traffic]]:
    """Measure both modes for patterns of one number of ranks."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="sync-modes-") as folder:
        processes = [
            context.Process(target=run_rank, args=(rank, patterns, quick, folder, sender))
            for rank in range(len(patterns[0]))
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError("a process failed; see its message above")
    found: dict[Pattern, dict[str, Traffic]] = receiver.recv()
    return found


def run_rank(rank: int, patterns: Sequence[Pattern], quick: bool, folder: str, sender: Connection) -> None:
    """Run one of the processes; rank 0 sends the results of all."""
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=len(patterns[0]))
    gc.disable()
    found = {pattern: both_modes(pattern, quick) for pattern in patterns}
    if rank == 0:
        sender.send(found)
    dist.destroy_process_group()


def both_modes(pattern: Pattern, quick: bool) -> dict[str, Traffic]:
    """Measure both modes in turn."""
    widths = (16, 32, 16) if quick else (256, 1024, 256)
    heads = {sync: RoIHead(widths[0], 37, widths[1], widths[2], NormFactory("syncbn", sync=sync)) for sync in SYNCS}
    regions = torch.randn(NUM_REGIONS * pattern[dist.get_rank()], widths[0], 14, 14)
    taken: dict[str, list[float]] = {sync: [] for sync in SYNCS}
    for turn in range(WARM_UP + (QUICK_ROUNDS if quick else ROUNDS)):
        for sync in SYNCS[:: 1 if turn % 2 else -1]:
            milliseconds = _slowest(heads[sync], regions)
            taken[sync] += [milliseconds] if turn >= WARM_UP else []
    return {sync: _count(heads[sync], regions, median(taken[sync])) for sync in SYNCS}


def step(head: RoIHead, regions: torch.Tensor) -> None:
    """Run forward and backward as in training."""
    with head.planned_forward(len(regions), len(regions), 0):
        classes, boxes = head.classify(regions)
        masks = head.masks(regions)
    (classes.sum() + boxes.sum() + masks.sum()).backward()  # type: ignore[no-untyped-call]


def _slowest(head: RoIHead, regions: torch.Tensor) -> float:
    dist.barrier()
    start = time.perf_counter()
    step(head, regions)
    milliseconds = torch.tensor(1000 * (time.perf_counter() - start))
    dist.all_reduce(milliseconds, op=dist.ReduceOp.MAX)
    return float(milliseconds)


def _count(head: RoIHead, regions: torch.Tensor, milliseconds: float) -> Traffic:
    found = collectives_of(lambda: step(head, regions))
    total = torch.tensor([len(found), total_bytes(found)])
    dist.all_reduce(total)
    collectives, sent = total.tolist()
    return Traffic(collectives, sent, milliseconds)


if __name__ == "__main__":
    main()
