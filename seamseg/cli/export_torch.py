"""``seamseg export-torch``: a network for programs that have PyTorch but not this package."""

from __future__ import annotations

import argparse
from typing import Any

from seamseg.cli.export_arguments import add_arguments, prepared, say_written
from seamseg.export.graph_files import write_torch


def add_parser(subcommands: Any) -> None:
    """Adds the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "export-torch",
        help="write a network as an exported program of PyTorch",
        description="Writes a network for images of one size for torch.export.load, needing PyTorch and torchvision "
        "but not seamseg: an image goes in, the class of every pixel and a fixed number of objects come out. "
        "docs/export.md shows how to run it.",
    )
    add_arguments(subcommand, ".pt2")
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    program, description = prepared(options)
    write_torch(options.out, program, description)
    say_written(options.out, description)
    return 0
