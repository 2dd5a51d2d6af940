"""``seamseg submit``: the supported benchmarks, with their arguments."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from seamseg.cli.arguments import add_out, add_overwrite, add_workers
from seamseg.errors import OutputError
from seamseg.io.progress import progress_bar
from seamseg.structures import Categories
from seamseg.submit.benchmark import CITYSCAPES, COCO, COCO_OBJECTS, VISTAS, Benchmark
from seamseg.submit.formats import FormatName, Packer
from seamseg.submit.other_tasks import (
    OBJECTS_FILE,
    ClassMapPacker,
    ObjectPacker,
    read_categories_of,
    select_class_maps,
    select_objects,
    source_of,
)
from seamseg.submit.predictions import category_ids, open_predictions, read_categories
from seamseg.submit.selection import Expected, expected_images, select_images
from seamseg.submit.submission import ImagePacker, write_submission


@dataclass(frozen=True)
class BenchmarkTrack:
    """One track of a benchmark, as a subcommand of ``seamseg submit``.

    Attributes:
        name: Name of the subcommand.
        help: One line for the list of subcommands.
        description: Text above the arguments in ``--help``.
        benchmark: Categories and naming rules of the benchmark.
        format: Format of the files in the archive.
        counted: Plural noun for what the summary counts.
        other_versions: Whether ``--categories`` may replace the categories of the benchmark.
    """

    name: str
    help: str
    description: str
    benchmark: Benchmark
    format: FormatName
    counted: str = "segments"
    other_versions: bool = False


TRACKS = (
    BenchmarkTrack(
        "coco",
        "COCO panoptic",
        "Write panoptic_SET_NAME_results.zip, which contains a folder of PNGs and a JSON file, both named like the "
        "archive. SET is val2017, test-dev2017 or test-challenge2017.",
        COCO,
        "panoptic",
    ),
    BenchmarkTrack(
        "coco-objects",
        "COCO, boxes or masks of things",
        "Write detections_SET_NAME_results.zip, which contains a JSON file of that name: the objects of a model for "
        "detection or instances, or of a panoptic one with `seamseg predict --write instances`. SET is "
        "val2017, test-dev2017 or test-challenge2017.",
        COCO_OBJECTS,
        "results",
        "objects",
    ),
    BenchmarkTrack(
        "cityscapes-panoptic",
        "Cityscapes, panoptic",
        "Write a folder of PNGs and a JSON file, both named like the archive, with label ids (road is 7).",
        CITYSCAPES,
        "panoptic",
    ),
    BenchmarkTrack(
        "cityscapes-instances",
        "Cityscapes, instances",
        "Write CITY_SEQUENCE_FRAME.txt for each frame, with one line per object: its mask (masks/*.png), its label id "
        "and its score.",
        CITYSCAPES,
        "instances",
        "objects",
    ),
    BenchmarkTrack(
        "cityscapes-semantic",
        "Cityscapes, semantic",
        "Write CITY_SEQUENCE_FRAME_labelIds.png for each frame: a label id per pixel, 0 where nothing is predicted.",
        CITYSCAPES,
        "semantic",
    ),
    BenchmarkTrack(
        "vistas",
        "Mapillary Vistas, panoptic",
        "Write a folder of PNGs and a JSON file, both named like the archive, with the category ids of "
        "panoptic_2018.json (v1.2). For another version, pass its annotation as --categories.",
        VISTAS,
        "panoptic",
        other_versions=True,
    ),
)


def add_parser(subcommands: Any) -> None:
    """Add the subcommand, its benchmark tracks and their arguments."""
    subcommand = subcommands.add_parser(
        "submit",
        help="package predictions for a benchmark server",
        description="Package the predictions that `seamseg predict` wrote as an archive for a benchmark server. "
        "Classes are matched to the ids of the server by name, and images by file name. If the command fails, no "
        "archive is written. The same predictions give the same bytes.",
    )
    tracks = subcommand.add_subparsers(
        title="benchmarks",
        metavar="BENCHMARK",
        required=True,
        help="benchmark; run `seamseg submit BENCHMARK --help` for its arguments",
    )
    for track in TRACKS:
        parser = tracks.add_parser(track.name, help=track.help, description=track.description)
        _add_arguments(parser, track)
        parser.set_defaults(run=run, track=track)


def _add_arguments(parser: argparse.ArgumentParser, track: BenchmarkTrack) -> None:
    parser.add_argument(
        "predictions",
        type=Path,
        metavar="PREDICTIONS",
        help="output folder of `seamseg predict`, or COCO panoptic JSON file next to its folder of PNGs",
    )
    add_out(parser, "archive to write; its folder is created if missing", "OUT.zip")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="LIST",
        help="images that the archive must contain: a JSON file with images, an image folder or a .txt list; a missing "
        "prediction is an error, and predictions of other images are ignored (default: all predictions)",
    )
    if track.other_versions:
        parser.add_argument(
            "--categories",
            type=Path,
            metavar="JSON",
            help="annotation file that defines the category ids (default: those of v1.2)",
        )
    add_workers(parser)
    add_overwrite(parser, "replace an existing archive")


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    track, out = options.track, options.out
    _check_out(out, options.overwrite)
    benchmark = track.benchmark
    if track.other_versions and options.categories:
        benchmark = dataclasses.replace(benchmark, categories=read_categories(options.categories))
    folder = benchmark.json_name(out) if track.format in ("panoptic", "results") else "masks"
    expected = expected_images(options.images, benchmark, partial(print, file=sys.stderr)) if options.images else None
    source = source_of(options.predictions, track.format)
    if source is not None:
        images, packer = other_results(track, benchmark, source, expected, folder)
    else:
        images, packer = panoptic_results(track, benchmark, options.predictions, expected, folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    with progress_bar(f"packing {out.name}", len(images)) as advance:
        written = write_submission(out, images, packer, options.workers, lambda done: advance(done, ""))
    print(f"{written.num_images} images with {written.num_segments} {track.counted}: {out}")
    return 0


def panoptic_results(
    track: BenchmarkTrack, benchmark: Benchmark, path: Path, expected: Expected | None, folder: str
) -> tuple[Sequence[Any], ImagePacker[Any]]:
    """Return the images of panoptic results, and what packs each of them."""
    if track.format == "results":
        raise OutputError(f"{path} has no {OBJECTS_FILE}; write it with `seamseg predict --write instances`")
    predictions = open_predictions(path)
    ids = category_ids(predictions.categories, predictions.json_file, benchmark)
    images = select_images(predictions, benchmark, expected)
    if len(images) < len(predictions.images):
        print(f"ignored {len(predictions.images) - len(images)} predictions of other images", file=sys.stderr)
    return images, Packer(track.format, folder, ids, predictions.categories.num_stuff)


def other_results(
    track: BenchmarkTrack, benchmark: Benchmark, source: Path, expected: Expected | None, folder: str
) -> tuple[Sequence[Any], ImagePacker[Any]]:
    """Return the images of objects or class maps, and what packs each of them."""
    categories = read_categories_of(source.parent)
    only_things = Categories(categories.classes[categories.num_stuff :])
    if track.format == "semantic":
        ids = category_ids(categories, source, benchmark, compare_kinds=False)
        return select_class_maps(source, benchmark, expected), ClassMapPacker(ids)
    if track.format == "instances" and expected is None:
        raise OutputError(f"{source} does not list images without objects; name all images with --images LIST")
    ids = category_ids(only_things, source, benchmark)
    return select_objects(source, only_things, ids, benchmark, expected), ObjectPacker(track.format, folder)


def _check_out(out: Path, overwrite: bool) -> None:
    if out.suffix.lower() != ".zip":
        raise OutputError(f"the name of the archive {out} must end with .zip")
    if out.exists() and not overwrite:
        raise OutputError(f"{out} already exists; pass --overwrite to replace it, or choose another name")
