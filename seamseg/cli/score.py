"""``seamseg score``: score result files, without a model."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from seamseg.cli.arguments import add_png_folders
from seamseg.cli.object_tables import f1_table, print_object_scores, write_object_analysis
from seamseg.cli.score_tables import (
    CALIBRATION_HELP,
    HELP,
    WORST_WIDTH,
    image_table,
    print_calibration,
    print_scores,
    write_analysis,
    write_calibration,
)
from seamseg.cli.video_scores import add_video_arguments, check_video_arguments, score_video_files
from seamseg.data.formats.coco_json import PanopticFiles, open_annotation, open_results
from seamseg.engine.gallery import file_sheet
from seamseg.errors import SettingsError
from seamseg.io.files import write_text
from seamseg.io.progress import progress_bar, split_progress
from seamseg.metrics.scores import Scores
from seamseg.score.files import CalibrationRequest, WrongArea, score_files
from seamseg.score.objects import is_list, score_objects
from seamseg.score.pairing import pair_results, select_images


def add_parser(subcommands: Any) -> None:
    """Add the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "score",
        help="score results of any program",
        description="Score results in COCO panoptic format at the size of the annotation: PQ, SQ, RQ, PQ† and boundary "
        "PQ, mean IoU, and, if every predicted thing has a score, average precision. All areas are counted in the "
        "PNGs. Or score COCO results of detection or instance segmentation, a JSON list of objects: all figures of "
        "COCO's evaluation. Or, with --video, score results for videos: VPQ and STQ.",
    )
    subcommand.add_argument(
        "--gt",
        type=Path,
        required=True,
        metavar="GT.json",
        help="annotation, COCO panoptic, or for objects also COCO detection; for videos, VIPSeg's JSON file or a "
        "folder of KITTI-STEP's PNGs (required)",
    )
    subcommand.add_argument(
        "--pred",
        type=Path,
        required=True,
        metavar="PRED.json",
        help="results, COCO panoptic or a COCO list of objects; for videos, as for --gt (required)",
    )
    add_png_folders(subcommand, "PRED.json")
    subcommand.add_argument(
        "--images",
        type=Path,
        metavar="LIST",
        help="score only these images: a text file with one image name per line, or a JSON file with images (default: "
        "all annotated images, each of which needs a result)",
    )
    add_video_arguments(subcommand)
    subcommand.add_argument(
        "--json", type=Path, metavar="OUT.json", help="write the scores as JSON, in the format of `seamseg evaluate`"
    )
    subcommand.add_argument(
        "--per-image", type=Path, metavar="OUT.csv", help="write a CSV table with one row per image"
    )
    subcommand.add_argument("--analysis", type=Path, metavar="FOLDER", help=HELP)
    subcommand.add_argument("--calibration", type=Path, metavar="FOLDER", help=CALIBRATION_HELP)
    maps = (
        "folder of confidence maps for --calibration, gray PNGs named like the PNGs of PRED.json (default: the folder "
        "`confidence` next to PRED.json, if it contains any)"
    )
    subcommand.add_argument("--confidence", type=Path, metavar="DIR", help=maps)
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    check_video_arguments(options)
    if options.video:
        return score_video_files(options)
    if options.confidence and not options.calibration:
        raise SettingsError("--confidence is for --calibration FOLDER; pass both")
    if options.pred.is_file() and is_list(options.pred):
        return score_coco_results(options)
    truth = chosen_images(open_annotation(options.gt, options.gt_dir), options.images)
    given = open_results(options.pred, options.pred_dir, truth.categories)
    results = pair_results(given, truth)
    num_ignored = 0 if options.images else len(given.images) - len(results.images)
    with progress_bar("scoring", len(truth.images)) as advance:
        found = score_files(truth, results, progress=lambda done: advance(done, ""), calibration=requested(options))
    try:
        write_files(truth, results, found.scores, options)
    finally:  # do not lose the scores if a file cannot be written
        if options.images:
            print(f"scored {len(truth.images)} images of {options.images}", file=sys.stderr)
        for note in notes(truth, results, found.wrong_areas, num_ignored):
            print(note, file=sys.stderr)
        print_scores(found.scores)
        if found.scores.calibration is not None:
            print_calibration(found.scores.calibration)
    return 0


def requested(options: argparse.Namespace) -> CalibrationRequest | None:
    """Return the calibration that the options request."""
    if options.calibration is None:
        return None
    default = options.pred.parent / "confidence"
    has_maps = next(default.rglob("*.png"), None) is not None  # `predict --overwrite` leaves empty folders
    return CalibrationRequest(options.confidence or (default if has_maps else None))


def score_coco_results(options: argparse.Namespace) -> int:
    """Score COCO results of detection or instance segmentation and return the exit code."""
    if options.pred_dir is not None:
        raise SettingsError(f"--pred-dir is for panoptic results, but {options.pred} lists objects; leave it out")
    if options.confidence is not None:
        raise SettingsError(f"--confidence is for panoptic results, but {options.pred} lists objects; leave it out")
    with split_progress("scoring") as advance:
        found = score_objects(
            options.gt,
            options.pred,
            options.gt_dir,
            options.images,
            lambda *done: advance("objects", *done),
            calibrate=options.calibration is not None,
        )
    try:
        for path, text in ((options.json, found.scores.to_json), (options.per_image, lambda: f1_table(found.scores))):
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_text(path, text())
        if options.analysis:
            write_object_analysis(options.analysis, found.scores)
        if options.calibration and found.scores.calibration is not None:
            write_calibration(options.calibration, found.scores.calibration)
    finally:  # do not lose the scores if a file cannot be written
        for note in found.notes:
            print(note, file=sys.stderr)
        print_object_scores(found.scores)
        if found.scores.calibration is not None:
            print_calibration(found.scores.calibration)
    return 0


def chosen_images(truth: PanopticFiles, listed: Path | None) -> PanopticFiles:
    """Return the annotation of the listed images; of all if there is no list."""
    if listed is None:
        return truth
    names = {key: truth.names.get(key) for key in truth.images}
    chosen = select_images(names, listed, truth.json_file)
    return replace(truth, images={key: truth.images[key] for key in chosen})


def write_files(truth: PanopticFiles, results: PanopticFiles, scores: Scores, options: argparse.Namespace) -> None:
    """Write the scores, the table of images, analysis and calibration, as far as the options request them."""
    images = image_table(scores, lambda image: truth.images[image].png.relative_to(truth.png_folder).as_posix())
    for path, text in ((options.json, scores.to_json), (options.per_image, lambda: images)):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, text())
    if options.analysis:
        worst = scores.analysis.worst
        sheet = file_sheet(truth, results, worst, WORST_WIDTH) if worst else None
        write_analysis(options.analysis, scores, images, sheet)
    if options.calibration and scores.calibration is not None:
        write_calibration(options.calibration, scores.calibration)


def notes(truth: PanopticFiles, results: PanopticFiles, wrong_areas: list[WrongArea], num_ignored: int) -> list[str]:
    """Describe problems of the files that do not prevent scoring, one sentence each.

    Args:
        truth: Annotation.
        results: Results.
        wrong_areas: Segments with wrong areas.
        num_ignored: Number of results of images that the annotation does not contain.
    """
    found = [f"{results.json_file}: {note}" for note in results.notes]
    for side, files in (("annotation", truth), ("results", results)):
        wrong = [one for one in wrong_areas if one.side == side]
        if wrong:
            first = wrong[0]
            example = f"segment {first.segment_id} of image {first.image_id}"
            found.append(
                f"{files.json_file}: the areas of {len(wrong)} segments differ from the PNGs, such as {example} with "
                f"{first.stated:g} instead of {first.counted} pixels; the PNGs are used"
            )
    if num_ignored:
        found.append(
            f"{results.json_file}: ignored {num_ignored} results of images that {truth.json_file} does not contain"
        )
    return found
