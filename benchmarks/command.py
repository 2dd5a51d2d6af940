"""Command line shared by all benchmarks: its options, and what becomes of the rows."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine
from benchmarks.table import RESULTS, Row, print_rows, read_rows, write_rows


def benchmark_parser(name: str, doc: str | None, quick: str) -> argparse.ArgumentParser:
    """Return a parser with the options ``--quick`` and ``--output``.

    Args:
        name: Name of the benchmark, and of its module and JSON file.
        doc: Docstring of the module; its second paragraph becomes the description.
        quick: What a quick run does, for the help.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=(doc or "").split("\n\n")[1])
    parser.add_argument("--quick", action="store_true", help=f"only check that everything runs: {quick}")
    parser.add_argument(
        "--output", type=Path, help=f"JSON file (default: benchmarks/results/{name}.json; none with --quick)"
    )
    return parser


def recorded_rows(name: str, options: argparse.Namespace, threads: int, packages: Sequence[str]) -> list[Row]:
    """Return the rows of the file that a run would write, or exit with a sentence if they cannot stay beside new ones.

    Args:
        name: Name of the benchmark.
        options: Parsed command line of :func:`benchmark_parser`.
        threads: Number of threads per process.
        packages: Packages whose versions are recorded.
    """
    path = options.output or RESULTS / f"{name}.json"
    if not path.exists():
        return []
    where, versions, rows = read_rows(path)
    if (where, versions) != (machine.describe(threads), machine.versions(*packages)):
        sys.exit(f"{path} was measured on another machine or with other versions; measure all parts")
    return rows


def publish(name: str, options: argparse.Namespace, threads: int, packages: Sequence[str], rows: Sequence[Row]) -> None:
    """Print the rows, and write them unless the run is quick and names no file.

    Args:
        name: Name of the benchmark.
        options: Parsed command line of :func:`benchmark_parser`.
        threads: Number of threads per process.
        packages: Packages whose versions are recorded.
        rows: Measured rows.
    """
    where, versions = machine.describe(threads), machine.versions(*packages)
    print_rows(where, versions, rows)
    output = options.output or (None if options.quick else RESULTS / f"{name}.json")
    if output is not None:
        write_rows(output, where, versions, rows)
        print(f"written to {output}")
