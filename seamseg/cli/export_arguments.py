"""Arguments and steps shared by ``export-onnx`` and ``export-torch``."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch.export import ExportedProgram

from seamseg import __version__
from seamseg.builders import LoadedModel, open_model
from seamseg.cli.arguments import add_overwrite
from seamseg.errors import ModelError, OutputError
from seamseg.export import numpy_fusion
from seamseg.export.fixed_network import SIZE_MULTIPLE, ExportableNet
from seamseg.export.graph_files import MAX_BATCH, MAX_SIDE, output_names, trace
from seamseg.export.hub_models import model_name
from seamseg.export.numpy_fusion import OUTPUTS, Description
from seamseg.networks import PyramidNet
from seamseg.structures import Size

MIN_SIDE = 32
DYNAMIC: Final = "dynamic"


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
        help=f"height and width of the input images, {MIN_SIDE} to {MAX_SIDE} pixels each, such as 512x1024, or "
        f"{DYNAMIC} for all multiples of {SIZE_MULTIPLE} from {2 * SIZE_MULTIPLE} to {MAX_SIDE}; exporting then "
        "takes a minute (default: the model's shortest side as height, and twice that as width, limited by its "
        "longest side)",
    )
    subcommand.add_argument(
        "--batch",
        type=parse_batch,
        default=1,
        metavar="N",
        help=f"number of images at a time, 1 to {MAX_BATCH}, or {DYNAMIC} for any of them (default: 1)",
    )
    add_overwrite(subcommand, "replace OUT if it exists")


def parse_size(text: str) -> Size | Literal["dynamic"]:
    """Parse height and width from a text such as ``512x1024``, or the word ``dynamic``."""
    if text == DYNAMIC:
        return DYNAMIC
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not HxW with {MIN_SIDE} to {MAX_SIDE} pixels each, such as 512x1024, or {DYNAMIC}"
        )
    return size


def parse_batch(text: str) -> int | None:
    """Parse a number of images; the word ``dynamic`` gives None."""
    if text == DYNAMIC:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= MAX_BATCH:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from 1 to {MAX_BATCH}, or {DYNAMIC}")
    return int(text)


def trace_model(options: argparse.Namespace) -> tuple[ExportedProgram, Description]:
    """Open the model and trace it for the chosen sizes and numbers of images.

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
    fixed = None if size == DYNAMIC else size
    program = trace(ExportableNet(model.network, model.transform.normalize, fixed), options.batch)
    return program, describe(model, fixed, options.batch)


def print_written(out: Path, program: ExportedProgram, description: Description) -> None:
    """Print the path of the written file, its outputs, and what turns panoptic outputs into segments."""
    sizes = "all sizes" if description.height is None else f"{description.height}×{description.width} pixels"
    batches = "any number" if description.batch is None else str(description.batch)
    size_mb = out.stat().st_size / 1e6
    print(f"exported for images of {sizes}, {batches} at a time: {out} ({size_mb:.1f} MB)")
    names = output_names(program)
    if set(OUTPUTS) <= set(names):
        print(f"panoptic fusion of its outputs, requires only NumPy: {numpy_fusion.__file__}")
    else:
        print(f"outputs: {', '.join(names)}")


def default_size(shortest_side: int, longest_side: int) -> Size:
    """Return the input size for an image twice as wide as high, limited by the longest side."""
    return min(shortest_side, longest_side), min(2 * shortest_side, longest_side)


def describe(model: LoadedModel, size: Size | None, batch: int | None) -> Description:
    """Build the description to store with an exported model of this input size and number of images."""
    categories, fusion = model.categories, model.fusion
    return Description(
        height=size[0] if size else None,
        width=size[1] if size else None,
        batch=batch,
        size_multiple=SIZE_MULTIPLE,
        shortest_side=model.transform.shortest_side,
        longest_side=model.transform.longest_side,
        names=categories.names,
        colors=categories.colors,
        original_ids=tuple(category.original_id for category in categories.classes),
        num_stuff=fusion.num_stuff,
        score_threshold=fusion.score_threshold,
        overlap_threshold=fusion.overlap_threshold,
        min_stuff_area=fusion.min_stuff_area,
        version=__version__,
    )
