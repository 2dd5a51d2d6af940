"""Arguments and steps shared by ``export-onnx`` and ``export-torch``."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from seamseg import __version__
from seamseg.builders import LoadedModel, open_model
from seamseg.cli.arguments import add_overwrite
from seamseg.errors import ModelError, OutputError
from seamseg.export import numpy_fusion
from seamseg.export.fixed_network import FixedSizeNet
from seamseg.export.graph_files import output_names, trace
from seamseg.export.hub_models import model_name
from seamseg.export.numpy_fusion import OUTPUTS, Description
from seamseg.networks import PyramidNet
from seamseg.structures import Size

MIN_SIDE, MAX_SIDE = 32, 8192


def add_arguments(subcommand: Any, suffix: str) -> None:
    """Add the arguments of both subcommands.

    Args:
        subcommand: Parser of the subcommand.
        suffix: Suffix of the output file, for the help text.
    """
    subcommand.add_argument(
        "model", type=Path, metavar="MODEL", help="run folder, model folder, or file such as model.safetensors"
    )
    subcommand.add_argument(
        "out", type=Path, metavar="OUT", help=f"output file, such as model{suffix}; its folder must exist"
    )
    subcommand.add_argument(
        "--size",
        type=parse_size,
        metavar="HxW",
        help=f"height and width of the input images, {MIN_SIDE} to {MAX_SIDE} pixels each, such as 512x1024 (default: "
        "the model's shortest side as height, and twice that as width, limited by its longest side)",
    )
    add_overwrite(subcommand, "replace OUT if it exists")


def parse_size(text: str) -> Size:
    """Parse height and width from a text such as ``512x1024``."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not HxW with {MIN_SIDE} to {MAX_SIDE} pixels each, such as 512x1024"
        )
    return size


def trace_model(options: argparse.Namespace) -> tuple[ExportedProgram, Description]:
    """Open the model and trace it at a fixed input size.

    Args:
        options: Parsed options of the subcommand.

    Returns:
        The traced program and the description to store with it.

    Raises:
        SeamsegError: The model cannot be opened, OUT exists, or the folder of OUT does not exist.
    """
    if options.out.is_dir():
        raise OutputError(f"{options.out} is a folder; name a file")
    if options.out.exists() and not options.overwrite:
        raise OutputError(f"{options.out} already exists; pass --overwrite to replace it, or name another file")
    if not options.out.parent.is_dir():
        raise OutputError(f"the folder {options.out.parent} does not exist; create it, or name another file")
    model = open_model(options.model, torch.device("cpu"))
    if not isinstance(model.network, PyramidNet):
        raise ModelError(
            f"{model_name(options.model)} is a semantic model with sem.head=deeplab, whose norms cannot be folded into "
            "convolutions for an export; predict with `seamseg predict` or seamseg.load_model"
        )
    size = options.size or default_size(model.transform.shortest_side, model.transform.longest_side)
    program = trace(FixedSizeNet(model.network, model.transform.normalize, size))
    return program, describe(model, size)


def print_written(out: Path, program: ExportedProgram, description: Description) -> None:
    """Print the path of the written file, its outputs, and what turns those of a panoptic network into segments."""
    print(f"exported for images of {description.height}×{description.width} pixels: {out}")
    names = output_names(program)
    if set(OUTPUTS) <= set(names):
        print(f"panoptic fusion of its outputs, requires only NumPy: {numpy_fusion.__file__}")
    else:
        print(f"outputs: {', '.join(names)}")


def default_size(shortest_side: int, longest_side: int) -> Size:
    """Return the input size for an image twice as wide as high, limited by the longest side."""
    return min(shortest_side, longest_side), min(2 * shortest_side, longest_side)


def describe(model: LoadedModel, size: Size) -> Description:
    """Build the description to store with an exported model of this input size."""
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
