"""Scoring and fusion against their peers: python -m benchmarks.score  (`make bench-score`).

Panoptic quality of files against panopticapi and hotcoco, and of maps in memory against torchmetrics; average precision
by hotcoco against pycocotools; panoptic fusion and the semantic arg-max against computing full-size maps. Files are
scored on all cores; everything else uses as many threads.
"""

from __future__ import annotations

import os

import torch

from benchmarks import machine
from benchmarks.command import benchmark_parser, publish
from benchmarks.score_files import Work, file_rows
from benchmarks.score_fusion import fusion_rows
from benchmarks.score_precision import precision_rows
from benchmarks.score_update import update_row
from benchmarks.table import Row

ROUNDS, QUICK_ROUNDS = 21, 2
UPDATE_ROUNDS = 21
PRECISION_ROUNDS = 7
QUICK_WORKS = (Work("64x48", 6, (48, 64), 5),)


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = benchmark_parser("score", __doc__, "two rounds of small files and images")
    options = parser.parse_args(arguments)
    machine.warn_if_busy()
    threads = len(os.sched_getaffinity(0))
    in_process = machine.new_process(options.quick)
    rows = [*in_process(counting_rows, threads, options.quick), *in_process(fused_rows, threads, options.quick)]
    publish(
        "score",
        options,
        threads,
        ["torch", "seamseg", "numpy", "panopticapi-lite", "hotcoco", "torchmetrics", "pycocotools"],
        rows,
    )


def counting_rows(threads: int, quick: bool) -> list[Row]:
    """Measure all rows of scores."""
    torch.set_num_threads(threads)
    if quick:
        rows = [*file_rows(QUICK_ROUNDS, QUICK_ROUNDS, QUICK_WORKS), update_row(QUICK_ROUNDS, (48, 64), 15)]
        return [*rows, *precision_rows(QUICK_ROUNDS, 5, 5)]
    return [*file_rows(ROUNDS), update_row(UPDATE_ROUNDS), *precision_rows(PRECISION_ROUNDS)]


def fused_rows(threads: int, quick: bool) -> list[Row]:
    """Measure all rows of fusion."""
    torch.set_num_threads(threads)
    return fusion_rows(QUICK_ROUNDS if quick else ROUNDS, quick)


if __name__ == "__main__":
    main()
