"""Tables and files of the scores of objects, shared by ``evaluate`` and ``score``."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from seamseg.cli.output import plain_console
from seamseg.cli.score_tables import csv_cell, csv_table, write_pictures
from seamseg.io.files import write_text
from seamseg.metrics.objects import ObjectScores
from seamseg.metrics.scores import percent
from seamseg.visualization.images import Picture

FIGURES = {
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_small": "AP small",
    "ap_medium": "AP medium",
    "ap_large": "AP large",
    "ar1": "AR 1",
    "ar10": "AR 10",
    "ar100": "AR 100",
    "ar_small": "AR small",
    "ar_medium": "AR medium",
    "ar_large": "AR large",
}
"""Names of COCO's figures in tables."""


def print_object_scores(scores: ObjectScores) -> None:
    """Print a table with one row per annotated class, then all figures of COCO's evaluation; scores are in percent."""
    titles = ("box AP", "mask AP")[: 1 if scores.mask is None else 2]
    table = Table("class")
    for title in (*titles, "objects"):
        table.add_column(title, justify="right")
    seen = {name: line for name, line in scores.per_class.items() if not math.isnan(line.box_ap)}
    for name, line in seen.items():
        values = (line.box_ap, line.mask_ap)[: len(titles)]
        table.add_row(name, *map(percent, values), f"{line.num_objects:,}")
    table.add_section()
    parts = [part for part in (scores.box, scores.mask) if part is not None]
    total = sum(line.num_objects for line in scores.per_class.values())
    table.add_row(f"mean ({len(seen)} classes)", *(percent(part.ap) for part in parts), f"{total:,}")
    console = plain_console()
    console.print(table)
    if len(seen) < len(scores.per_class):
        console.print(f"{len(scores.per_class) - len(seen)} classes have no annotated object")
    for title, part in zip(titles, parts, strict=True):
        figures = ", ".join(f"{FIGURES[name]} {percent(value)}" for name, value in asdict(part).items())
        console.print(f"{title.split()[0]}: {figures}")


def write_object_analysis(folder: Path, scores: ObjectScores, worst: Picture | None = None) -> None:
    """Write the scores by class and by image as tables, and a picture of the worst images.

    The files are ``classes.csv``, ``images.csv`` (lowest F1 first) and ``worst.png``.

    Args:
        folder: Output folder; created if missing. Files with these names are replaced.
        scores: Scores of the objects.
        worst: Picture of the worst images; None omits ``worst.png``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = [[name, *map(csv_cell, asdict(line).values())] for name, line in scores.per_class.items()]
    write_text(folder / "classes.csv", csv_table(["class", "box_ap", "mask_ap", "objects"], lines))
    write_text(folder / "images.csv", f1_table(scores))
    write_pictures(folder, {}, worst)


def f1_table(scores: ObjectScores) -> str:
    """Format a CSV table with one row per image, lowest F1 first."""
    images = sorted(scores.image_f1.items(), key=lambda one: (math.isnan(one[1]), one[1]))
    return csv_table(["image_id", "f1"], [[key, csv_cell(value)] for key, value in images])
