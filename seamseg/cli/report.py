"""``seamseg report``: predictions as pages for a browser."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from seamseg.cli.output import UNREADABLE, counted
from seamseg.errors import SettingsError
from seamseg.io.progress import split_progress
from seamseg.report import open_material, write_report
from seamseg.report.write import LONGEST_SIDE


def add_parser(subcommands: Any) -> None:
    """Adds the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "report",
        help="write pages to look at predictions with",
        description="Writes a folder of pages that opens from disk in any browser of 2024 or later, without a server "
        "or network: a grid of all images, every image with its segments, and, with an annotation, scores per class "
        "and what went wrong. "
        "Open OUT/index.html. The folder appears whole or not at all. Images that cannot be read are gray, and "
        "the exit code is then 3.",
    )
    subcommand.add_argument(
        "predictions",
        type=Path,
        metavar="PREDICTIONS",
        help="a folder that `seamseg predict` wrote, or a JSON file in the COCO panoptic format",
    )
    subcommand.add_argument("out", type=Path, metavar="OUT", help="folder of the report; made if needed")
    subcommand.add_argument("--images", type=Path, metavar="DIR", help="images (default: where the predictions say)")
    subcommand.add_argument("--gt", type=Path, metavar="GT.json", help="annotation, COCO panoptic, to score with")
    subcommand.add_argument("--gt-dir", type=Path, metavar="D", help="PNGs of the annotation (default: GT)")
    subcommand.add_argument(
        "--pred-dir", type=Path, metavar="D", help="PNGs of the predictions (default: as the JSON file)"
    )
    subcommand.add_argument("--title", help="of the report (default: the name of PREDICTIONS)")
    subcommand.add_argument(
        "--longest-side",
        type=int,
        default=LONGEST_SIDE,
        metavar="N",
        help=f"larger images are made smaller, in pixels (default: {LONGEST_SIDE})",
    )
    subcommand.add_argument("--overwrite", action="store_true", help="replace an earlier report")
    subcommand.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.gt_dir is not None and options.gt is None:
        raise SettingsError("--gt-dir names the PNGs of an annotation; name its JSON file by --gt")
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
