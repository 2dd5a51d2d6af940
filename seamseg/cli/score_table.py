"""Scores as a table on the terminal."""

from __future__ import annotations

import math

from rich.table import Table

from seamseg.cli.console import plain_console
from seamseg.metrics.analysis import Analysis
from seamseg.metrics.scores import Scores, percent


def print_scores(scores: Scores) -> None:
    """One line per class that appears, then the means; in percent."""
    table = Table("class")
    for title in ("PQ", "SQ", "RQ", "IoU", "found", "false", "missed"):
        table.add_column(title, justify="right")
    seen = {name: line for name, line in scores.per_class.items() if not (math.isnan(line.pq) and math.isnan(line.iou))}
    for name, line in seen.items():
        counts = (str(line.tp), str(line.fp), str(line.fn))
        table.add_row(name, *(percent(value) for value in (line.pq, line.sq, line.rq, line.iou)), *counts)
    table.add_section()
    for name, mean in (("all", scores.all), ("things", scores.things), ("stuff", scores.stuff)):
        miou = percent(scores.miou) if name == "all" else ""
        table.add_row(f"{name} ({mean.n} classes)", *(percent(value) for value in (mean.pq, mean.sq, mean.rq)), miou)
    console = plain_console()
    console.print(table)
    if len(seen) < len(scores.per_class):
        console.print(
            f"{len(scores.per_class) - len(seen)} classes appear neither in the images nor in the predictions"
        )
    for sentence in _analysis(scores.analysis):
        console.print(sentence)
    console.print(f"PQ† {percent(scores.pq_dagger)}{_boundary(scores)}")
    console.print(
        f"mIoU of the semantic head {percent(scores.miou_semantic)}, "
        f"box AP {percent(scores.box_ap)}, mask AP {percent(scores.mask_ap)}"
    )


def _analysis(analysis: Analysis) -> list[str]:
    lines = []
    if analysis.intervals is not None:
        parts = {"PQ": analysis.intervals.all, "things": analysis.intervals.things, "stuff": analysis.intervals.stuff}
        texts = (f"{name} {percent(one.low)} … {percent(one.high)}" for name, one in parts.items())
        lines.append(f"95 % of resampled images: {', '.join(texts)}")
    sizes = (f"{name} {percent(one.all.pq)}" for name, one in analysis.by_size.items())
    lines.append(f"PQ by size: {', '.join(sizes)}")
    taken = [f"{true} for {other} ({number})" for true, other, number in analysis.confusion.largest(3)]
    if taken:
        lines.append(f"most often taken for another class: {', '.join(taken)}")
    return lines


def _boundary(scores: Scores) -> str:
    if scores.boundary is None:
        return ""
    pq, things, stuff = (
        percent(one.pq) for one in (scores.boundary.all, scores.boundary.things, scores.boundary.stuff)
    )
    return f", boundary PQ {pq} (things {things}, stuff {stuff})"
