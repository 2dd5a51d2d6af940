"""``seamseg export-model``: a trained model as a folder to hand on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from seamseg.builders import export_model


def add_parser(subcommands: Any) -> None:
    """Adds the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "export-model",
        help="write a model as a folder to hand on or to upload",
        description="Writes the best model of a run as a folder: model.safetensors, config.yaml, categories.json, "
        "SHA256SUMS and README.md, a model card with data, settings, scores and command; its license is left to you. "
        "The layout is that of the Hugging Face Hub: `hf upload USER/NAME OUT` publishes it. Paths of this machine "
        "are left out.",
    )
    subcommand.add_argument(
        "model", type=Path, metavar="RUN", help="a run folder, or whatever else `seamseg predict` takes as a model"
    )
    subcommand.add_argument(
        "out", type=Path, metavar="OUT", help="folder of the result; made, or empty; names the model"
    )
    subcommand.add_argument("--overwrite", action="store_true", help="replace the model folder OUT")
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    export_model(options.model, options.out, options.overwrite)
    print(f"exported: {options.out}")
    return 0
