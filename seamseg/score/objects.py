"""Evaluation of COCO results of detection and instance segmentation from any program, without a model."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seamseg.data.formats.class_table import coco_categories
from seamseg.data.formats.coco_json import image_names, open_annotation
from seamseg.data.formats.detection_json import ListedObjects, list_objects
from seamseg.data.formats.outlines import annotation_text, read_outline
from seamseg.data.json_fields import field, file_field, flag_field, image_id_field, load_object, short_text
from seamseg.errors import DataError
from seamseg.metrics.average_precision import segment_instances
from seamseg.metrics.objects import ObjectEvaluator, ObjectScores
from seamseg.score.files import read_segmentation
from seamseg.score.pairing import pair_images, select_images
from seamseg.structures import Categories, ImageId, ImageInstances, Instance, RunLengthMask, Size

Results = dict[ImageId, list[dict[str, Any]]]
"""Entries of a results file by image id."""


@dataclass(frozen=True)
class ObjectFileScores:
    """Result of an evaluation of files.

    Attributes:
        scores: Scores of boxes, and of masks if every result has one.
        notes: Sentences on results that are not scored.
    """

    scores: ObjectScores
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ObjectTruth:
    """True objects of the images to score.

    Attributes:
        json_file: Path of the JSON file.
        categories: Categories of the file; only the things are scored.
        names: Name of each image by its id; None if it is unknown.
        read: Function that returns height and width of an image, and its objects.
    """

    json_file: Path
    categories: Categories
    names: Mapping[ImageId, str | None]
    read: Callable[[ImageId], tuple[Size, list[Instance]]]


def is_list(path: Path) -> bool:
    """Return whether a JSON file contains a list, as COCO results do, and not an object."""
    with path.open("rb") as file:
        return file.read(64).lstrip()[:1] == b"["


def score_objects(
    truth_file: Path,
    results_file: Path,
    truth_folder: Path | None = None,
    listed: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    calibrate: bool = False,
) -> ObjectFileScores:
    """Score COCO results against a detection or panoptic annotation, at its size.

    An image without results has no detections. Boxes, areas and ``iscrowd`` are those that a detection annotation
    states, as in COCO's evaluation.

    Args:
        truth_file: Annotation, a COCO detection or panoptic JSON file.
        results_file: Results: a list of ``image_id``, ``category_id``, ``score``, and ``bbox`` or ``segmentation``.
            Images are matched by ``file_name`` if the results have it, otherwise by ``image_id``.
        truth_folder: Folder of the PNGs of a panoptic annotation; None for the folder named like the JSON file.
        listed: List of the images to score, see :func:`~seamseg.score.pairing.select_images`; None for all.
        progress: Called with the numbers of finished and of all images.
        calibrate: Whether to compute the calibration of the scores, too, which must be in 0 … 1.

    Raises:
        SeamsegError: A file has the wrong format, a category is unknown, or no image of the results is annotated.
        OSError: A file cannot be read.
    """
    truth = _open_truth(truth_file, truth_folder)
    results, notes = _paired(*_read_results(results_file), truth, results_file)
    chosen = list(truth.names) if listed is None else select_images(truth.names, listed, truth_file)
    has_masks = all("segmentation" in entry for entries in results.values() for entry in entries)
    evaluator = ObjectEvaluator(truth.categories.num_things, has_masks)
    for done, image_id in enumerate(chosen, start=1):
        size, true = truth.read(image_id)
        where = f"{results_file}, a result of image {image_id}"
        detected = [_detected(entry, size, truth.categories, where) for entry in results.get(image_id, [])]
        evaluator.update(ImageInstances(image_id, size, true, detected))
        progress(done, len(chosen))
    names = truth.categories.names[truth.categories.num_stuff :]
    scores = evaluator.compute(names)
    return ObjectFileScores(replace(scores, calibration=evaluator.calibration(names)) if calibrate else scores, notes)


def _open_truth(path: Path, folder: Path | None) -> ObjectTruth:
    content = load_object(path)
    names = image_names(content, path)
    entries = field(content, "annotations", list, str(path))
    if any(isinstance(entry, dict) and "segments_info" in entry for entry in entries):
        files = open_annotation(path, folder)

        def read_segments(image_id: ImageId) -> tuple[Size, list[Instance]]:
            segments = read_segmentation(files.images[image_id])
            return segments.size, segment_instances(segments, files.categories.num_stuff)

        return ObjectTruth(path, files.categories, {key: names.get(key) for key in files.images}, read_segments)
    stated = field(content, "categories", list, str(path))
    categories = coco_categories([{"isthing": 1} | one if isinstance(one, dict) else one for one in stated], path)
    images = {image.image_id: image for image in list_objects(content, path)}

    def read_objects(image_id: ImageId) -> tuple[Size, list[Instance]]:
        return images[image_id].size, _true_objects(images[image_id], categories, path)

    return ObjectTruth(path, categories, {key: image.image_file for key, image in images.items()}, read_objects)


def _true_objects(image: ListedObjects, categories: Categories, path: Path) -> list[Instance]:
    found = []
    for entry in image.annotations:
        where = f"{path}, {annotation_text(entry)}"
        number = _class_of(entry, categories, where)
        if number < categories.num_stuff:
            continue
        mask = _mask(entry, image.size, where)
        area = _number(entry, "area", where) if "area" in entry else None
        crowd = flag_field(entry, "iscrowd", where) if "iscrowd" in entry else False
        box = _box(entry, mask, where)
        found.append(Instance(number - categories.num_stuff, box, mask, crowd=crowd, stated_area=area))
    return found


def _read_results(path: Path) -> tuple[Results, dict[ImageId, str | None]]:
    """Return the results by image id, and the names of the images."""
    try:
        entries = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    results: Results = defaultdict(list)
    names: dict[ImageId, str | None] = {}
    for position, entry in enumerate(entries):
        where = f"{path}, result {position}"
        image_id = image_id_field(entry, "image_id", where)
        results[image_id].append(entry)
        names[image_id] = file_field(entry, "file_name", where) if "file_name" in entry else None
    return dict(results), names


def _paired(
    results: Results, names: Mapping[ImageId, str | None], truth: ObjectTruth, path: Path
) -> tuple[Results, tuple[str, ...]]:
    """Return the results by the ids of the annotation, and a note on results of other images."""
    if not results:
        return {}, (f"{path} contains no results",)
    pairs = pair_images(names, truth.names, path, truth.json_file)
    extra = len(results) - len(pairs)
    note = f"{path}: ignored results of {extra} images that {truth.json_file} does not contain"
    return {true: results[key] for key, true in pairs.items()}, (note,) if extra else ()


def _detected(entry: dict[str, Any], size: Size, categories: Categories, where: str) -> Instance:
    number = _class_of(entry, categories, where)
    if number < categories.num_stuff:
        raise DataError(f"{where} is of {categories.names[number]!r}, which is stuff; only things are detected")
    mask = _mask(entry, size, where)
    return Instance(number - categories.num_stuff, _box(entry, mask, where), mask, _number(entry, "score", where))


def _number(entry: dict[str, Any], key: str, where: str) -> float:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{where}: {key!r} is {short_text(value)}, expected a number")
    return float(value)


def _class_of(entry: dict[str, Any], categories: Categories, where: str) -> int:
    category_id = field(entry, "category_id", int, where)
    if category_id not in categories.class_of_original_id:
        raise DataError(f"{where}: its category_id {category_id} is not among the categories of the annotation")
    return categories.class_of_original_id[category_id]


def _mask(entry: dict[str, Any], size: Size, where: str) -> RunLengthMask | None:
    if not entry.get("segmentation"):
        return None
    return RunLengthMask(size, read_outline(entry["segmentation"], size, where)["counts"])


def _box(entry: dict[str, Any], mask: RunLengthMask | None, where: str) -> tuple[float, float, float, float]:
    if "bbox" not in entry and mask is not None:
        return mask.box()
    box: Sequence[Any] = field(entry, "bbox", list, where)
    if len(box) != 4 or not all(isinstance(side, int | float) and abs(side) < 1e9 for side in box):
        raise DataError(f"{where}: 'bbox' is {short_text(box)}, expected x, y, width and height")
    x, y, width, height = map(float, box)
    return y, x, y + height, x + width
