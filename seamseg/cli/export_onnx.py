"""``seamseg export-onnx``: export a network for programs without PyTorch."""

from __future__ import annotations

import argparse
from typing import Any

from seamseg.cli.export_arguments import add_arguments, print_written, trace_model
from seamseg.export.graph_files import check_onnx, write_onnx


def add_parser(subcommands: Any) -> None:
    """Add the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "export-onnx",
        help="export a network to ONNX",
        description="Export a network for images of one size to ONNX. Its input is an image; its outputs are the class "
        "of every pixel and a fixed number of objects, as far as the task has them. docs/export.md shows how to run it "
        "and how to fuse the outputs with NumPy.",
    )
    add_arguments(subcommand, ".onnx")
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    check_onnx()
    program, description = trace_model(options)
    write_onnx(options.out, program, description)
    print_written(options.out, program, description)
    return 0
