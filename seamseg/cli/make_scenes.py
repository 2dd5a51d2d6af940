"""``seamseg make-scenes``: write a synthetic data set."""

from __future__ import annotations

import argparse
from typing import Any

from seamseg.cli.arguments import add_out, image_size
from seamseg.io.progress import progress_bar
from seamseg.scenes import write_scenes


def add_parser(subcommands: Any) -> None:
    """Add the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "make-scenes",
        help="write a synthetic street-scene data set",
        description="Draw synthetic street scenes and write them with their annotation in COCO panoptic format, with "
        "the splits train and val. The same arguments give the same bytes.",
    )
    add_out(subcommand, "output data set folder; created if missing")
    subcommand.add_argument(
        "--train", type=int, default=400, metavar="N", help="number of training scenes (default: 400)"
    )
    subcommand.add_argument(
        "--val", type=int, default=40, metavar="N", help="number of validation scenes (default: 40)"
    )
    subcommand.add_argument(
        "--size",
        type=image_size,
        default=(256, 512),
        metavar="HxW",
        help="height and width of the images in pixels (default: 256x512)",
    )
    subcommand.add_argument(
        "--seed", type=int, default=0, metavar="N", help="random seed, an integer >= 0 (default: 0)"
    )
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    with progress_bar("drawing scenes", options.train + options.val) as advance:
        write_scenes(
            options.out,
            options.train,
            options.val,
            options.size,
            options.seed,
            progress=lambda done, total: advance(done, ""),
        )
    print(f"{options.train} + {options.val} scenes: {options.out}")
    return 0
