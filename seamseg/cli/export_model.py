"""``seamseg export-model``: write a trained model as a folder to share, and upload it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from seamseg import __version__
from seamseg.builders import Publication, build_predictor, export_model, open_model
from seamseg.cli.arguments import add_overwrite
from seamseg.errors import SettingsError
from seamseg.export.hub_models import plan_upload, push_folder
from seamseg.export.model_folder import ALL_FILES, EXAMPLE_FILE
from seamseg.io.files import check_free
from seamseg.predict.images import read_within_limit
from seamseg.visualization.images import encode_image, resize_picture
from seamseg.visualization.objects import draw

EXAMPLE_SIDE = 1280
"""Maximum side of the picture of a model card in pixels."""


def add_parser(subcommands: Any) -> None:
    """Add the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "export-model",
        help="write a model as a folder to share or upload",
        description="Write the best model of a run as a folder: model.safetensors, config.yaml, categories.json, "
        "SHA256SUMS, and a model card (README.md) with data, settings, scores and training command. --push uploads it "
        "to the Hugging Face Hub in one commit, where `hf://ORG/NAME` names it. Paths of this machine are removed.",
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
    subcommand.add_argument(
        "--license",
        metavar="ID",
        help="license of the weights, an id of the Hub such as cc-by-4.0; the license of the training images may "
        "restrict it (default: a line of the card to fill in)",
    )
    subcommand.add_argument(
        "--example",
        type=Path,
        metavar="IMAGE",
        help="image that you may publish: the model card shows it with the prediction (default: no picture)",
    )
    subcommand.add_argument(
        "--push",
        metavar="ORG/NAME",
        help="upload the folder to this repository of the Hugging Face Hub, which is created if missing; needs the "
        "package huggingface_hub, and a token of `hf auth login`",
    )
    subcommand.add_argument("--private", action="store_true", help="create a private repository; only with --push")
    add_overwrite(subcommand, "replace an existing model folder OUT and, with --push, the same files in the repository")
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    if options.private and not options.push:
        raise SettingsError("--private is for --push ORG/NAME; pass both")
    check_free(options.out, ALL_FILES if options.overwrite else None)
    names = [name for name in ALL_FILES if name != EXAMPLE_FILE or options.example]
    upload = plan_upload(options.push, options.private, names, options.overwrite) if options.push else None
    example = example_picture(options.model, options.example) if options.example else None
    publication = Publication(options.license, example, options.push)
    export_model(options.model, options.out, options.overwrite, publication)
    print(f"exported: {options.out}")
    if upload is not None:
        print(f"uploaded: {push_folder(options.out, names, upload, f'Upload model with seamseg {__version__}')}")
        if options.license is None:
            print("the model card states no license; add one on the Hub, or pass --license ID", file=sys.stderr)
    return 0


def example_picture(model: Path, path: Path) -> bytes:
    """Return a JPEG file of an image with the model's prediction drawn over it."""
    loaded, device = open_model(model, torch.device("cpu")), torch.device("cpu")
    predictor, picture = build_predictor(loaded, device), read_within_limit(path)
    (found,) = predictor.predict([predictor.prepare(picture)])
    overlay = draw(picture, found.drawn(), loaded.output_categories)
    factor = EXAMPLE_SIDE / max(overlay.shape)
    if factor < 1:
        overlay = resize_picture(
            overlay, (max(1, round(overlay.shape[0] * factor)), max(1, round(overlay.shape[1] * factor)))
        )
    return encode_image(Path(EXAMPLE_FILE), overlay)
