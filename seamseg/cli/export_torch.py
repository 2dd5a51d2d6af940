"""``seamseg export-torch``: export a network for programs that have PyTorch but not this package."""

from __future__ import annotations

import argparse
from typing import Any

from seamseg.cli.export_arguments import add_arguments, print_written, trace_model
from seamseg.export.graph_files import write_torch


def add_parser(subcommands: Any) -> None:
    """Add the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "export-torch",
        help="export a network as a PyTorch exported program (.pt2)",
        description="Export a network as a program for torch.export.load, which requires PyTorch and torchvision but "
        "not seamseg. Its input is a batch of images; its outputs are the class of every pixel and a fixed number of "
        "objects, as far as the task has them. docs/export.md shows how to run it.",
    )
    add_arguments(subcommand, ".pt2")
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    program, description = trace_model(options)
    write_torch(options.out, program, description)
    print_written(options.out, program, description)
    return 0
