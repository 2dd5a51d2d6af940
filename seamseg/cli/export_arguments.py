"""What the subcommands that export a network have in common."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from seamseg import __version__
from seamseg.builders import LoadedModel, open_model
from seamseg.errors import OutputError
from seamseg.export import numpy_fusion
from seamseg.export.fixed_network import FixedSizeNet
from seamseg.export.graph_files import trace
from seamseg.export.numpy_fusion import Description
from seamseg.structures import Size

MIN_SIDE, MAX_SIDE = 32, 8192


def add_arguments(subcommand: Any, suffix: str) -> None:
    """Adds the arguments of both subcommands."""
    subcommand.add_argument(
        "model", type=Path, metavar="MODEL", help="a run folder, or a file such as model.safetensors"
    )
    subcommand.add_argument("out", type=Path, metavar="OUT", help=f"the file to write, such as model{suffix}")
    subcommand.add_argument(
        "--size",
        type=parse_size,
        metavar="HxW",
        help="height and width of the images in pixels; default: the model's shortest side, twice as wide",
    )
    subcommand.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")


def parse_size(text: str) -> Size:
    """Height and width from such as ``512x1024``."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no HxW of {MIN_SIDE} to {MAX_SIDE} pixels each, such as 512x1024"
        )
    return size


def prepared(options: argparse.Namespace) -> tuple[ExportedProgram, Description]:
    """The model of the options as a graph, and what goes with it.

    Raises:
        SeamsegError: there is no such model, or OUT is there already or in no folder.
    """
    if options.out.is_dir():
        raise OutputError(f"{options.out} is a folder: name the file to write")
    if options.out.exists() and not options.overwrite:
        raise OutputError(f"{options.out} exists: replace it by --overwrite, or name another file")
    if not options.out.parent.is_dir():
        raise OutputError(f"the folder {options.out.parent} does not exist: make it first, or name another file")
    model = open_model(options.model, torch.device("cpu"))
    size = options.size or default_size(model.transform.shortest_side, model.transform.longest_side)
    program = trace(FixedSizeNet(model.network, model.transform.normalize, size))
    return program, describe(model, size)


def say_written(out: Path, description: Description) -> None:
    """Tells what was written, and where to find the other half of the work."""
    print(f"a network for images of {description.height}×{description.width} pixels: {out}")
    print(f"what makes segments of its outputs, with numpy alone: {numpy_fusion.__file__}")


def default_size(shortest_side: int, longest_side: int) -> Size:
    """Of a street image twice as wide as high."""
    return min(shortest_side, longest_side), min(2 * shortest_side, longest_side)


def describe(model: LoadedModel, size: Size) -> Description:
    """What belongs to an exported model."""
    categories, fusion = model.categories, model.fusion
    return Description(
        height=size[0],
        width=size[1],
        names=categories.names,
        colors=categories.colors,
        original_ids=tuple(category.original_id for category in categories.classes),
        num_stuff=fusion.num_stuff,
        score_threshold=fusion.score_threshold,
        overlap_threshold=fusion.overlap_threshold,
        min_stuff_area=fusion.min_stuff_area,
        version=__version__,
    )
