"""Tables and files of scores and their analysis, shared by ``evaluate`` and ``score``."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from seamseg.cli.output import plain_console
from seamseg.engine.analysis_pictures import (
    analysis_pictures,
    calibration_charts,
    lost_things_picture,
    semantic_pictures,
)
from seamseg.io.files import write_text
from seamseg.metrics.analysis import Analysis
from seamseg.metrics.calibration import Calibration, ScoreCalibration, ThingReliability
from seamseg.metrics.lost_things import STAGES, LostThings, total
from seamseg.metrics.scores import Scores, json_lines, percent, without_nan
from seamseg.metrics.semantic import SemanticScores
from seamseg.structures import ImageId
from seamseg.visualization.images import Picture, write_image


def print_scores(scores: Scores) -> None:
    """Print a table with one row per class that appears, then the means and a summary; scores are in percent."""
    table = Table("class")
    for title in ("PQ", "SQ", "RQ", "IoU", "TP", "FP", "FN"):
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
        _print_unseen(console, len(scores.per_class) - len(seen))
    for sentence in _analysis(scores.analysis):
        console.print(sentence)
    if scores.lost is not None:
        console.print(_lost(scores.lost))
    console.print(f"PQ† {percent(scores.pq_dagger)}{_boundary(scores)}")
    console.print(
        f"mIoU of the semantic head {percent(scores.miou_semantic)}, "
        f"box AP {percent(scores.box_ap)}, mask AP {percent(scores.mask_ap)}"
    )


def print_semantic_scores(scores: SemanticScores) -> None:
    """Print a table with one row per class that is annotated or predicted, then the means; scores are in percent."""
    table = Table("class")
    for title in ("IoU", "accuracy", "pixels"):
        table.add_column(title, justify="right")
    seen = {name: line for name, line in scores.per_class.items() if not math.isnan(line.iou)}
    for name, line in seen.items():
        table.add_row(name, percent(line.iou), percent(line.accuracy), f"{line.pixels:,}")
    table.add_section()
    table.add_row(f"mean ({len(seen)} classes)", percent(scores.miou), percent(scores.mean_class_accuracy), "")
    console = plain_console()
    console.print(table)
    if len(seen) < len(scores.per_class):
        _print_unseen(console, len(scores.per_class) - len(seen))
    console.print(f"mIoU {percent(scores.miou)}, pixel accuracy {percent(scores.pixel_accuracy)}")


def _print_unseen(console: Console, number: int) -> None:
    console.print(f"{number} classes appear neither in the annotation nor in the predictions")


def _analysis(analysis: Analysis) -> list[str]:
    lines = []
    if analysis.intervals is not None:
        parts = {"PQ": analysis.intervals.all, "things": analysis.intervals.things, "stuff": analysis.intervals.stuff}
        texts = (f"{name} {percent(one.low)} … {percent(one.high)}" for name, one in parts.items())
        lines.append(f"95% bootstrap intervals: {', '.join(texts)}")
    sizes = (f"{name} {percent(one.all.pq)}" for name, one in analysis.by_size.items())
    lines.append(f"PQ by size: {', '.join(sizes)}")
    confused = [f"{true} as {other} ({number})" for true, other, number in analysis.confusion.largest(3)]
    if confused:
        lines.append(f"most frequent confusions: {', '.join(confused)}")
    return lines


def _lost(lost: dict[str, LostThings]) -> str:
    whole = total(lost)
    stages = (f"{stage.replace('_', ' ')} {getattr(whole, stage)}" for stage in reversed(STAGES))
    return f"missing things: {whole.num_lost} of {whole.things}: {', '.join(stages)}"


def _boundary(scores: Scores) -> str:
    if scores.boundary is None:
        return ""
    pq, things, stuff = (
        percent(one.pq) for one in (scores.boundary.all, scores.boundary.things, scores.boundary.stuff)
    )
    return f", boundary PQ {pq} (things {things}, stuff {stuff})"


def image_table(scores: Scores, file_name: Callable[[ImageId], str] | None = None) -> str:
    """Format a CSV table with one row per image, lowest PQ first; PQ is the mean over the classes of the image.

    Args:
        scores: Scores with counts per image.
        file_name: Function that returns the file name for an image id; None omits the column.
    """
    lines = []
    for image in sorted(scores.images, key=lambda image: (math.isnan(image.pq), image.pq)):
        iou_sum, *numbers = image.counts.sum(1).tolist()
        named = [image.image_id] if file_name is None else [image.image_id, file_name(image.image_id)]
        lines.append([*named, csv_cell(image.pq), iou_sum, *(int(number) for number in numbers)])
    title = ["image_id"] if file_name is None else ["image_id", "file_name"]
    return csv_table([*title, "pq", "iou_sum", "tp", "fp", "fn"], lines)


def class_table(scores: Scores) -> str:
    """Format a CSV table with one row per class: its scores, its PQ by size, and the outcomes of its segments."""
    sizes, lines = scores.analysis.by_size, []
    title: list[str] = []
    for name, line in scores.per_class.items():
        cells = {"class": name, **asdict(line)}
        cells |= {f"pq_{size}": quality.per_class[name] for size, quality in sizes.items()}
        cells |= asdict(scores.analysis.outcomes[name])
        title = list(cells)
        lines.append([csv_cell(value) for value in cells.values()])
    return csv_table(title, lines)


def lost_table(lost: dict[str, LostThings]) -> str:
    """Format a CSV table with one row per thing class: its things, and those lost at each stage."""
    lines = [[name, *asdict(one).values()] for name, one in lost.items()]
    return csv_table(["class", "things", *STAGES], lines)


def confusion_table(matrix: NDArray[np.int64], classes: Iterable[str], rest: str, last_row: str = "") -> str:
    """Format a CSV table with one row per true class and one column per predicted class.

    Args:
        matrix: Counts with C or C+1 rows and C+1 columns.
        classes: Names of the C classes.
        rest: Name of the last column.
        last_row: Name of row C+1, if it exists.
    """
    names = list(classes)
    rows = [*names, last_row][: len(matrix)]
    return csv_table(["true", *names, rest], ([name, *row] for name, row in zip(rows, matrix.tolist(), strict=True)))


def csv_cell(value: Any) -> Any:
    """Return a value for a CSV table, in which NaN is an empty cell."""
    return "" if isinstance(value, float) and math.isnan(value) else value


def csv_table(title: list[str], lines: Iterable[list[Any]]) -> str:
    """Format a CSV table with a row of titles."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(title)
    writer.writerows(lines)
    return text.getvalue()


CALIBRATION_HELP = (
    "write the reliability of scores and confidence to FOLDER: calibration errors, risk-coverage curves, and a picture"
)


def print_calibration(calibration: Calibration) -> None:
    """Print one line for each kind of score; errors are in percent."""
    console = plain_console()
    if calibration.things is None and calibration.pixels is None:
        console.print("calibration: no prediction counts")
    for name in ("things", "pixels"):
        found: ScoreCalibration | None = getattr(calibration, name)
        if found is None:
            continue
        errors = f"ECE {percent(found.all.ece)}"
        if isinstance(found.all, ThingReliability):
            parts = (found.all.d_ece_position, found.all.d_ece_size, found.all.d_ece)
            errors += f", D-ECE {' '.join(map(percent, parts))} (position, size, both)"
        console.print(
            f"calibration of {name}: {errors}, mean score {percent(found.all.confidence)}, accuracy "
            f"{percent(found.all.accuracy)}, AURC {percent(found.aurc, 2)}"
        )


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Write calibrations as ``calibration.json``, ``calibration.csv`` (by class) and ``calibration.png``.

    Args:
        folder: Output folder; created if missing. Files with these names are replaced.
        calibration: Calibration of things and pixels; without either, there is no picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "calibration.png").unlink(missing_ok=True)  # one of an earlier run would belie the other files
    write_text(folder / "calibration.json", json_lines(without_nan(calibration.to_dict())) + "\n")
    keys = [field.name for field in fields(ThingReliability)]
    lines = []
    for kind in ("things", "pixels"):
        found: ScoreCalibration | None = getattr(calibration, kind)
        for name, line in ({"all": found.all} | found.per_class if found else {}).items():
            values = asdict(line)
            lines.append([kind, name, *(csv_cell(values.get(key, math.nan)) for key in keys)])
    write_text(folder / "calibration.csv", csv_table(["kind", "class", *keys], lines))
    for name, picture in calibration_charts(calibration).items():
        write_image(folder / f"{name}.png", picture)


HELP = "write an error analysis to FOLDER: JSON, CSV tables and pictures"
WORST_WIDTH = 480


def write_analysis(folder: Path, scores: Scores, images: str | None = None, worst: Picture | None = None) -> None:
    """Write the analysis of scores as JSON, CSV tables and pictures.

    The files are ``analysis.json``, ``classes.csv``, ``confusion_segments.csv``, ``confusion_pixels.csv``,
    ``images.csv``, ``sizes.png``, ``outcomes.png``, ``confusion_segments.png``, ``confusion_pixels.png`` and
    ``worst.png``, and ``lost.csv`` and ``lost.png`` if lost things were traced.

    Args:
        folder: Output folder; created if missing. Files with these names are replaced, or deleted if they belong to an
            earlier analysis and this one has no such file.
        scores: Scores that contain the analysis.
        images: Content of ``images.csv``; None writes a table with image ids only.
        worst: Picture of the worst images; None omits ``worst.png``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    confusion = scores.analysis.confusion
    texts = {
        "analysis.json": json_lines(scores.to_dict()["analysis"]) + "\n",
        "classes.csv": class_table(scores),
        "confusion_segments.csv": confusion_table(confusion.segments, confusion.classes, "missed", "background"),
        "confusion_pixels.csv": confusion_table(confusion.pixels, confusion.classes, "void"),
        "images.csv": images or image_table(scores),
    }
    pictures = analysis_pictures(scores.analysis)
    for name in ("lost.csv", "lost.png"):
        (folder / name).unlink(missing_ok=True)
    if scores.lost is not None:
        texts["lost.csv"] = lost_table(scores.lost)
        pictures["lost"] = lost_things_picture(scores.lost)
    for name, text in texts.items():
        write_text(folder / name, text)
    write_pictures(folder, pictures, worst)


def write_semantic_analysis(folder: Path, scores: SemanticScores, worst: Picture | None = None) -> None:
    """Write the errors of a semantic segmentation: tables and pictures by class.

    The files are ``classes.csv``, ``confusion_pixels.csv``, ``confusion_pixels.png`` and ``worst.png``.

    Args:
        folder: Output folder; created if missing. Files with these names are replaced.
        scores: Scores with the confusion matrix.
        worst: Picture of the worst images; None omits ``worst.png``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = [[name, *map(csv_cell, asdict(line).values())] for name, line in scores.per_class.items()]
    write_text(folder / "classes.csv", csv_table(["class", "iou", "accuracy", "pixels"], lines))
    write_text(folder / "confusion_pixels.csv", confusion_table(scores.confusion, scores.per_class, "void"))
    write_pictures(folder, semantic_pictures(scores.confusion, list(scores.per_class)), worst)


def write_pictures(folder: Path, pictures: dict[str, Picture], worst: Picture | None) -> None:
    """Write pictures as NAME.png, and the one of the worst images as ``worst.png``, which None deletes."""
    (folder / "worst.png").unlink(missing_ok=True)
    if worst is not None:
        pictures["worst"] = worst
    for name, picture in pictures.items():
        write_image(folder / f"{name}.png", picture)
