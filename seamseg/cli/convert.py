"""``seamseg convert``: its kinds of conversion, their arguments and jobs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamseg.cli.output import counted
from seamseg.convert.cityscapes import annotation_files, cityscapes_jobs, cityscapes_panoptic_jobs
from seamseg.convert.detection import DetectionSource, detection_job
from seamseg.convert.from_panoptic import to_detection_job, to_semantic_job
from seamseg.convert.job import ConversionSummary, Job, run_job
from seamseg.convert.masks import mask_jobs
from seamseg.convert.panoptic_target import PanopticTarget
from seamseg.data.formats.open import FORMATS, choose_format, open_data_set, split_names
from seamseg.data.formats.panoptic_dataset import PanopticDataset
from seamseg.data.formats.split_names import choose_split
from seamseg.errors import DataError
from seamseg.io.progress import progress_bar
from seamseg.io.yaml_files import read_yaml


@dataclass(frozen=True)
class Kind:
    """One kind of conversion on the command line."""

    name: str
    help: str
    description: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    jobs: Callable[[argparse.Namespace], list[Job[Any]]]


def _add_cityscapes(parser: argparse.ArgumentParser) -> None:
    _add_folders(parser, "folder with leftImg8bit and gtFine")
    _add_placement(parser)
    _add_splits(parser, "all but test")
    parser.add_argument(
        "--source",
        choices=("instances", "panoptic"),
        help="read *_gtFine_instanceIds.png, or cityscapes_panoptic_SPLIT.json with its PNGs (default: what is there, "
        "instances before panoptic)",
    )


def _cityscapes(options: argparse.Namespace) -> list[Job[Any]]:
    source: Path = options.source_folder
    panoptic = options.source == "panoptic"
    if options.source is None and annotation_files(source):
        panoptic = not any((source / "gtFine").glob("*/*/*_gtFine_instanceIds.png"))
    convert: Callable[..., list[Job[Any]]] = cityscapes_panoptic_jobs if panoptic else cityscapes_jobs
    return convert(source, options.out, options.split, options.images)


def _add_masks(parser: argparse.ArgumentParser) -> None:
    _add_folders(parser, "folder with classes.yaml, images, classes and instances, or with these three per split")
    _add_placement(parser)
    parser.add_argument(
        "--val-every",
        type=int,
        metavar="N",
        help="every N-th image, by name, goes to the split val; the others to train",
    )


def _masks(options: argparse.Namespace) -> list[Job[Any]]:
    return list(mask_jobs(options.source_folder, options.out, options.val_every, options.images))


def _add_detection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("annotations", type=Path, metavar="JSON", help="COCO objects, such as instances_train2017.json")
    parser.add_argument("image_folder", type=Path, metavar="IMAGES", help="folder of the images")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the data set; made if needed")
    parser.add_argument("--split", required=True, help="name of the split that is written")
    parser.add_argument(
        "--stuff-maps",
        type=Path,
        metavar="FOLDER",
        help="PNGs named like the images, whose values are category ids",
    )
    parser.add_argument(
        "--stuff-values",
        type=Path,
        metavar="YAML",
        help="value: category id (0 for void), where values are no ids",
    )
    parser.add_argument(
        "--categories", type=Path, metavar="JSON", help="list of things and stuff with id, name, isthing, color"
    )
    parser.add_argument(
        "--without-outline",
        choices=("error", "skip", "box"),
        default="error",
        help="objects whose outline is missing or wrong: stop with an error, skip them, or take their boxes instead "
        "(default: error)",
    )
    _add_placement(parser)


def _detection(options: argparse.Namespace) -> list[Job[Any]]:
    values = None if options.stuff_values is None else _number_table(options.stuff_values)
    source = DetectionSource(
        options.annotations,
        options.image_folder,
        options.stuff_maps,
        options.categories,
        values,
        options.without_outline,
    )
    return [detection_job(source, PanopticTarget(options.out, options.split, options.images))]


def _number_table(path: Path) -> dict[int, int]:
    table = read_yaml(path)
    if not isinstance(table, dict) or not all(type(part) is int for row in table.items() for part in row):
        raise DataError(f"{path} has to hold lines of two numbers, `value: category id`")
    return table


def _add_data_set(parser: argparse.ArgumentParser) -> None:
    _add_folders(parser, "data set of any format that `seamseg train` reads")
    _add_splits(parser, "all")
    parser.add_argument("--format", choices=FORMATS, help="of the data set (default: what it looks like)")


def _add_to_detection(parser: argparse.ArgumentParser) -> None:
    _add_data_set(parser)
    parser.add_argument("--with-stuff", action="store_true", help="write stuff segments as well")


def _to_detection(options: argparse.Namespace) -> list[Job[Any]]:
    return [
        to_detection_job(source, split, options.out, options.with_stuff) for split, source in _opened(options).items()
    ]


def _to_semantic(options: argparse.Namespace) -> list[Job[Any]]:
    return [to_semantic_job(source, split, options.out) for split, source in _opened(options).items()]


def _opened(options: argparse.Namespace) -> dict[str, PanopticDataset]:
    """The wanted splits by their names."""
    root: Path = options.source_folder
    format_name = choose_format(root, options.format)
    splits = split_names(root, format_name)
    wanted = [choose_split(splits, split, root) for split in options.split] or splits
    return {split: open_data_set(root, split, format_name=format_name) for split in wanted}


def _add_folders(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("source_folder", type=Path, metavar="SRC", help=what)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the result; made if needed")


def _add_splits(parser: argparse.ArgumentParser, usual: str) -> None:
    parser.add_argument(
        "--split",
        action="append",
        default=[],
        metavar="NAME",
        help=f"only this one; may be repeated (default: {usual})",
    )


def _add_placement(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images",
        choices=("link", "copy"),
        default="link",
        help="link to the images, or copy them (default: link)",
    )


KINDS = (
    Kind(
        "cityscapes",
        "Cityscapes as it is downloaded",
        "Converts Cityscapes, from its maps of instance ids or its own panoptic files, to COCO panoptic with the 19 "
        "evaluated classes.",
        _add_cityscapes,
        _cityscapes,
    ),
    Kind(
        "masks",
        "your own class maps and instance maps",
        "Converts images with maps of classes and of instances (PNG) to COCO panoptic. SRC/classes.yaml says "
        "which numbers are which class; docs/own-data.md explains it.",
        _add_masks,
        _masks,
    ),
    Kind(
        "detection",
        "COCO objects and maps of stuff",
        "Converts objects (COCO detection annotation) and stuff (maps, or annotations of stuff categories) to COCO "
        "panoptic. Where several claim a pixel, small ones win over large ones, objects over crowds and stuff.",
        _add_detection,
        _detection,
    ),
    Kind(
        "to-detection",
        "a panoptic data set to COCO detection annotation",
        "Writes OUT/annotations/instances_SPLIT.json: the objects and crowds of a panoptic data set as run lengths.",
        _add_to_detection,
        _to_detection,
    ),
    Kind(
        "to-semantic",
        "a panoptic data set to maps of classes",
        "Writes OUT/annotations/semantic_SPLIT/*.png, whose pixels are class numbers (stuff first, 255 void), and "
        "semantic_SPLIT.json, which names them.",
        _add_data_set,
        _to_semantic,
    ),
)


def add_parser(subcommands: Any) -> None:
    """Adds the subcommand, its kinds and their arguments."""
    subcommand = subcommands.add_parser(
        "convert",
        help="turn other data sets into COCO panoptic, and that into detection or semantic annotation",
        description="Converts a data set, several images at a time. The same arguments give the same bytes. An "
        "interrupted conversion goes on where it stopped when the same command is given again; before it is complete, "
        "there is no JSON file, and so no data set.",
    )
    kinds = subcommand.add_subparsers(
        title="kinds", metavar="KIND", required=True, help="what to convert; KIND --help explains it"
    )
    for kind in KINDS:
        parser = kinds.add_parser(kind.name, help=kind.help, description=kind.description)
        kind.add_arguments(parser)
        parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")
        parser.add_argument("--overwrite", action="store_true", help="convert again what is complete")
        parser.set_defaults(run=run, jobs=kind.jobs)


def run(options: argparse.Namespace) -> int:
    jobs: list[Job[Any]] = options.jobs(options)
    for remark in dict.fromkeys(remark for job in jobs for remark in job.remarks):
        print(remark, file=sys.stderr)
    for job in jobs:
        outcome = _run(job, options.workers, options.overwrite)
        print(_sentence(job, outcome))
    return 0


def _run(job: Job[Any], num_workers: int | None, overwrite: bool) -> ConversionSummary:
    failures: list[str] = []
    try:
        with progress_bar(f"converting {job.title}", len(job.items)) as advance:
            return run_job(
                job,
                num_workers,
                overwrite=overwrite,
                on_progress=lambda done: advance(done, ""),
                on_failure=failures.append,
            )
    finally:
        for sentence in failures if len(failures) > 1 else []:
            print(f"not converted: {sentence}", file=sys.stderr)


def _sentence(job: Job[Any], outcome: ConversionSummary) -> str:
    if outcome.complete_already:
        return f"{job.title}: complete already, {job.result} (--overwrite converts it again)"
    remarks = []
    if outcome.num_kept:
        remarks.append(f"{outcome.num_kept} of them earlier")
    if outcome.num_hidden:
        remarks.append(f"{counted(outcome.num_hidden, 'object')} left out that others cover")
    if outcome.num_replaced:
        fate = "replaced by their boxes" if job.options.get("without_outline") == "box" else "left out"
        remarks.append(f"{counted(outcome.num_replaced, 'object')} without an outline {fate}")
    said = ", ".join([counted(outcome.num_items, "image"), *remarks])
    return f"{job.title}: {said}: {job.result}"
