"""Source formats of ``seamseg convert``, and arguments that several of them share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamseg.cli.arguments import add_out
from seamseg.convert.job import Job


@dataclass(frozen=True)
class SourceFormat:
    """One conversion, as a subcommand of ``seamseg convert``.

    Attributes:
        name: Name of the subcommand.
        help: One line for the list of subcommands.
        description: Text above the arguments in ``--help``.
        add_arguments: Function that adds the arguments of this conversion.
        jobs: Function that builds the jobs, one per split, from the parsed options.
    """

    name: str
    help: str
    description: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    jobs: Callable[[argparse.Namespace], list[Job[Any]]]


def add_folders(parser: argparse.ArgumentParser, source_help: str) -> None:
    """Add ``SRC`` and ``OUT``."""
    parser.add_argument("source_folder", type=Path, metavar="SRC", help=source_help)
    add_out(parser, "output folder; created if missing")


def add_splits(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--split``, which may be repeated, where ``default`` names the splits without it."""
    parser.add_argument(
        "--split",
        action="append",
        default=[],
        metavar="NAME",
        help=f"convert only this split; may be repeated (default: {default})",
    )


def add_placement(parser: argparse.ArgumentParser) -> None:
    """Add ``--images``, whether images are linked or copied."""
    parser.add_argument(
        "--images",
        choices=("link", "copy"),
        default="link",
        help="whether OUT links to the images or contains copies of them (default: link)",
    )


def add_without_outline(parser: argparse.ArgumentParser, *, with_boxes: bool = True) -> None:
    """Add ``--without-outline``, the treatment of objects without a usable outline, which may have a box."""
    remedies = (
        "stop with an error, skip them, or use their boxes instead"
        if with_boxes
        else "stop with an error, or skip them"
    )
    parser.add_argument(
        "--without-outline",
        choices=("error", "skip", "box") if with_boxes else ("error", "skip"),
        default="error",
        help=f"what to do with objects whose outline is missing or malformed: {remedies} (default: error)",
    )


def add_val_every(parser: argparse.ArgumentParser, split: str) -> None:
    """Add ``--val-every``, where ``split`` names the split of the other images."""
    parser.add_argument(
        "--val-every",
        type=int,
        metavar="N",
        help=f"put every N-th image, sorted by name, into the split val, and the others into {split}",
    )
