"""``seamseg make-scenes``: write a synthetic data set of images or short videos."""

from __future__ import annotations

import argparse
from typing import Any

from seamseg.cli.arguments import add_out, image_size
from seamseg.errors import SettingsError
from seamseg.io.progress import progress_bar
from seamseg.scenes import write_drives, write_scenes


def add_parser(subcommands: Any) -> None:
    """Add the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "make-scenes",
        help="write a synthetic street-scene data set",
        description="Draw synthetic street scenes and write them with their annotation in COCO panoptic format, with "
        "the splits train and val. The same arguments give the same bytes. With --video, draw short drives in which "
        "the camera, cars and people move. Their frames are the images of the data set, and "
        "annotations/video_SPLIT.json has the identities in VIPSeg's layout.",
    )
    add_out(subcommand, "output data set folder; created if missing")
    subcommand.add_argument("--video", action="store_true", help="draw drives instead of single images")
    subcommand.add_argument(
        "--train", type=int, metavar="N", help="number of training scenes (default: 400), or of drives (default: 16)"
    )
    subcommand.add_argument(
        "--val", type=int, metavar="N", help="number of validation scenes (default: 40), or of drives (default: 4)"
    )
    subcommand.add_argument(
        "--frames", type=int, metavar="N", help="number of frames of a drive, 10 per second (default: 24)"
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
    if options.frames is not None and not options.video:
        raise SettingsError("--frames is the length of drives; add --video, or leave it out")
    train, val = (
        usual if given is None else given
        for given, usual in zip((options.train, options.val), (16, 4) if options.video else (400, 40), strict=True)
    )
    num_frames = 24 if options.frames is None else options.frames
    with progress_bar("drawing scenes", (train + val) * (num_frames if options.video else 1)) as advance:

        def progress(done: int, total: int) -> None:
            advance(done, "")

        if options.video:
            write_drives(options.out, train, val, num_frames, options.size, options.seed, progress)
        else:
            write_scenes(options.out, train, val, options.size, options.seed, progress)
    drives = f" of {num_frames} frames" if options.video else ""
    print(f"{train} + {val} {'drives' if options.video else 'scenes'}{drives}: {options.out}")
    return 0
