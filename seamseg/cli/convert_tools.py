"""Source formats of ``seamseg convert`` for the exports of labeling tools."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from seamseg.cli.convert_arguments import (
    SourceFormat,
    add_folders,
    add_placement,
    add_val_every,
    add_without_outline,
)
from seamseg.convert.coco_export import read_coco_export
from seamseg.convert.cvat import cvat_jobs
from seamseg.convert.drawn import ImageFinder
from seamseg.convert.drawn_job import DrawnOptions, drawn_jobs
from seamseg.convert.job import Job
from seamseg.convert.label_studio import read_label_studio
from seamseg.convert.labelme import read_labelme


def _add_drawn(
    parser: argparse.ArgumentParser, source_help: str, image_folder: str, *, with_boxes: bool = True
) -> None:
    """Add the arguments that the exports of all labeling tools share; only COCO files state boxes of objects."""
    add_folders(parser, source_help)
    parser.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="YAML file that lists the labels of each class under the keys `stuff`, `things` and `void`; without it, "
        "the command prints the labels",
    )
    parser.add_argument(
        "--image-folder", type=Path, metavar="IMAGES", help=f"folder of the images (default: {image_folder})"
    )
    parser.add_argument("--split", default="train", metavar="NAME", help="name of the split (default: train)")
    add_val_every(parser, "the split of --split")
    parser.add_argument(
        "--front",
        choices=("later", "smaller"),
        default="later",
        help="which of two overlapping shapes is in front: the one drawn later, or the smaller one, with objects in "
        "front of stuff (default: later)",
    )
    parser.add_argument("--skip-missing", action="store_true", help="leave out images that are not found")
    add_without_outline(parser, with_boxes=with_boxes)
    add_placement(parser)


def _drawn_options(options: argparse.Namespace) -> DrawnOptions:
    return DrawnOptions(
        out=options.out,
        classes=options.classes,
        split=options.split,
        val_every=options.val_every,
        placement=options.images,
        front=options.front,
        without_outline=options.without_outline,
        skip_missing=options.skip_missing,
    )


def _image_finder(options: argparse.Namespace) -> ImageFinder:
    source: Path = options.source_folder
    return ImageFinder(options.image_folder or (source if source.is_dir() else source.parent))


def _add_cvat(parser: argparse.ArgumentParser) -> None:
    _add_drawn(parser, "export of a task: zip archive, unpacked folder, or COCO file", "the one in the export")
    parser.add_argument(
        "--keep-crowd",
        action="store_true",
        help="treat COCO annotations that are marked as iscrowd as crowds; CVAT marks every mask of its brush, so "
        "they are single objects by default",
    )


def _cvat(options: argparse.Namespace) -> list[Job[Any]]:
    keep_crowd = options.keep_crowd
    return cvat_jobs(options.source_folder, options.image_folder, _drawn_options(options), keep_crowd=keep_crowd)


def _add_label_studio(parser: argparse.ArgumentParser) -> None:
    _add_drawn(parser, "JSON file of the export", "the folder of SRC", with_boxes=False)
    parser.add_argument(
        "--annotator",
        metavar="WHO",
        help="id or email address of the annotator to choose where an image has several annotations, or `latest` for "
        "the one that was changed last (default: the only one that is marked as ground truth)",
    )


def _label_studio(options: argparse.Namespace) -> list[Job[Any]]:
    export = read_label_studio(options.source_folder, _image_finder(options), options.annotator)
    return drawn_jobs({options.split: export}, _drawn_options(options))


def _add_labelme(parser: argparse.ArgumentParser) -> None:
    source = "folder of JSON files, which is searched recursively, or one JSON file"
    _add_drawn(parser, source, "SRC", with_boxes=False)


def _labelme(options: argparse.Namespace) -> list[Job[Any]]:
    export = read_labelme(options.source_folder, _image_finder(options), options.out / "unpacked")
    return drawn_jobs({options.split: export}, _drawn_options(options))


def _add_coco_annotator(parser: argparse.ArgumentParser) -> None:
    _add_drawn(parser, "JSON file of the export", "the folder of SRC")


def _coco_annotator(options: argparse.Namespace) -> list[Job[Any]]:
    export = read_coco_export(options.source_folder, _image_finder(options), "coco-annotator")
    return drawn_jobs({options.split: export}, _drawn_options(options))


TOOL_FORMATS = (
    SourceFormat(
        "cvat",
        "an export of CVAT, to COCO panoptic",
        "Convert an export of CVAT in the format `COCO 1.0` or `Segmentation mask 1.1`. A single subset and "
        "the subset `default` become the split of --split, others the split of their name.",
        _add_cvat,
        _cvat,
    ),
    SourceFormat(
        "label-studio",
        "an export of Label Studio, to COCO panoptic",
        "Convert an export of Label Studio in the format `JSON`: brush masks, bitmasks, polygons, rectangles and "
        "ellipses. Other results, such as keypoints, are counted and left out.",
        _add_label_studio,
        _label_studio,
    ),
    SourceFormat(
        "labelme",
        "JSON files of labelme, to COCO panoptic",
        "Convert the JSON files of labelme: polygons, rectangles, circles and masks. Shapes of one label with the same "
        "group id are one object. Lines and points are counted and left out. Images that are not found are taken from "
        "the JSON files, which usually contain them.",
        _add_labelme,
        _labelme,
    ),
    SourceFormat(
        "coco-annotator",
        "an export of coco-annotator, to COCO panoptic",
        "Convert the COCO file of coco-annotator. Annotations that consist of keypoints are counted and left out.",
        _add_coco_annotator,
        _coco_annotator,
    ),
)
