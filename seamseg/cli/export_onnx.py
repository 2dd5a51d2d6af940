"""``seamseg export-onnx``: export a network for programs without PyTorch."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from seamseg.cli.export_arguments import add_arguments, print_written, trace_model
from seamseg.data.image_size import image_size
from seamseg.data.images import find_images
from seamseg.errors import SettingsError
from seamseg.export.graph_files import check_onnx, write_onnx

NUM_CALIBRATION = 64
"""Maximum number of calibration images, unless another one is given."""


def add_parser(subcommands: Any) -> None:
    """Add the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "export-onnx",
        help="export a network to ONNX",
        description="Export a network to ONNX, for ONNX Runtime, OpenVINO and TensorRT. Its input is a batch of "
        "images; its outputs are the class of every pixel and a fixed number of objects, as far as the task has them. "
        "docs/export.md shows how to run it and how to fuse the outputs with NumPy.",
    )
    add_arguments(subcommand, ".onnx")
    subcommand.add_argument(
        "--int8", action="store_true", help="compute most layers with 8-bit integers; requires --calibration"
    )
    subcommand.add_argument(
        "--calibration",
        type=Path,
        metavar="IMAGES",
        help="images like those that the network will get, whose activations set the ranges of the integers: a folder "
        "or a .txt list; training images are suitable",
    )
    subcommand.add_argument(
        "--num-calibration",
        type=int,
        metavar="N",
        help=f"maximum number of images to use of these, at equal intervals (default: {NUM_CALIBRATION})",
    )
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    check_onnx(("onnx", "onnxscript", *(["onnxruntime"] if options.int8 else [])))
    images = calibration_images(options)
    program, description = trace_model(options)
    if not options.int8:
        write_onnx(options.out, program, description)
    else:
        from seamseg.export.quantization import quantize  # imports optional packages

        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "float32.onnx"
            write_onnx(source, program, description)
            quantize(source, options.out, images)
    print_written(options.out, program, description)
    return 0


def calibration_images(options: argparse.Namespace) -> list[Path]:
    """Return the images that set the ranges of the integers; none for a network in float32.

    Raises:
        SeamsegError: Options contradict each other, there are no images, or one of them is missing or not an image.
        OSError: The path of the images does not exist.
    """
    if options.int8 != (options.calibration is not None):
        raise SettingsError("--int8 and --calibration IMAGES belong together; pass both or neither")
    if options.num_calibration is not None and not options.int8:
        raise SettingsError("--num-calibration requires --int8 and --calibration IMAGES")
    if options.num_calibration is not None and options.num_calibration < 1:
        raise SettingsError(f"--num-calibration must be at least 1, but is {options.num_calibration}")
    if options.calibration is None:
        return []
    paths = find_images(options.calibration).paths
    number = min(len(paths), options.num_calibration or NUM_CALIBRATION)
    chosen = [paths[index * len(paths) // number] for index in range(number)]
    for path in chosen:
        image_size(path)  # report a wrong file now rather than after minutes of tracing
    return chosen
