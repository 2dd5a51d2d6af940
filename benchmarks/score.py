"""Scoring and fusion beside their peers: python -m benchmarks.score  (`make bench-score` sets up)

Files to panoptic quality against panopticapi and hotcoco, maps in memory against torchmetrics, average precision by
hotcoco against pycocotools, panoptic fusion and the semantic arg-max against the ways that make whole maps. All cores
for files; the rest as many threads.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from benchmarks import machine
from benchmarks.score_files import Work, file_rows
from benchmarks.score_fusion import fusion_rows
from benchmarks.score_precision import precision_rows
from benchmarks.score_update import update_row
from benchmarks.table import RESULTS, Row, print_rows, write_rows

ROUNDS, QUICK_ROUNDS = 21, 2
UPDATE_ROUNDS = 21
PRECISION_ROUNDS = 7
QUICK_WORKS = (Work("64x48", 6, (48, 64), 5),)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.score", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument(
        "--quick", action="store_true", help="two rounds of small files and images, to see that everything runs"
    )
    parser.add_argument("--output", type=Path, help="JSON file (default: benchmarks/results/score.json, none if quick)")
    options = parser.parse_args(arguments)
    machine.warn_if_busy()
    threads = len(os.sched_getaffinity(0))
    rows = machine.in_fresh_process(counting_rows, threads, options.quick)
    rows += machine.in_fresh_process(fused_rows, threads, options.quick)
    where = machine.describe(threads)
    versions = machine.versions(
        "torch", "seamseg", "numpy", "panopticapi-lite", "hotcoco", "torchmetrics", "pycocotools"
    )
    print_rows(where, versions, rows)
    output = options.output or (None if options.quick else RESULTS / "score.json")
    if output is not None:
        write_rows(output, where, versions, rows)
        print(f"written to {output}")


def counting_rows(threads: int, quick: bool) -> list[Row]:
    torch.set_num_threads(threads)
    if quick:
        rows = [*file_rows(QUICK_ROUNDS, QUICK_ROUNDS, QUICK_WORKS), update_row(QUICK_ROUNDS, (48, 64), 15)]
        return [*rows, *precision_rows(QUICK_ROUNDS, 5, 5)]
    return [*file_rows(ROUNDS), update_row(UPDATE_ROUNDS), *precision_rows(PRECISION_ROUNDS)]


def fused_rows(threads: int, quick: bool) -> list[Row]:
    torch.set_num_threads(threads)
    return fusion_rows(QUICK_ROUNDS if quick else ROUNDS, quick)


if __name__ == "__main__":
    main()
