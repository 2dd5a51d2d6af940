"""The report of a check on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from seamseg.check.report import CheckReport


def print_report(report: CheckReport, console: Console) -> None:
    """Prints splits, classes that occur, faults grouped by kind, and a last line that sums up.

    Args:
        report: Result of a check.
        console: Console without markup, as :func:`seamseg.cli.console.plain_console` makes it.
    """
    console.print(f"{report.root}: {report.format_title}")
    _print_splits(report, console)
    _print_classes(report, console)
    _print_faults(report, console)
    errors, warnings = report.findings.num_errors, report.findings.num_warnings
    verdict = ("faulty", "red") if errors else ("right", "green")
    console.print(Text.assemble(verdict, f": {_number(errors, 'error')}, {_number(warnings, 'warning')}"))


def _print_splits(report: CheckReport, console: Console) -> None:
    table = Table("split")
    for title in ("images", "annotated", "segments", "objects", "most", "labelled", "height×width"):
        table.add_column(title, justify="right")
    for split in report.statistics.splits:
        sizes = {size for size in (split.smallest_size, split.largest_size) if size is not None}
        table.add_row(
            split.name,
            *(f"{count:,}" for count in (split.images, split.annotated, split.segments, split.objects)),
            str(split.most_objects),
            f"{split.labelled_pixels / max(1, split.pixels):.1%}",
            " … ".join(f"{height}×{width}" for height, width in sorted(sizes, key=lambda size: size[0] * size[1])),
        )
    console.print(table)


def _print_classes(report: CheckReport, console: Console) -> None:
    table = Table("class", "kind")
    for title in ("images", "segments", "crowd", "pixels", "smallest"):
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
        console.print(Text.assemble(word, " ", (kind.name, "bold"), f", {count:,} times: {kind.meaning}"))
        for example in examples:
            console.print(f"    {example}", soft_wrap=True, highlight=False)
        left = count - report.findings.num_described(kind.name)
        if left:
            console.print(f"    … and {left:,} more")


def _number(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
