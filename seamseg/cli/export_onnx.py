"""``seamseg export-onnx``: a network for programs without PyTorch."""

from __future__ import annotations

import argparse
from typing import Any

from seamseg.cli.export_arguments import add_arguments, prepared, say_written
from seamseg.export.graph_files import check_onnx, write_onnx


def add_parser(subcommands: Any) -> None:
    """Adds the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "export-onnx",
        help="write a network as an ONNX file",
        description="Writes a network for images of one size as an ONNX file: an image goes in, the class of every "
        "pixel and a fixed number of objects come out. docs/export.md says how to run it, and how to fuse them by "
        "numpy.",
    )
    add_arguments(subcommand, ".onnx")
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    check_onnx()
    program, description = prepared(options)
    write_onnx(options.out, program, description)
    say_written(options.out, description)
    return 0
