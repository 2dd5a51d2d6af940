"""Material of a report: the results, their annotation and images, and which of them belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from seamseg.data.formats.coco_json import (
    ListedSegments,
    PanopticFiles,
    listed_categories,
    open_annotation,
    open_results,
)
from seamseg.data.formats.coco_writer import ANNOTATION_FILE
from seamseg.data.json_fields import field, file_field, image_id_field, load_object
from seamseg.errors import DataError
from seamseg.report.images import find_original_images, image_folder
from seamseg.structures import Categories, ImageId


def image_names(content: dict[str, Any], json_file: Path) -> dict[ImageId, str]:
    """Return the names of the ``images`` of a COCO panoptic file by id.

    Args:
        content: Content of the file. Results often have no ``images``; the result is empty then.
        json_file: Path of the file, for error messages.

    Raises:
        SeamsegError: An entry has no id or no name, or two entries have the same id.
    """
    names: dict[ImageId, str] = {}
    for position, entry in enumerate(field(content, "images", list, str(json_file)) if "images" in content else []):
        image_id = image_id_field(entry, "id", f"{json_file}, image {position}")
        if image_id in names:
            raise DataError(f"{json_file} has two images with id {image_id}; make the ids unique")
        names[image_id] = file_field(entry, "file_name", f"{json_file}, image {image_id}")
    return names


def pair_images(
    results: Mapping[ImageId, str | None], truth: Mapping[ImageId, str | None], results_file: Path, truth_file: Path
) -> dict[ImageId, ImageId]:
    """Find the annotated image of each result.

    Programs number images differently, so images are matched by name: by the whole name, or if no whole name matches,
    by the file name where it is unique. Images are matched by id if one of the sides has no names.

    Args:
        results: Names of the predicted images by id; None for images whose name is not known.
        truth: Names of the annotated images by id; None for images whose name is not known.
        results_file: Path of the results, for error messages.
        truth_file: Path of the annotation, for error messages.

    Returns:
        Id of the annotated image by id of the predicted image, for those that have one.

    Raises:
        SeamsegError: No images match, or two results match the same image.
    """
    known_results = {key: name for key, name in results.items() if name is not None}
    known_truth = {key: name for key, name in truth.items() if name is not None}
    if not (known_results and known_truth):
        pairs = {key: key for key in results if key in truth}
        reason = f"their image_ids differ, for example {next(iter(results))} and {next(iter(truth))}"
    else:
        pairs = _by_name(known_results, known_truth)
        examples = next(iter(known_results.values())), next(iter(known_truth.values()))
        reason = f"their images have different names, for example {examples[0]} and {examples[1]}"
    if not pairs:
        raise DataError(f"no image of {results_file} is annotated in {truth_file}: {reason}")
    twice = [key for key, number in Counter(pairs.values()).items() if number > 1]
    if twice:
        raise DataError(f"{results_file} has two results for image {twice[0]} of {truth_file} ({truth[twice[0]]})")
    return pairs


def _by_name(results: Mapping[ImageId, str], truth: Mapping[ImageId, str]) -> dict[ImageId, ImageId]:
    whole = {name: key for key, name in truth.items()}
    pairs = {key: whole[name] for key, name in results.items() if name in whole}
    if pairs:
        return pairs
    ends = _unique_ends(truth)
    return {key: ends[end] for end, key in _unique_ends(results).items() if end in ends}


def _unique_ends(names: Mapping[ImageId, str]) -> dict[str, ImageId]:
    """Return image ids by the file name of the image, without file names that occur twice."""
    ends = {key: PurePosixPath(name).name for key, name in names.items()}
    numbers = Counter(ends.values())
    return {end: key for key, end in ends.items() if numbers[end] == 1}


@dataclass(frozen=True, eq=False, slots=True)
class ReportImage:
    """One image of a report.

    Attributes:
        name: Name of the image, relative to the folder of the images.
        image_path: Path of the image file.
        predicted: Predicted segments. They have the image id of the annotation if there is one.
        true: True segments; None for an image without annotation.
    """

    name: str
    image_path: Path
    predicted: ListedSegments
    true: ListedSegments | None


@dataclass(frozen=True, eq=False)
class ReportMaterial:
    """Material of a report.

    Attributes:
        title: Title of the report.
        categories: Categories of true and predicted segments.
        images: Images, sorted by name.
        annotated: Whether there is an annotation.
        notes: Sentences about inconsistencies and images that are not scored.
    """

    title: str
    categories: Categories
    images: tuple[ReportImage, ...]
    annotated: bool
    notes: tuple[str, ...]

    def pairs(self) -> list[tuple[ListedSegments, ListedSegments]]:
        """Return the true and the predicted segments of the images that have both."""
        return [(image.true, image.predicted) for image in self.images if image.true is not None]


def open_material(
    predictions: Path,
    images: Path | None = None,
    truth_file: Path | None = None,
    predictions_folder: Path | None = None,
    truth_folder: Path | None = None,
    title: str | None = None,
) -> ReportMaterial:
    """Read the JSON files of predictions and annotation, and find the images.

    Args:
        predictions: Folder written by ``seamseg predict``, or a COCO panoptic JSON file.
        images: Folder of the images; None to use the folder that the JSON files name.
        truth_file: Annotation, a COCO panoptic JSON file; None for a report without scores.
        predictions_folder: Folder of the predicted PNGs; None for the folder named like the JSON file.
        truth_folder: Folder of the annotated PNGs; None for the folder named like the JSON file.
        title: Title of the report; None for the name of the predictions.

    Raises:
        SeamsegError: A file has the wrong format, predictions and annotation do not match, or images are missing.
        FileNotFoundError: A file does not exist.
    """
    json_file = _results_file(predictions)
    content = load_object(json_file)
    truth = None if truth_file is None else open_annotation(truth_file, truth_folder)
    categories = listed_categories(content, json_file) if truth is None else truth.categories
    results = open_results(json_file, predictions_folder, categories)
    listed_names = image_names(content, json_file)
    names: dict[ImageId, str | None] = {key: listed_names.get(key) for key in results.images}
    pairs: dict[ImageId, ImageId] = {}
    notes: list[str] = []
    if truth is not None:
        pairs, names = _pairs_and_names(names, json_file, truth)
        notes = _notes(results, truth, pairs)
    folder = image_folder(images, content, json_file, truth_file)
    pngs = {entry["image_id"]: PurePosixPath(entry["file_name"]) for entry in content["annotations"]}
    image_paths = find_original_images(folder, names, pngs)
    shown = []
    for key, predicted in results.images.items():
        true = truth.images[pairs[key]] if truth and key in pairs else None
        name = names[key] or image_paths[key].relative_to(folder).as_posix()
        shown.append(_image(name, image_paths[key], predicted, true))
    return ReportMaterial(
        title or (predictions.resolve().name if predictions.is_dir() else json_file.stem),
        categories,
        tuple(sorted(shown, key=lambda image: image.name)),
        truth is not None,
        tuple(notes),
    )


def _results_file(predictions: Path) -> Path:
    if predictions.is_dir():
        file = predictions / ANNOTATION_FILE
        if not file.is_file():
            raise DataError(
                f"{predictions} has no {ANNOTATION_FILE}; pass a folder that `seamseg predict --write panoptic` wrote, "
                "or a COCO panoptic JSON file"
            )
        return file
    return predictions


def _pairs_and_names(
    names: dict[ImageId, str | None], json_file: Path, truth: PanopticFiles
) -> tuple[dict[ImageId, ImageId], dict[ImageId, str | None]]:
    """Return the annotated image of each result, and the names with those of the annotation added."""
    true_names = image_names(load_object(truth.json_file), truth.json_file)
    pairs = pair_images(names, {key: true_names.get(key) for key in truth.images}, json_file, truth.json_file)
    return pairs, {key: name or true_names.get(pairs.get(key, "")) for key, name in names.items()}


def _image(name: str, image_path: Path, predicted: ListedSegments, true: ListedSegments | None) -> ReportImage:
    if true is not None:
        predicted = replace(predicted, image_id=true.image_id)
    return ReportImage(name, image_path, predicted, true)


def _notes(results: PanopticFiles, truth: PanopticFiles, pairs: dict[ImageId, ImageId]) -> list[str]:
    notes = []
    if left_out := len(truth.images) - len(pairs):
        notes.append(f"{left_out} of {len(truth.images)} annotated images have no prediction and are not scored")
    if unknown := len(results.images) - len(pairs):
        notes.append(f"{unknown} of {len(results.images)} predicted images have no annotation and are not scored")
    return [*notes, *results.notes]
