"""Writes a report."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from seamseg.data.formats.coco_json import PanopticFiles
from seamseg.io.files import write_folder
from seamseg.io.progress import Steps
from seamseg.io.workers import results_in_order
from seamseg.metrics.scores import Scores
from seamseg.report.folder import CONTENT, DATA, PAGE, PHOTOGRAPHS, START, THUMBNAILS, check_target
from seamseg.report.image_files import ImageSummary, ImageWriter
from seamseg.report.index import index_script
from seamseg.report.material import ReportMaterial
from seamseg.score import score_files

LONGEST_SIDE = 1280
"""Of the photographs in a report, in pixels, unless its user wants another."""


def write_report(
    material: ReportMaterial,
    out: Path,
    *,
    longest: int = LONGEST_SIDE,
    overwrite: bool = False,
    num_workers: int | None = None,
    on_progress: Steps = lambda part, done, total: None,
) -> list[str]:
    """Scores the predictions and writes the folder, whole or not at all; the same material gives the same bytes.

    Args:
        material: what to show.
        out: the folder; made if needed.
        longest: of the photographs' sides in pixels; larger ones are made smaller.
        overwrite: whether an earlier report may be replaced.
        num_workers: processes; None takes one per core.
        on_progress: is told how far the scores and the pages have come.

    Returns:
        A sentence for every photograph that cannot be read. Its segments are shown all the same.

    Raises:
        ValueError: the folder holds something else, a file of the segments is missing or broken, or sizes do not fit
            together.
        OSError: a file cannot be written.
    """
    if longest < 1:
        raise ValueError(f"photographs of at most {longest} pixels cannot be seen; ask for at least 1")
    check_target(out, overwrite)
    scores = _scores(material, num_workers, on_progress)
    unreadable: list[str] = []

    def write(folder: Path) -> None:
        unreadable.extend(_write(material, scores, longest, num_workers, on_progress, folder))

    write_folder(out, write, CONTENT)
    return unreadable


def _write(
    material: ReportMaterial,
    scores: Scores | None,
    longest: int,
    num_workers: int | None,
    on_progress: Steps,
    folder: Path,
) -> list[str]:
    for name in (DATA, PHOTOGRAPHS, THUMBNAILS):
        (folder / name).mkdir()
    writer, total = ImageWriter(folder, material.categories, longest), len(material.images)
    summaries: list[ImageSummary] = []
    on_progress("pages", 0, total)
    for summary in results_in_order(writer, list(enumerate(material.images)), num_workers):
        summaries.append(summary)
        on_progress("pages", len(summaries), total)
    shutil.copytree(PAGE, folder / PAGE.name)
    (folder / PAGE.name / START).rename(folder / START)
    (folder / DATA / "index.js").write_text(index_script(material, summaries, scores), encoding="utf-8")
    os.sync()  # all files shall be on the disk before the folder gets its name
    pairs = zip(material.images, summaries, strict=True)
    return [f"{image.photograph} {summary.fault}" for image, summary in pairs if summary.fault]


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
