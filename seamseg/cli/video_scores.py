"""Scores of videos: the options ``--video`` and ``--windows`` of ``seamseg score``."""

from __future__ import annotations

import argparse
import math
import sys

from rich.table import Table

from seamseg.cli.arguments import Arguments
from seamseg.cli.output import counted, plain_console
from seamseg.errors import SettingsError
from seamseg.io.files import write_text
from seamseg.io.progress import progress_bar
from seamseg.metrics.scores import percent
from seamseg.metrics.video import WINDOWS, VideoScores
from seamseg.score.videos import open_predictions, open_truth, score_videos


def add_video_arguments(arguments: Arguments) -> None:
    """Add ``--video`` and ``--windows``."""
    arguments.add_argument("--video", action="store_true", help="score results for videos: VPQ and STQ")
    arguments.add_argument(
        "--windows",
        type=window_lengths,
        metavar="K,…",
        help="lengths of VPQ's windows in frames (with --video; default: 1,2,3,4; VIPSeg uses 1,2,4,6)",
    )


def window_lengths(text: str) -> tuple[int, ...]:
    """Parse comma-separated integers >= 1; duplicates are removed."""
    try:
        lengths = tuple(sorted({int(word) for word in text.split(",")}))
    except ValueError:
        lengths = (0,)
    if lengths[0] < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers of frames, such as 1,2,3,4")
    return lengths


def check_video_arguments(options: argparse.Namespace) -> None:
    """Check that options for images and for videos, and for JSON files and folders, are not mixed.

    Raises:
        SeamsegError: They are.
    """
    if options.windows is not None and not options.video:
        raise SettingsError("--windows is for videos; add --video, or leave it out")
    given = {
        "--images": options.images,
        "--per-image": options.per_image,
        "--analysis": options.analysis,
        "--calibration": options.calibration,
        "--confidence": options.confidence,
    }
    if options.video and (unfit := [name for name, value in given.items() if value is not None]):
        raise SettingsError(f"{unfit[0]} is for images, not for videos; leave it out")
    for path, folder, name in (
        (options.gt, options.gt_dir, "--gt-dir"),
        (options.pred, options.pred_dir, "--pred-dir"),
    ):
        if options.video and folder is not None and path.is_dir():
            raise SettingsError(f"{name} is for a JSON file, but {path} is a folder of PNGs; leave it out")


def score_video_files(options: argparse.Namespace) -> int:
    """Score results for videos and return the exit code."""
    truth = open_truth(options.gt, options.gt_dir)
    results = open_predictions(options.pred, options.pred_dir, truth)
    with progress_bar("scoring", truth.num_frames) as advance:
        scores = score_videos(truth, results, options.windows or WINDOWS, lambda done: advance(done, ""))
    try:
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            write_text(options.json, scores.to_json())
    finally:  # do not lose the scores if a file cannot be written
        for note in results.notes:
            print(f"{results.path}: {note}", file=sys.stderr)
        print_video_scores(scores)
    return 0


def print_video_scores(scores: VideoScores) -> None:
    """Print a table with one row per class that appears, then the means and a summary; scores are in percent."""
    table = Table("class")
    for title in ("VPQ", *(f"k={window.frames}" for window in scores.windows), "IoU"):
        table.add_column(title, justify="right")
    seen = 0
    for name, line in scores.per_class.items():
        values = (line.vpq, *line.by_window, line.iou)
        if not all(map(math.isnan, values)):
            table.add_row(name, *map(percent, values))
            seen += 1
    table.add_section()
    for name, mean in (("all", scores.vpq), ("things", scores.vpq_things), ("stuff", scores.vpq_stuff)):
        parts = [getattr(window, name) for window in scores.windows]
        title = f"{name} ({max(part.n for part in parts)} classes)"
        iou = percent(scores.sq) if name == "all" else ""
        table.add_row(title, percent(mean), *(percent(part.pq) for part in parts), iou)
    console = plain_console()
    console.print(table)
    if unseen := len(scores.per_class) - seen:
        console.print(f"{unseen} classes appear neither in the annotation nor in the predictions")
    *shorter, longest = [window.frames for window in scores.windows]
    lengths = "".join(f"{length:,}, " for length in shorter) + counted(longest, "frame")
    console.print(f"VPQ {percent(scores.vpq)} in windows of {lengths}")
    console.print(
        f"STQ {percent(scores.stq)} (association {percent(scores.aq)}, segmentation {percent(scores.sq)}): "
        f"{counted(sum(clip.num_tubes for clip in scores.clips), 'thing')} in {counted(len(scores.clips), 'video')}"
    )
