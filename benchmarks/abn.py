"""In-place norm against BatchNorm + activation and inplace-abn: python -m benchmarks.abn  (`make bench-abn`).

Time, memory kept for the backward pass, memory of the backward pass, and whole training steps of a ResNet-50. Times
are measured twice, each in a new process, because the allocator's setting cannot be undone: with freed memory kept
for reuse on both sides, and, in the rows that end in ``-malloc-off``, on neither.
"""

from __future__ import annotations

import sys

import torch

from benchmarks import abn_layers, abn_steps, machine
from benchmarks.command import benchmark_parser, publish
from benchmarks.table import Row
from seamseg.runtime.allocator import SWITCH, keep_freed_memory

THREADS = 2
ROUNDS = 21
QUICK_ROUNDS = 2
QUICK_SHAPES = ((2, 16, 32, 32),)
QUICK_IMAGES = (2, 3, 64, 64)
QUICK_SAVED = abn_steps.SavedShapes(chain=(1, 64, 16, 16), bottlenecks=(1, 256, 8, 8), resnet50=QUICK_IMAGES)
OFF = "-malloc-off"


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = benchmark_parser("abn", __doc__, "two rounds of small inputs, without the compiled network")
    options = parser.parse_args(arguments)
    machine.warn_if_busy()
    in_process = machine.new_process(options.quick)
    rows = in_process(memory_rows, options.quick)
    for keep in (True, False):
        rows += in_process(timed_rows, keep, options.quick)
    rows.sort(key=lambda row: row.slug.endswith(OFF))  # a stable sort: the main rows come first
    publish("abn", options, THREADS, ["torch", "seamseg", "inplace-abn"], rows)


def memory_rows(quick: bool) -> list[Row]:
    """Measure all rows of memory.

    Args:
        quick: Whether to use small inputs.
    """
    torch.set_num_threads(THREADS)
    if quick:
        return [*abn_steps.saved_rows(QUICK_SAVED), abn_layers.peak_row(*QUICK_SHAPES)]
    return [*abn_steps.saved_rows(), abn_layers.peak_row()]


def timed_rows(keep_memory: bool, quick: bool) -> list[Row]:
    """Measure all rows of time, in a process that has not allocated anything yet.

    Args:
        keep_memory: Whether the allocator keeps freed memory.
        quick: Whether to run few rounds of small inputs.
    """
    if keep_memory and not keep_freed_memory():
        sys.exit(f"the allocator cannot be told to keep freed memory: needs Linux with glibc, and {SWITCH} not 0")
    torch.set_num_threads(THREADS)
    suffix, rounds = "" if keep_memory else OFF, QUICK_ROUNDS if quick else ROUNDS
    shapes = QUICK_SHAPES if quick else abn_layers.SHAPES
    images = QUICK_IMAGES if quick else abn_steps.IMAGES
    steps = abn_steps.step_rows(suffix, rounds, images, compiles=not quick)
    return [*abn_layers.time_rows(suffix, rounds, shapes), *steps]


if __name__ == "__main__":
    main()
