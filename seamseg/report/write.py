"""Writes a report."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from seamseg.data.panoptic_files import PanopticFiles
from seamseg.metrics.scores import Scores
from seamseg.report.folder import PAGE, START, check_target, replaced_folder
from seamseg.report.image_files import DATA, PHOTOGRAPHS, THUMBNAILS, ImageWriter
from seamseg.report.index import index_script
from seamseg.report.material import ReportMaterial
from seamseg.runtime.processes import results_in_order
from seamseg.score import score_files

LONGEST_SIDE = 1280
"""Of the photographs in a report, in pixels, unless its user wants another."""

Steps = Callable[[str, int, int], None]
"""Is told which part of the work, and how many of how many images of it are done."""


def write_report(
    material: ReportMaterial,
    out: Path,
    *,
    longest: int = LONGEST_SIDE,
    overwrite: bool = False,
    num_workers: int | None = None,
    on_progress: Steps = lambda part, done, total: None,
) -> None:
    """Scores the predictions and writes the folder, whole or not at all; the same material gives the same bytes.

    Args:
        material: what to show.
        out: the folder; made if needed.
        longest: of the photographs' sides in pixels; larger ones are made smaller.
        overwrite: whether an earlier report may be replaced.
        num_workers: processes; None takes one per core.
        on_progress: as above.

    Raises:
        ValueError: the folder holds something else, a file is missing or broken, or sizes do not fit together.
        OSError: a file cannot be written.
    """
    if longest < 1:
        raise ValueError(f"photographs of at most {longest} pixels cannot be seen; ask for at least 1")
    check_target(out, overwrite)
    scores = _scores(material, num_workers, on_progress)
    with replaced_folder(out, overwrite) as folder:
        for name in (DATA, PHOTOGRAPHS, THUMBNAILS):
            (folder / name).mkdir()
        writer = ImageWriter(folder, material.categories, longest)
        summaries = []
        total = len(material.images)
        on_progress("pages", 0, total)
        for summary in results_in_order(writer, list(enumerate(material.images)), num_workers):
            summaries.append(summary)
            on_progress("pages", len(summaries), total)
        shutil.copytree(PAGE, folder / "page")
        (folder / "page" / START).rename(folder / START)
        (folder / DATA / "index.js").write_text(index_script(material, summaries, scores), encoding="utf-8")


def _scores(material: ReportMaterial, num_workers: int | None, on_progress: Steps) -> Scores | None:
    pairs = material.pairs()
    if not pairs:
        return None
    truth, results = (
        PanopticFiles(side[0].png.parent, material.categories, {listed.image_id: listed for listed in side})
        for side in zip(*pairs, strict=True)
    )
    on_progress("scores", 0, len(pairs))
    found = score_files(
        truth, results, progress=lambda done: on_progress("scores", done, len(pairs)), num_threads=num_workers
    )
    return found.scores
