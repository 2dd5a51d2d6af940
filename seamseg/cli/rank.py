"""``seamseg rank``: order images without annotation by the expected error of a model."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from rich.table import Table

from seamseg.cli import predict
from seamseg.cli.arguments import add_device, add_model, add_out, add_overwrite, at_least_one
from seamseg.cli.output import counted, plain_console
from seamseg.errors import SettingsError
from seamseg.io.files import write_text
from seamseg.metrics.scores import percent
from seamseg.predict.images import find_input_images
from seamseg.predict.results_folder import RANKING_FILE, TOP_FILE
from seamseg.predict.video_file import is_video


def add_parser(subcommands: Any) -> None:
    """Add the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "rank",
        help="order images by expected error, to label the worst first",
        description="Predict on images without annotation and order them by the error that the model expects: 1 - PQ, "
        f"if its scores and class probabilities are exact. Writes OUT/{RANKING_FILE}, all images with their errors, "
        f"and OUT/{TOP_FILE}, the paths of the first ones: a list for `seamseg predict --write labelstudio,cvat`, "
        "whose results can be corrected in a labeling tool.",
    )
    add_model(subcommand)
    subcommand.add_argument(
        "images", type=Path, metavar="IMAGES", help="folder (searched recursively) or .txt list of images"
    )
    add_out(subcommand, "output folder; created if missing")
    subcommand.add_argument(
        "--top",
        type=at_least_one,
        default=20,
        metavar="N",
        help=f"number of images to print and to write to {TOP_FILE} (default: 20)",
    )
    used = subcommand.add_mutually_exclusive_group()
    used.add_argument("--resume", action="store_true", help="continue an interrupted run with the same options")
    add_overwrite(used, "overwrite existing results in OUT")
    add_device(subcommand)
    predict.add_batch_size(subcommand)
    predict.add_prediction_arguments(subcommand)
    subcommand.set_defaults(run=run, write=("ranking",), track=False, track_gap=None, tile=None, overlap=None)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    if is_video(options.images):
        raise SettingsError(f"{options.images} is a video; extract its frames and pass their folder")
    exit_code = predict.run(options)
    if os.environ.get("RANK", "0") == "0":  # with torchrun, the first process has merged the results of all
        report(options, json.loads((options.out / RANKING_FILE).read_bytes()))
    return exit_code


def report(options: argparse.Namespace, ranking: list[dict[str, Any]]) -> None:
    """Write the list of the first images, and print them with their expected errors in percent."""
    first = ranking[: options.top]
    paths = {image.file_name: image.path.absolute() for image in find_input_images(options.images, options.out)}
    write_text(options.out / TOP_FILE, "".join(f"{paths[entry['file_name']]}\n" for entry in first))
    table = Table("image")
    for title in ("expected error", "pixels", "things"):
        table.add_column(title, justify="right")
    for entry in first:
        values = (entry["expected_error"], entry["pixels"], entry["things"])
        table.add_row(entry["file_name"], *("-" if value is None else percent(value) for value in values))
    console = plain_console()
    console.print(table)
    console.print(
        f"the first {counted(len(first), 'image')} of {len(ranking):,}: {options.out / TOP_FILE}", soft_wrap=True
    )
