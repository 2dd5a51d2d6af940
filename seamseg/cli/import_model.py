"""``seamseg import-model``: convert a published model to a model folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from seamseg.builders import import_model
from seamseg.cli.arguments import add_out, add_overwrite


def add_parser(subcommands: Any) -> None:
    """Add the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "import-model",
        help="convert a published model to a model folder",
        description="Convert a model that the authors of Seamless Scene Segmentation published, or that their program "
        "trained, or the semantic model published with In-Place ABN, to a model folder: model.safetensors, "
        "config.yaml, categories.json and SHA256SUMS. No code in the file is run. Settings without a counterpart are "
        "reported. `seamseg predict` and `seamseg evaluate` also accept the file directly.",
    )
    subcommand.add_argument(
        "source",
        type=Path,
        metavar="PUBLISHED",
        help="zip archive, folder with config.ini, metadata.bin and the snapshot (.tar, .pth or .pt), or file of the "
        "semantic model (.pth.tar)",
    )
    add_out(subcommand, "output folder; must be empty or missing")
    add_overwrite(subcommand, "replace an existing model folder OUT")
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    for note in import_model(options.source, options.out, options.overwrite):
        print(note, file=sys.stderr)
    print(f"imported: {options.out}")
    return 0
