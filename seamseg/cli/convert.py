"""``seamseg convert``: the source formats, with their arguments and jobs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seamseg.cli.arguments import add_out, add_overwrite, add_workers
from seamseg.cli.convert_arguments import (
    SourceFormat,
    add_folders,
    add_placement,
    add_splits,
    add_val_every,
    add_without_outline,
)
from seamseg.cli.convert_tools import TOOL_FORMATS
from seamseg.cli.output import counted
from seamseg.convert.cityscapes import annotation_files, cityscapes_jobs, cityscapes_panoptic_jobs
from seamseg.convert.detection import DetectionSource, detection_job
from seamseg.convert.from_panoptic import to_detection_job, to_semantic_job
from seamseg.convert.job import ConversionSummary, Job, run_job
from seamseg.convert.masks import mask_jobs
from seamseg.convert.panoptic_target import PanopticTarget
from seamseg.convert.remap import read_class_mapping, remap_job
from seamseg.data.formats.annotated_dataset import PanopticDataset, require_no_overlaps
from seamseg.data.formats.open import FORMATS, choose_format, open_data_set, split_names
from seamseg.data.formats.split_names import choose_split
from seamseg.errors import DataError
from seamseg.io.progress import progress_bar
from seamseg.io.yaml_files import read_yaml


def _add_cityscapes(parser: argparse.ArgumentParser) -> None:
    add_folders(parser, "Cityscapes folder, which contains leftImg8bit and gtFine")
    add_placement(parser)
    add_splits(parser, "all except test")
    parser.add_argument(
        "--source",
        choices=("instances", "panoptic"),
        help="instances reads *_gtFine_instanceIds.png; panoptic reads cityscapes_panoptic_SPLIT.json and its PNGs "
        "(default: instances if they exist, else panoptic)",
    )


def _cityscapes(options: argparse.Namespace) -> list[Job[Any]]:
    source: Path = options.source_folder
    panoptic = options.source == "panoptic"
    if options.source is None and annotation_files(source):
        panoptic = not any((source / "gtFine").glob("*/*/*_gtFine_instanceIds.png"))
    convert: Callable[..., list[Job[Any]]] = cityscapes_panoptic_jobs if panoptic else cityscapes_jobs
    return convert(source, options.out, options.split, options.images)


def _add_masks(parser: argparse.ArgumentParser) -> None:
    add_folders(
        parser,
        "folder with classes.yaml and the folders images, classes and instances, or with these three folders per split",
    )
    add_placement(parser)
    add_val_every(parser, "train")


def _masks(options: argparse.Namespace) -> list[Job[Any]]:
    return list(mask_jobs(options.source_folder, options.out, options.val_every, options.images))


def _add_detection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "annotations", type=Path, metavar="JSON", help="COCO detection annotation, such as instances_train2017.json"
    )
    parser.add_argument("image_folder", type=Path, metavar="IMAGES", help="image folder")
    add_out(parser, "output data set folder; created if missing")
    parser.add_argument("--split", required=True, metavar="NAME", help="name of the split to write (required)")
    parser.add_argument(
        "--stuff-maps",
        type=Path,
        metavar="FOLDER",
        help="folder of PNGs named like the images, whose pixel values are category ids of stuff",
    )
    parser.add_argument(
        "--stuff-values",
        type=Path,
        metavar="YAML",
        help="file of `pixel value: category id` lines (0 for void), if the pixel values are not category ids",
    )
    parser.add_argument(
        "--categories",
        type=Path,
        metavar="JSON",
        help="list of categories with id, name, isthing and color (default: from the annotation)",
    )
    add_without_outline(parser)
    add_placement(parser)


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
        raise DataError(f"{path} must contain lines of two integers, `pixel value: category id`")
    return table


def _add_data_set(parser: argparse.ArgumentParser) -> None:
    add_folders(parser, "data set folder, in any format that `seamseg train` reads")
    add_splits(parser, "all splits")
    parser.add_argument("--format", choices=FORMATS, help="format of the data set (default: detected)")


def _add_to_detection(parser: argparse.ArgumentParser) -> None:
    _add_data_set(parser)
    parser.add_argument("--with-stuff", action="store_true", help="write stuff segments, too")


def _to_detection(options: argparse.Namespace) -> list[Job[Any]]:
    return [
        to_detection_job(source, split, options.out, options.with_stuff)
        for split, source in _open_splits(options).items()
    ]


def _to_semantic(options: argparse.Namespace) -> list[Job[Any]]:
    return [to_semantic_job(source, split, options.out) for split, source in _open_splits(options).items()]


def _add_remap(parser: argparse.ArgumentParser) -> None:
    _add_data_set(parser)
    parser.add_argument(
        "--classes",
        type=Path,
        required=True,
        metavar="FILE",
        help="YAML file that lists the old classes of each new class; see docs/own-data.md",
    )
    add_placement(parser)


def _remap(options: argparse.Namespace) -> list[Job[Any]]:
    return [
        remap_job(
            source,
            read_class_mapping(options.classes, source.categories),
            PanopticTarget(options.out, split, options.images),
        )
        for split, source in _open_splits(options).items()
    ]


def _open_splits(options: argparse.Namespace) -> dict[str, PanopticDataset]:
    """Open the requested splits, by name."""
    root: Path = options.source_folder
    format_name = choose_format(root, options.format)
    splits = split_names(root, format_name)
    wanted = [choose_split(splits, split, root) for split in options.split] or splits
    opened = {split: open_data_set(root, split, format_name=format_name) for split in wanted}
    return {split: require_no_overlaps(source, f"{split!r} of {root}") for split, source in opened.items()}


SOURCE_FORMATS = (
    SourceFormat(
        "cityscapes",
        "Cityscapes as downloaded, to COCO panoptic",
        "Convert Cityscapes to COCO panoptic format with the 19 evaluated classes, from its instance id maps or its "
        "own panoptic files.",
        _add_cityscapes,
        _cityscapes,
    ),
    SourceFormat(
        "masks",
        "your own class and instance maps, to COCO panoptic",
        "Convert images with class maps and instance maps (PNG) to COCO panoptic format. SRC/classes.yaml maps pixel "
        "values to classes; see docs/own-data.md.",
        _add_masks,
        _masks,
    ),
    SourceFormat(
        "detection",
        "COCO detection annotation and stuff maps, to COCO panoptic",
        "Convert objects (COCO detection annotation) and stuff (maps, or annotations of stuff categories) to COCO "
        "panoptic format. Where segments overlap, smaller objects win over larger ones, and objects win over crowds "
        "and stuff.",
        _add_detection,
        _detection,
    ),
    *TOOL_FORMATS,
    SourceFormat(
        "remap",
        "a panoptic data set, with its classes merged, renamed or dropped",
        "Write a panoptic data set in COCO panoptic format with other classes. The file given by --classes lists the "
        "old classes of each new class under the keys `stuff`, `things` and `void`.",
        _add_remap,
        _remap,
    ),
    SourceFormat(
        "to-detection",
        "a panoptic data set, to COCO detection annotation",
        "Write the objects and crowds of a panoptic data set as run-length masks to "
        "OUT/annotations/instances_SPLIT.json.",
        _add_to_detection,
        _to_detection,
    ),
    SourceFormat(
        "to-semantic",
        "a panoptic data set, to class maps",
        "Write OUT/annotations/semantic_SPLIT/*.png, whose pixel values are class numbers (stuff first, 255 for void), "
        "and semantic_SPLIT.json, which lists the classes.",
        _add_data_set,
        _to_semantic,
    ),
)


def add_parser(subcommands: Any) -> None:
    """Add the subcommand, its source formats and their arguments."""
    subcommand = subcommands.add_parser(
        "convert",
        help="convert data sets to COCO panoptic, or from it to detection or semantic annotation",
        description="Convert a data set, in several processes. The same arguments give the same bytes. To continue an "
        "interrupted conversion, run the same command again. The JSON file of a split is written last, when all images "
        "are converted.",
    )
    formats = subcommand.add_subparsers(
        title="source formats",
        metavar="FORMAT",
        required=True,
        help="source format; run `seamseg convert FORMAT --help` for its arguments",
    )
    for source in SOURCE_FORMATS:
        parser = formats.add_parser(source.name, help=source.help, description=source.description)
        source.add_arguments(parser)
        add_workers(parser)
        add_overwrite(parser, "convert again even if the result is complete")
        parser.set_defaults(run=run, jobs=source.jobs)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
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
        return f"{job.title}: already complete: {job.result} (pass --overwrite to convert it again)"
    remarks = []
    if outcome.num_kept:
        remarks.append(f"{outcome.num_kept} of them in an earlier run")
    if outcome.num_hidden:
        remarks.append(f"{counted(outcome.num_hidden, 'object')} left out because others cover them")
    if outcome.num_replaced:
        fate = "replaced by boxes" if job.options.get("without_outline") == "box" else "left out"
        remarks.append(f"{counted(outcome.num_replaced, 'object')} without an outline {fate}")
    if outcome.num_crossing:
        remarks.append(f"{counted(outcome.num_crossing, 'polygon')} with edges that cross each other")
    counts = ", ".join([counted(outcome.num_items, "image"), *remarks])
    return f"{job.title}: {counts}: {job.result}"
