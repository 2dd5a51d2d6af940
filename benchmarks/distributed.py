"""Communication of a training run: python -m benchmarks.distributed  (`make bench-distributed`).

Two processes train the published network. The collectives of a step and the bytes of their inputs are counted, against
torch.nn.SyncBatchNorm under DDP with its default settings. Then the time of a step of two processes is measured against
one, and a model computes what the counts would cost on up to 1024 GPUs.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.command import benchmark_parser, publish
from benchmarks.distributed_model import NUM_GPUS, Wires, binding, cost_of
from benchmarks.distributed_rank import PATTERNS, Found, Pattern, Traffic, run_rank
from benchmarks.table import Row
from benchmarks.traffic import Collective, total_bytes

NUM_RANKS = 2
OURS = ("active", "masked")
WORDS = {
    "norms": "of the synchronized norms",
    "exchange": "for the number of regions of each rank",
    "buffers": "of DDP for running statistics",
    "gradients": "of DDP for gradients",
    "agreement": "for agreement on stopping and finite losses",
    "all": "in total",
}


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = benchmark_parser("distributed", __doc__, "two rounds of a narrow network")
    options = parser.parse_args(arguments)
    machine.warn_if_busy()
    found = measure(options.quick)
    rows = [*count_rows(found), *time_rows(found), *model_rows(found, Wires())]
    publish("distributed", options, 1, ["torch", "seamseg"], rows)
    print_model(found, Wires())


def measure(quick: bool) -> Found:
    """Run two new processes, and return the times of the first one and the counts of both."""
    context = machine.forking_context(__name__) if quick else multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(NUM_RANKS, mp_context=context) as pool:
        of_ranks = [pool.submit(run_rank, rank, NUM_RANKS, quick, folder) for rank in range(NUM_RANKS)]
        first, *_ = [one.result() for one in of_ranks]
        return first


def count_rows(found: Found) -> list[Row]:
    """Return rows of collectives and bytes of a step, summed over the ranks; totals and norms have limits."""
    return [
        row
        for pattern in PATTERNS
        for sync in OURS
        for part in ("all", *(one.name for one in fields(Traffic)))
        for row in _part_rows(found, pattern, sync, part)
    ]


def _part_rows(found: Found, pattern: Pattern, sync: str, part: str) -> list[Row]:
    ours, peer = (getattr(found.traffic[pattern, side], part) for side in (sync, "peer"))
    if not ours and not peer:
        return []
    words = f"{WORDS[part]}, {sync}, {sum(pattern)} of {len(pattern)} ranks have objects; SyncBatchNorm"
    slug = f"{part}-{sync}-{sum(pattern)}-of-{len(pattern)}"
    must = 1.0 if part in ("all", "norms") else None
    sent, by_peer = total_bytes(ours) / 1e3, total_bytes(peer) / 1e3
    return [
        Row(f"collectives-{slug}", f"collectives {words}", len(ours), len(peer), "", must),
        Row(f"bytes-{slug}", f"input of collectives {words}", sent, by_peer, "kB", must),
    ]


def time_rows(found: Found) -> list[Row]:
    """Return rows of the overhead of two ranks; every process does the same work with one thread."""
    together, apart, alone = (found.milliseconds[name] for name in ("together", "apart", "alone"))
    return [
        Row("step-beside-one", "step of two ranks; of one process while the other is idle", together, alone, "ms"),
        Row("step-beside-apart", "step of two ranks; of two processes that do not communicate", together, apart, "ms"),
    ]


def model_rows(found: Found, wires: Wires) -> list[Row]:
    """Return rows of a model of communication in rings, against SyncBatchNorm's counts in the same model."""
    rows = []
    for num_gpus in NUM_GPUS:
        ours, peer = (
            cost_of(_of_first(found, side), num_gpus, wires, trees=False).total for side in ("masked", "peer")
        )
        norms, gradients = (
            cost_of(_of_first(found, "masked", part), num_gpus, wires, trees=False) for part in ("norms", "gradients")
        )
        measure = (
            f"communication of a step on {num_gpus} GPUs, a model ({wires}, rings, no overlap), "
            f"bound by {binding(norms, gradients)}; SyncBatchNorm"
        )
        rows.append(Row(f"model-{num_gpus}", measure, ours, peer, "ms"))
    return rows


def print_model(found: Found, wires: Wires) -> None:
    """Print a table of the model: costs of norms and gradients by number of GPUs, and the bottleneck."""
    norms, gradients = (_of_first(found, "masked", part) for part in ("norms", "gradients"))
    console = Console()
    table = Table(title=f"model in ms per step: {wires}")
    for title in ("GPUs", "norms, ring", "norms, tree", "MB sent for them", "gradients, ring", "bottleneck"):
        table.add_column(title, justify="right")
    for num_gpus in NUM_GPUS:
        ring, tree = (cost_of(norms, num_gpus, wires, trees) for trees in (False, True))
        other = cost_of(gradients, num_gpus, wires, trees=False)
        sent = ring.transfer * wires.bandwidth / 1e9
        cells = (f"{ring.total:.1f}", f"{tree.total:.1f}", f"{sent:.1f}", f"{other.total:.1f}", binding(ring, other))
        table.add_row(str(num_gpus), *cells)
    console.print(table)


def _of_first(found: Found, side: str, *parts: str) -> list[Collective]:
    """Return the collectives of the first rank in a step where all have objects: all parts, or the named ones."""
    traffic = found.traffic[PATTERNS[0], side]
    of_parts = [getattr(traffic, part) for part in parts or [one.name for one in fields(Traffic)]]
    return [one for of_ranks in of_parts for one in of_ranks[: len(of_ranks) // NUM_RANKS]]


if __name__ == "__main__":
    main()
