"""The folder that ``--analysis`` writes."""

from __future__ import annotations

from pathlib import Path

from seamseg.cli.analysis_tables import class_table, confusion_table, image_table
from seamseg.io.files import write_text
from seamseg.metrics.scores import Scores, json_lines
from seamseg.show.analysis import analysis_pictures
from seamseg.visualization.images import Picture, write_image

HELP = "write into this folder where quality is lost, as JSON, tables (CSV) and pictures"
WORST_WIDTH = 480


def write_analysis(folder: Path, scores: Scores, images: str | None = None, worst: Picture | None = None) -> None:
    """Writes ``analysis.json``, ``classes.csv``, ``confusion_segments.csv``, ``confusion_pixels.csv``, ``images.csv``,
    ``sizes.png``, ``outcomes.png``, ``confusion_segments.png``, ``confusion_pixels.png`` and ``worst.png``.

    Args:
        folder: made if needed; files of these names are replaced.
        scores: whose analysis it is.
        images: the table of images, if another is wanted than that of their ids.
        worst: a picture of the worst images; there is no such file without it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    confusion = scores.analysis.confusion
    texts = {
        "analysis.json": json_lines(scores.to_dict()["analysis"]) + "\n",
        "classes.csv": class_table(scores),
        "confusion_segments.csv": confusion_table(confusion.segments, confusion.classes, "missed", "invented"),
        "confusion_pixels.csv": confusion_table(confusion.pixels, confusion.classes, "void"),
        "images.csv": images or image_table(scores),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    pictures = analysis_pictures(scores.analysis)
    if worst is not None:
        pictures["worst"] = worst
    for name, picture in pictures.items():
        write_image(folder / f"{name}.png", picture)
