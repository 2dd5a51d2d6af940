"""Writing of a report: the files of the images, then the index script with scores, classes and a line per image."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seamseg import __version__
from seamseg.data.formats.coco_json import PanopticFiles
from seamseg.errors import SettingsError
from seamseg.io.files import atomic_directory
from seamseg.io.progress import Steps
from seamseg.io.workers import ordered_map
from seamseg.metrics.matching import ImageCounts
from seamseg.metrics.outcomes import FALSE_ERRORS, TRUE_ERRORS
from seamseg.metrics.scores import Scores
from seamseg.report.image_files import (
    CONTENT,
    DATA,
    IMAGES,
    PAGE,
    START,
    THUMBNAILS,
    ImageSummary,
    ImageWriter,
    check_target,
)
from seamseg.report.material import ReportMaterial
from seamseg.score.files import score_files
from seamseg.structures import ImageId


def index_script(material: ReportMaterial, summaries: Sequence[ImageSummary], scores: Scores | None) -> str:
    """Return the text of the index script, with one line per image.

    Args:
        material: Material of the report.
        summaries: Summaries of its images, in the same order.
        scores: Scores of the predictions; None without an annotation.
    """
    plain = None if scores is None else scores.to_dict()
    counts: dict[ImageId, ImageCounts] = {} if scores is None else {one.image_id: one for one in scores.images}
    head = {
        "title": material.title,
        "version": __version__,
        "annotated": material.annotated,
        "numScored": len(counts),
        "notes": [*material.notes, *_unreadable(summaries)],
        "scores": plain and {key: plain[key] for key in ("all", "things", "stuff", "miou", "pq_dagger", "boundary")},
        "classes": _classes(material, summaries, plain),
    }
    lines = [
        _text(summary.record | (_quality(counts[image.predicted.image_id]) if image.true is not None else {}))
        for image, summary in zip(material.images, summaries, strict=True)
    ]
    return f'seamseg.receiveIndex({_text(head)[:-1]},"images":[\n' + ",\n".join(lines) + "\n]});\n"


def _unreadable(summaries: Sequence[ImageSummary]) -> list[str]:
    """Return at most one sentence about unreadable images, without the reasons, which may reveal local folders."""
    names = [summary.record["name"] for summary in summaries if summary.fault]
    number = f"{len(names)} images" if len(names) > 1 else "1 image"
    return [f"{number} cannot be read, for example {names[0]}; gray is shown instead"] if names else []


def _quality(counts: ImageCounts) -> dict[str, Any]:
    """Return PQ of the image, and for each of its classes the sum of IoUs and the numbers of TP, FP and FN."""
    per_class = [
        [int(number), round(float(column[0]), 4), *(int(value) for value in column[1:])]
        for number, column in zip(counts.classes, counts.counts.T, strict=True)
    ]
    return {"pq": None if math.isnan(counts.pq) else round(counts.pq, 5), "quality": per_class}


def _classes(
    material: ReportMaterial, summaries: Sequence[ImageSummary], scores: dict[str, Any] | None
) -> list[dict[str, Any]]:
    pixels = sum(height * width for height, width in (summary.record["size"] for summary in summaries))
    lines = []
    for number, category in enumerate(material.categories.classes):
        line: dict[str, Any] = {
            "name": category.name,
            "thing": category.is_thing,
            "color": "#" + bytes(category.color).hex(),
            "segments": sum(summary.segments[number] for summary in summaries),
            "images": sum(number in summary.record["classes"] for summary in summaries),
            "share": round(sum(summary.areas[number] for summary in summaries) / pixels, 6),
        }
        if scores is not None:
            found = scores["per_class"][category.name]
            keys = ("pq", "sq", "rq", "iou", "boundary_pq", "tp", "fp", "fn")
            line["scores"] = {key: _rounded(found[key]) for key in keys}
            line["trueErrors"] = {
                kind.word: sum(one.true_errors[number, kind.word] for one in summaries) for kind in TRUE_ERRORS
            }
            line["falseErrors"] = {
                kind.word: sum(one.false_errors[number, kind.word] for one in summaries) for kind in FALSE_ERRORS
            }
        lines.append(line)
    return lines


def _rounded(value: float | int | None) -> float | int | None:
    return round(value, 6) if isinstance(value, float) else value


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


LONGEST_SIDE = 1280
"""Default of the maximum side of the images in a report, in pixels."""


def write_report(
    material: ReportMaterial,
    out: Path,
    *,
    longest: int = LONGEST_SIDE,
    overwrite: bool = False,
    num_workers: int | None = None,
    on_progress: Steps = lambda part, done, total: None,
) -> list[str]:
    """Score the predictions and write the report.

    The folder is written completely or not at all. The same material gives the same bytes.

    Args:
        material: Material of the report.
        out: Folder of the report; it is created if needed.
        longest: Maximum side of the images in pixels; larger images are scaled down.
        overwrite: Replace an existing report.
        num_workers: Number of processes; None means one per core.
        on_progress: Called with the current step ("scores" or "pages"), the number of finished images and their total.

    Returns:
        A sentence for each image that cannot be read. Its segments are shown on gray.

    Raises:
        SeamsegError: The folder holds other files or an existing report, a PNG of the segments is missing or broken,
            or sizes do not match.
        OSError: A file cannot be written.
    """
    if longest < 1:
        raise SettingsError(f"the maximum side of images must be at least 1 pixel, not {longest}")
    check_target(out, overwrite)
    scores = _scores(material, num_workers, on_progress)
    unreadable: list[str] = []

    def write(folder: Path) -> None:
        unreadable.extend(_write(material, scores, longest, num_workers, on_progress, folder))

    atomic_directory(out, write, CONTENT)
    return unreadable


def _write(
    material: ReportMaterial,
    scores: Scores | None,
    longest: int,
    num_workers: int | None,
    on_progress: Steps,
    folder: Path,
) -> list[str]:
    for name in (DATA, IMAGES, THUMBNAILS):
        (folder / name).mkdir()
    writer, total = ImageWriter(folder, material.categories, longest), len(material.images)
    summaries: list[ImageSummary] = []
    on_progress("pages", 0, total)
    for summary in ordered_map(writer, list(enumerate(material.images)), processes=num_workers):
        summaries.append(summary)
        on_progress("pages", len(summaries), total)
    shutil.copytree(PAGE, folder / PAGE.name)
    (folder / PAGE.name / START).rename(folder / START)
    (folder / DATA / "index.js").write_text(index_script(material, summaries, scores), encoding="utf-8")
    os.sync()  # all files must be on disk before the folder gets its final name
    pairs = zip(material.images, summaries, strict=True)
    return [f"{image.image_path} {summary.fault}" for image, summary in pairs if summary.fault]


def _scores(material: ReportMaterial, num_workers: int | None, on_progress: Steps) -> Scores | None:
    pairs = material.pairs()
    if not pairs:
        return None
    truth, results = (
        PanopticFiles(
            side[0].png.parent, side[0].png.parent, material.categories, {listed.image_id: listed for listed in side}
        )
        for side in zip(*pairs, strict=True)
    )
    on_progress("scores", 0, len(pairs))
    found = score_files(
        truth, results, progress=lambda done: on_progress("scores", done, len(pairs)), num_threads=num_workers
    )
    return found.scores
