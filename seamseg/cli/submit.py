"""``seamseg submit`` and the servers that it knows."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamseg.errors import OutputError
from seamseg.io.progress import progress_bar
from seamseg.submit.benchmark import CITYSCAPES, COCO, VISTAS, Benchmark
from seamseg.submit.formats import FormatName, Packer
from seamseg.submit.predictions import category_ids, open_predictions, read_categories
from seamseg.submit.selection import expected_images, select_images
from seamseg.submit.submission import write_submission


@dataclass(frozen=True)
class Kind:
    """One kind of submission on the command line.

    Attributes:
        name, help, description: as people read them.
        benchmark, format: what is written.
        counted: what its files show, in the plural.
        other_versions: whether an annotation may name other categories.
    """

    name: str
    help: str
    description: str
    benchmark: Benchmark
    format: FormatName
    counted: str = "segments"
    other_versions: bool = False


KINDS = (
    Kind(
        "coco",
        "COCO panoptic",
        "Writes panoptic_SET_NAME_results.zip: a folder of PNGs and its JSON file, both called like the archive. SET "
        "is val2017, test-dev2017 or test-challenge2017.",
        COCO,
        "panoptic",
    ),
    Kind(
        "cityscapes-panoptic",
        "Cityscapes, panoptic",
        "Writes a folder of PNGs and its JSON file, both called like the archive, with label ids (road is 7).",
        CITYSCAPES,
        "panoptic",
    ),
    Kind(
        "cityscapes-instances",
        "Cityscapes, objects",
        "Writes CITY_SEQUENCE_FRAME.txt for every frame, one line per object: its mask (masks/*.png), its label id and "
        "its score.",
        CITYSCAPES,
        "instances",
        "objects",
    ),
    Kind(
        "cityscapes-semantic",
        "Cityscapes, classes of pixels",
        "Writes CITY_SEQUENCE_FRAME_labelIds.png for every frame: label ids, 0 where nothing is predicted.",
        CITYSCAPES,
        "semantic",
    ),
    Kind(
        "vistas",
        "Mapillary Vistas, panoptic",
        "Writes a folder of PNGs and its JSON file, both called like the archive, with the ids of panoptic_2018.json "
        "(v1.2); --categories takes those of another version from its annotation.",
        VISTAS,
        "panoptic",
        other_versions=True,
    ),
)


def add_parser(subcommands: Any) -> None:
    """Adds the subcommand, its kinds and their arguments."""
    subcommand = subcommands.add_parser(
        "submit",
        help="turn predictions into what a benchmark server takes",
        description="Makes the archive that the server of a benchmark takes from what `seamseg predict` wrote. Classes "
        "find the server's ids by their names, images by the names of their files. The archive appears whole or "
        "not at all, and the same predictions give the same bytes.",
    )
    kinds = subcommand.add_subparsers(
        title="servers", metavar="SERVER", required=True, help="SERVER --help explains it"
    )
    for kind in KINDS:
        parser = kinds.add_parser(kind.name, help=kind.help, description=kind.description)
        _add_arguments(parser, kind)
        parser.set_defaults(run=run, kind=kind)


def _add_arguments(parser: argparse.ArgumentParser, kind: Kind) -> None:
    parser.add_argument(
        "predictions",
        type=Path,
        metavar="PREDICTIONS",
        help="OUT of `seamseg predict`, or a COCO panoptic JSON file with its folder of PNGs beside it",
    )
    parser.add_argument("out", type=Path, metavar="OUT.zip", help="the archive; its folder is made if needed")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="LIST",
        help="what has to be in it: a JSON file with images, a folder of images or a .txt list; missing ones are "
        "an error, others are left out (default: every prediction)",
    )
    if kind.other_versions:
        parser.add_argument(
            "--categories",
            type=Path,
            metavar="JSON",
            help="an annotation whose categories count (default: v1.2)",
        )
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")
    parser.add_argument("--overwrite", action="store_true", help="replace an archive that is there")


def run(options: argparse.Namespace) -> int:
    kind, out = options.kind, options.out
    _check_out(out, options.overwrite)
    benchmark = kind.benchmark
    if kind.other_versions and options.categories:
        benchmark = dataclasses.replace(benchmark, categories=read_categories(options.categories))
    folder = benchmark.panoptic_folder(out) if kind.format == "panoptic" else "masks"
    predictions = open_predictions(options.predictions)
    ids = category_ids(predictions, benchmark)
    expected = expected_images(options.images, benchmark, _tell) if options.images else None
    images = select_images(predictions, benchmark, expected)
    if len(images) < len(predictions.images):
        print(f"{len(predictions.images) - len(images)} predictions left out, of other images", file=sys.stderr)
    out.parent.mkdir(parents=True, exist_ok=True)
    packer = Packer(kind.format, folder, ids, predictions.categories.num_stuff)
    with progress_bar(f"packing {out.name}", len(images)) as advance:
        written = write_submission(out, images, packer, options.workers, lambda done: advance(done, ""))
    print(f"{written.num_images} images with {written.num_segments} {kind.counted}: {out}")
    return 0


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _check_out(out: Path, overwrite: bool) -> None:
    if out.suffix.lower() != ".zip":
        raise OutputError(f"{out} is no name of an archive: it has to end with .zip")
    if out.exists() and not overwrite:
        raise OutputError(f"{out} is there already; choose another name, or replace it with --overwrite")
