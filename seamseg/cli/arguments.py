"""Arguments that several subcommands share, and parsers of their values."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from seamseg.algos.merging import MERGES

Arguments = argparse.ArgumentParser | argparse._ArgumentGroup
"""What arguments are added to: the parser of a subcommand, or a group of its arguments."""


def add_model(arguments: Arguments) -> None:
    """Add ``MODEL``, a trained network of any task except classification."""
    accepted = (
        "run folder, model folder, file such as model.safetensors, hf://ORG/NAME[@REVISION] on the Hugging Face Hub, "
        "published seamseg archive (.zip), or published semantic model (.pth.tar)"
    )
    arguments.add_argument("model", type=Path, metavar="MODEL", help=accepted)


def add_out(arguments: Arguments, meaning: str, metavar: str = "OUT") -> None:
    """Add ``OUT``, the file or folder to write."""
    arguments.add_argument("out", type=Path, metavar=metavar, help=meaning)


def add_device(arguments: Arguments) -> None:
    """Add ``--device``."""
    devices = "cpu, cuda (one GPU per process) or a single GPU such as cuda:1 (default: cuda if available, else cpu)"
    arguments.add_argument("--device", help=devices)


def add_json(arguments: Arguments, content: str) -> None:
    """Add ``--json FILE``, where ``content`` names the figures that are written."""
    arguments.add_argument(
        "--json", type=Path, metavar="FILE", help=f"write the {content} as JSON to FILE, in the range 0 to 1"
    )


def add_png_folders(arguments: Arguments, predictions: str) -> None:
    """Add ``--gt-dir`` and ``--pred-dir``, the folders of PNGs; ``predictions`` names the file beside the latter."""
    for option, pngs, beside in (("--gt-dir", "annotation", "GT.json"), ("--pred-dir", "prediction", predictions)):
        meaning = f"folder of the {pngs} PNGs (default: {beside} without its suffix)"
        arguments.add_argument(option, type=Path, metavar="DIR", help=meaning)


def add_workers(arguments: Arguments) -> None:
    """Add ``--workers``, the number of processes."""
    arguments.add_argument("--workers", type=int, metavar="N", help="number of processes (default: one per CPU core)")


def add_overwrite(arguments: Arguments, effect: str) -> None:
    """Add ``--overwrite``, where ``effect`` says what it does to existing results."""
    arguments.add_argument("--overwrite", action="store_true", help=effect)


def add_eval_norm(arguments: Arguments) -> None:
    """Add ``--eval-norm``, the share of an image's own statistics in the norms."""
    share = (
        "share of each image's own statistics in its norms, 0 to 1; 1/M suits a model that was trained with M images "
        "at a time and norm.name=bn (default: 0, the statistics of the training)"
    )
    arguments.add_argument("--eval-norm", type=float, default=0.0, metavar="SHARE", help=share)


def add_compile(arguments: Arguments) -> None:
    """Add ``--compile``."""
    effect = (
        "compile the network with torch.compile, once for images of all sizes: minutes at the start, for many images; "
        "needs a C++ compiler"
    )
    arguments.add_argument("--compile", action="store_true", help=effect)


def add_augmentation(arguments: Arguments) -> None:
    """Add ``--scales``, ``--flip`` and ``--merge``: test-time augmentation."""
    scales = "factors on the input size, whose predictions are merged, such as 0.75,1,1.25 (default: 1)"
    arguments.add_argument("--scales", type=numbers, default=(1.0,), metavar="S,…", help=scales)
    arguments.add_argument("--flip", action="store_true", help="also predict on the mirrored image and merge")
    merge = (
        "how --scales and --flip merge class scores: the mean of the logits, or, at the size of the image, the mean or "
        "maximum of the probabilities, or a vote of each prediction for a class (default: logits); only for models "
        "with a semantic head"
    )
    arguments.add_argument("--merge", choices=MERGES, default="logits", help=merge)


def add_tiles(arguments: Arguments) -> None:
    """Add ``--tile`` and ``--overlap``."""
    tile = (
        "predict large images in overlapping tiles of this many pixels, and join objects across tiles; each tile is "
        "resized like an image (default: whole images)"
    )
    arguments.add_argument("--tile", type=tile_size, metavar="SIDE|HxW", help=tile)
    overlap = "minimum overlap of neighboring tiles in pixels (default: a quarter of the tile's shorter side)"
    arguments.add_argument("--overlap", type=at_least_zero, metavar="PIXELS", help=overlap)


def at_least_one(text: str) -> int:
    """Parse an integer >= 1."""
    return _at_least(1, text)


def at_least_zero(text: str) -> int:
    """Parse an integer >= 0."""
    return _at_least(0, text)


def numbers(text: str) -> tuple[float, ...]:
    """Parse comma-separated numbers."""
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a comma-separated list of numbers, such as 0.75,1,1.25"
        ) from None


def image_size(text: str) -> tuple[int, int]:
    """Parse height and width from a text such as ``256x512``."""
    with contextlib.suppress(ValueError):
        height, width = text.lower().split("x")
        return int(height), int(width)
    raise argparse.ArgumentTypeError(f"{text!r} is not of the form HxW, such as 256x512")


def tile_size(text: str) -> tuple[int, int]:
    """Parse the side of a square such as ``1024``, or height and width such as ``768x1024``."""
    if text.isdecimal():
        return int(text), int(text)
    with contextlib.suppress(argparse.ArgumentTypeError):
        return image_size(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither a number of pixels, such as 1024, nor of the form HxW")


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} must be an integer >= {least}")
    return int(text)
