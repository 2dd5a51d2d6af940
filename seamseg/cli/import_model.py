"""``seamseg import-model``: a published seamseg model as a folder of ours."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from seamseg.builders import import_model


def add_parser(subcommands: Any) -> None:
    """Adds the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "import-model",
        help="turn a published seamseg model into a model folder",
        description="Reads a model that the authors of Seamless Scene Segmentation published (or that their program "
        "trained), without running any code in it, and writes a folder: model.safetensors, config.yaml, "
        "categories.json and SHA256SUMS. What has no counterpart here is told. `seamseg predict` and `seamseg "
        "evaluate` also take the archive as it is.",
    )
    subcommand.add_argument(
        "source",
        type=Path,
        metavar="ARCHIVE",
        help="the zip archive, or a folder with config.ini, metadata.bin and the snapshot (.tar, .pth, .pt)",
    )
    subcommand.add_argument("out", type=Path, metavar="OUT", help="folder of the result; made, or empty")
    subcommand.add_argument("--overwrite", action="store_true", help="replace the model folder OUT")
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    for note in import_model(options.source, options.out, options.overwrite):
        print(note, file=sys.stderr)
    print(f"imported: {options.out}")
    return 0
