"""``seamseg report``: write predictions as HTML pages."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from seamseg.cli.arguments import add_out, add_overwrite, add_png_folders, add_workers
from seamseg.cli.output import UNREADABLE, counted
from seamseg.errors import SettingsError
from seamseg.io.progress import split_progress
from seamseg.report import open_material, write_report
from seamseg.report.write import LONGEST_SIDE


def add_parser(subcommands: Any) -> None:
    """Add the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "report",
        help="write an HTML report of predictions",
        description="Write a folder of HTML pages: a grid of all images, each image with its segments, and, with an "
        "annotation, the scores per class and the errors. Open OUT/index.html in any browser from 2024 or later; no "
        "server or network is needed. If the command fails, OUT is not created. Images that cannot be read are shown "
        "in gray, and the exit code is 3.",
    )
    subcommand.add_argument(
        "predictions",
        type=Path,
        metavar="PREDICTIONS",
        help="folder written by `seamseg predict`, or COCO panoptic JSON file",
    )
    add_out(subcommand, "output folder of the report; created if missing")
    subcommand.add_argument(
        "--images", type=Path, metavar="DIR", help="image folder (default: as recorded in the predictions)"
    )
    subcommand.add_argument("--gt", type=Path, metavar="GT.json", help="annotation to score against, COCO panoptic")
    add_png_folders(subcommand, "the JSON file")
    subcommand.add_argument("--title", help="title of the report (default: name of PREDICTIONS)")
    subcommand.add_argument(
        "--longest-side",
        type=int,
        default=LONGEST_SIDE,
        metavar="N",
        help=f"shrink images to at most this length of the longer side, in pixels (default: {LONGEST_SIDE})",
    )
    add_overwrite(subcommand, "replace an existing report in OUT")
    add_workers(subcommand)
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    if options.gt_dir is not None and options.gt is None:
        raise SettingsError("--gt-dir requires --gt, the JSON file of the annotation")
    material = open_material(
        options.predictions, options.images, options.gt, options.pred_dir, options.gt_dir, options.title
    )
    for note in material.notes:
        print(note, file=sys.stderr)
    with split_progress("writing") as advance:
        unreadable = write_report(
            material,
            options.out,
            longest=options.longest_side,
            overwrite=options.overwrite,
            num_workers=options.workers,
            on_progress=advance,
        )
    for sentence in unreadable:
        print(f"shown in gray: {sentence}", file=sys.stderr)
    print(f"{counted(len(material.images), 'image')}: {options.out / 'index.html'}")
    return UNREADABLE if unreadable else 0
