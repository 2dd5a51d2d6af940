"""``seamseg check``: find errors in a data set, and print the report."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from seamseg.check.check import check_data_set
from seamseg.check.repair import write_repaired
from seamseg.check.report import CheckReport, draw_sheet
from seamseg.cli.arguments import add_workers
from seamseg.cli.output import plain_console
from seamseg.data.formats.open import FORMATS
from seamseg.errors import SettingsError
from seamseg.io.files import expand_home, write_text
from seamseg.io.progress import split_progress
from seamseg.visualization.images import write_image


def print_report(report: CheckReport, console: Console) -> None:
    """Print the splits, the classes that occur, the faults grouped by kind, and a summary line.

    Args:
        report: Result of a check.
        console: Console without markup, created by :func:`seamseg.cli.output.plain_console`.
    """
    console.print(f"{report.root}: {report.format_title}")
    _print_splits(report, console)
    _print_classes(report, console)
    _print_faults(report, console)
    errors, warnings = report.findings.num_errors, report.findings.num_warnings
    verdict = ("failed", "red") if errors else ("passed", "green")
    console.print(Text.assemble(verdict, f": {_number(errors, 'error')}, {_number(warnings, 'warning')}"))


def _print_splits(report: CheckReport, console: Console) -> None:
    table = Table("split")
    for title in ("images", "annotated", "segments", "objects", "max", "labeled", "height×width"):
        table.add_column(title, justify="right")
    for split in report.statistics.splits:
        sizes = {size for size in (split.smallest_size, split.largest_size) if size is not None}
        table.add_row(
            split.name,
            *(f"{count:,}" for count in (split.images, split.annotated, split.segments, split.objects)),
            str(split.most_objects),
            f"{split.labeled_pixels / max(1, split.pixels):.1%}",
            " … ".join(f"{height}×{width}" for height, width in sorted(sizes, key=lambda size: size[0] * size[1])),
        )
    console.print(table)


def _print_classes(report: CheckReport, console: Console) -> None:
    table = Table("class", "kind")
    for title in ("images", "segments", "crowd", "pixels", "min area"):
        table.add_column(title, justify="right")
    rows = report.statistics.class_rows()
    for row in rows:
        if row["segments"]:
            table.add_row(
                row["name"],
                "thing" if row["isthing"] else "stuff",
                *(f"{row[key]:,}" for key in ("images", "segments", "crowd")),
                f"{row['share']:.2%}",
                f"{row['smallest']:,}",
            )
    if table.row_count:
        console.print(table)


def _print_faults(report: CheckReport, console: Console) -> None:
    for kind, count, examples in report.findings.by_kind():
        word = ("error", "red") if kind.is_error else ("warning", "yellow")
        console.print(Text.assemble(word, " ", (kind.name, "bold"), f" ({count:,}): {kind.meaning}"))
        for example in examples:
            console.print(f"    {example}", soft_wrap=True, highlight=False)
        left = count - report.findings.num_described(kind.name)
        if left:
            console.print(f"    … and {left:,} more")


def _number(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


FAULTY = 1


def add_parser(subcommands: Any) -> None:
    """Add the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "check",
        help="check a data set for errors before training on it",
        description="Compare the annotation of a data set with its files: ids, areas, boxes, sizes, categories, "
        "missing and damaged files. Prints statistics per split and class, and the faults grouped by kind. The exit "
        "code is 1 if there are errors, and 0 if there are only warnings.",
    )
    subcommand.add_argument(
        "data_set", type=Path, metavar="DATASET", help="data set folder, in any format that `seamseg train` reads"
    )
    subcommand.add_argument(
        "--split",
        action="append",
        default=[],
        metavar="NAME",
        help="check only this split; may be repeated (default: all splits)",
    )
    subcommand.add_argument("--format", choices=FORMATS, help="format of the data set (default: detected)")
    subcommand.add_argument(
        "--json",
        metavar="FILE",
        help="write the report as JSON to FILE; - prints it to standard output instead of the text report",
    )
    subcommand.add_argument(
        "--fix-areas",
        type=Path,
        metavar="OUT",
        help="write a copy with corrected areas and boxes to OUT; images are linked, not copied",
    )
    subcommand.add_argument(
        "--contact-sheet", type=Path, metavar="PNG", help="write sample images with their annotation as one picture"
    )
    subcommand.add_argument(
        "--examples",
        type=int,
        default=5,
        metavar="N",
        help="number of faults to describe per kind, at least 1 (default: 5)",
    )
    add_workers(subcommand)
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    if options.examples < 1:
        raise SettingsError(f"--examples must be at least 1, not {options.examples}")
    with split_progress("checking") as advance:
        report = check_data_set(
            options.data_set, options.split, options.format, options.workers, options.examples, advance
        )
    try:
        write_files(report, options)
    finally:  # do not lose the result of a long check if a file cannot be written
        if options.json == "-":
            print(_json(report), end="")
        else:
            print_report(report, plain_console())
    return FAULTY if report.num_errors else 0


def write_files(report: CheckReport, options: argparse.Namespace) -> None:
    """Write the JSON report, the contact sheet and the corrected copy, as far as the options request them."""
    if options.json not in (None, "-"):
        write_text(expand_home(options.json), _json(report))
    if options.contact_sheet:
        write_image(options.contact_sheet, draw_sheet(report))
        print(f"contact sheet: {options.contact_sheet}", file=sys.stderr)
    if options.fix_areas:
        write_repaired(report, options.fix_areas)
        print(f"corrected copy ({len(report.repaired)} images changed): {options.fix_areas}", file=sys.stderr)


def _json(report: CheckReport) -> str:
    return json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n"
