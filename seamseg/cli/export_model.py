"""``seamseg export-model``: write a trained model as a folder to share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from seamseg.builders import export_model
from seamseg.cli.arguments import add_overwrite


def add_parser(subcommands: Any) -> None:
    """Add the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "export-model",
        help="write a model as a folder to share or upload",
        description="Write the best model of a run as a folder: model.safetensors, config.yaml, categories.json, "
        "SHA256SUMS, and a model card (README.md) with data, settings, scores and training command. Fill in the "
        "license yourself. The layout is that of the Hugging Face Hub: `hf upload USER/NAME OUT` publishes it. Paths "
        "of this machine are removed.",
    )
    subcommand.add_argument(
        "model", type=Path, metavar="RUN", help="run folder, or any other model that `seamseg predict` accepts"
    )
    subcommand.add_argument(
        "out",
        type=Path,
        metavar="OUT",
        help="output folder; must be empty or missing; its name becomes the name of the model",
    )
    add_overwrite(subcommand, "replace an existing model folder OUT")
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    export_model(options.model, options.out, options.overwrite)
    print(f"exported: {options.out}")
    return 0
