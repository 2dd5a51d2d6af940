"""Scores as a table on the terminal."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table

from seamseg.metrics.scores import Scores


def print_scores(scores: Scores) -> None:
    """One line per class that appears, then the means; in percent."""
    table = Table("class")
    for title in ("PQ", "SQ", "RQ", "IoU", "found", "false", "missed"):
        table.add_column(title, justify="right")
    seen = {name: line for name, line in scores.per_class.items() if not (math.isnan(line.pq) and math.isnan(line.iou))}
    for name, line in seen.items():
        counts = (str(line.tp), str(line.fp), str(line.fn))
        table.add_row(name, *(_percent(value) for value in (line.pq, line.sq, line.rq, line.iou)), *counts)
    table.add_section()
    for name, mean in (("all", scores.all), ("things", scores.things), ("stuff", scores.stuff)):
        miou = _percent(scores.miou) if name == "all" else ""
        table.add_row(f"{name} ({mean.n} classes)", *(_percent(value) for value in (mean.pq, mean.sq, mean.rq)), miou)
    console = Console()
    console.print(table)
    if len(seen) < len(scores.per_class):
        console.print(
            f"{len(scores.per_class) - len(seen)} classes appear neither in the images nor in the predictions"
        )
    console.print(f"PQ† {_percent(scores.pq_dagger)}{_boundary(scores)}")
    console.print(
        f"mIoU of the semantic head {_percent(scores.miou_semantic)}, "
        f"box AP {_percent(scores.box_ap)}, mask AP {_percent(scores.mask_ap)}"
    )


def _boundary(scores: Scores) -> str:
    if scores.boundary is None:
        return ""
    pq, things, stuff = (
        _percent(one.pq) for one in (scores.boundary.all, scores.boundary.things, scores.boundary.stuff)
    )
    return f", boundary PQ {pq} (things {things}, stuff {stuff})"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"
