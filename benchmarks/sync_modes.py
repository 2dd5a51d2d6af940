"""norm.sync=active beside norm.sync=masked: python -m benchmarks.sync_modes

Two and four processes on this machine train a region head of the published width, in steps in which some of them have
no regions. Both modes take turns, step by step, on the same regions. Times depend on the network between the processes;
the numbers of collectives and bytes don't.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from torch import distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import machine
from benchmarks.table import RESULTS, Row, print_rows, write_rows
from seamseg.modules.norm import NormFactory
from seamseg.modules.roi_head import RoIHead

SYNCS: tuple[Literal["active", "masked"], ...] = ("active", "masked")
Pattern = tuple[int, ...]
"""Which ranks have regions."""
PATTERNS: dict[int, list[Pattern]] = {2: [(1, 1), (0, 1)], 4: [(1, 1, 1, 1), (0, 1, 1, 1), (0, 1, 0, 1), (0, 0, 0, 1)]}
"""By the number of ranks."""
NUM_REGIONS = 4
"""Of a rank that has some: few, so that the exchanges are not lost beside the convolutions."""
ROUNDS, QUICK_ROUNDS, WARM_UP = 20, 1, 1


@dataclass
class Traffic:
    """What the ranks send in one step, summed over them, and the time of the slowest rank in milliseconds."""

    collectives: int = 0
    bytes: int = 0
    milliseconds: float = 0.0


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the collectives of this rank and what it puts into them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.collectives = self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            operation = func._schema.name
            self.collectives += 1
            if "broadcast" not in operation or args[2] == dist.get_rank():  # its receivers put nothing in
                tensors = args[1] if "gather" in operation else args[0]
                self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return func(*args, **(kwargs or {}))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sync_modes", description=(__doc__ or "").split("\n\n")[1]
    )
    parser.add_argument("--quick", action="store_true", help="two rounds of a narrow head, to see that everything runs")
    parser.add_argument("--output", type=Path, help="JSON file (default: results/sync_modes.json, none if quick)")
    options = parser.parse_args(arguments)
    machine.warn_if_busy()
    found = {
        pattern: both for patterns in PATTERNS.values() for pattern, both in measure(patterns, options.quick).items()
    }
    rows = [row for pattern, both in found.items() for row in pattern_rows(pattern, both)]
    where, versions = machine.describe(1), machine.versions("torch", "seamseg")
    print_rows(where, versions, rows)
    output = options.output or (None if options.quick else RESULTS / "sync_modes.json")
    if output is not None:
        write_rows(output, where, versions, rows)
        print(f"written to {output}")


def pattern_rows(pattern: Pattern, both: dict[str, Traffic]) -> list[Row]:
    """``active`` (ours) beside ``masked`` (peer)."""
    active, masked = (both[sync] for sync in SYNCS)
    slug, words = f"{sum(pattern)}-of-{len(pattern)}", f"{sum(pattern)} of {len(pattern)} ranks with regions"
    collectives = f"collectives of a step, summed over the ranks, {words}; masked"
    sent = f"what the ranks put into them, {words}; masked"
    return [
        Row(f"collectives-{slug}", collectives, active.collectives, masked.collectives, ""),
        Row(f"bytes-{slug}", sent, active.bytes / 1e3, masked.bytes / 1e3, "kB"),
        Row(f"time-{slug}", f"time of the step, {words}; masked", active.milliseconds, masked.milliseconds, "ms"),
    ]


def measure(patterns: Sequence[Pattern], quick: bool) -> dict[Pattern, dict[str, Traffic]]:
    """Both modes, on the ranks of the patterns."""
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
        raise RuntimeError("a process failed; its message stands above")
    found: dict[Pattern, dict[str, Traffic]] = receiver.recv()
    return found


def run_rank(rank: int, patterns: Sequence[Pattern], quick: bool, folder: str, sender: Connection) -> None:
    """One of the processes; the first sends what all found."""
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=len(patterns[0]))
    gc.disable()
    found = {pattern: both_modes(pattern, quick) for pattern in patterns}
    if rank == 0:
        sender.send(found)
    dist.destroy_process_group()


def both_modes(pattern: Pattern, quick: bool) -> dict[str, Traffic]:
    """The modes in turns."""
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
    """Forward and backward, as training does it."""
    with head.planned_forward(len(regions), len(regions)):
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
    with Counter() as counter:
        step(head, regions)
    total = torch.tensor([counter.collectives, counter.bytes])
    dist.all_reduce(total)
    collectives, sent = total.tolist()
    return Traffic(collectives, sent, milliseconds)


if __name__ == "__main__":
    main()
