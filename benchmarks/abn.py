"""In-place norm beside BatchNorm + activation and inplace-abn: python -m benchmarks.abn  (`make bench-abn` sets up)

Time, memory kept for the backward pass, memory of the backward pass, and whole training steps of a ResNet-50. What
takes time is measured twice, in processes of their own, because the allocator's setting cannot be taken back: with
freed memory kept for reuse on both sides, and, in the rows ending in ``-malloc-off``, on neither.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from benchmarks import abn_layers, abn_steps, machine
from benchmarks.table import RESULTS, Row, print_rows, write_rows
from seamseg.runtime.allocator import SWITCH, keep_freed_memory

THREADS = 2
ROUNDS = 21
QUICK_ROUNDS = 2
QUICK_SHAPES = ((2, 16, 32, 32),)
QUICK_IMAGES = (2, 3, 64, 64)
OFF = "-malloc-off"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.abn", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--quick", action="store_true", help="two rounds of small inputs, to see that everything runs")
    parser.add_argument("--output", type=Path, help="JSON file (default: benchmarks/results/abn.json, none if quick)")
    options = parser.parse_args(arguments)
    machine.warn_if_busy()
    rows = machine.in_fresh_process(memory_rows)
    for keep in (True, False):
        rows += machine.in_fresh_process(timed_rows, keep, options.quick)
    rows.sort(key=lambda row: row.slug.endswith(OFF))  # stable: the main rows first
    where, versions = machine.describe(THREADS), machine.versions("torch", "seamseg", "inplace-abn")
    print_rows(where, versions, rows)
    output = options.output or (None if options.quick else RESULTS / "abn.json")
    if output is not None:
        write_rows(output, where, versions, rows)
        print(f"written to {output}")


def memory_rows() -> list[Row]:
    torch.set_num_threads(THREADS)
    return [*abn_steps.saved_rows(), abn_layers.peak_row()]


def timed_rows(keep_memory: bool, quick: bool) -> list[Row]:
    """Everything that takes time, in a process that has allocated nothing yet.

    Args:
        keep_memory: whether the allocator keeps freed memory.
        quick: few rounds, small inputs.
    """
    if keep_memory and not keep_freed_memory():
        sys.exit(f"the allocator cannot be told to keep freed memory: needs Linux with glibc, and {SWITCH} not 0")
    torch.set_num_threads(THREADS)
    suffix, rounds = "" if keep_memory else OFF, QUICK_ROUNDS if quick else ROUNDS
    shapes = QUICK_SHAPES if quick else abn_layers.SHAPES
    images = QUICK_IMAGES if quick else abn_steps.IMAGES
    return [*abn_layers.time_rows(suffix, rounds, shapes), *abn_steps.step_rows(suffix, rounds, images)]


if __name__ == "__main__":
    main()
