"""Results, annotation and images of a report, and how they belong together."""

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
    """What the ``images`` of a COCO panoptic file are called, by their ids; results often come without: empty then.

    Raises:
        SeamsegError: an entry has no id or no name, or two share an id.
    """
    names: dict[ImageId, str] = {}
    for position, entry in enumerate(field(content, "images", list, str(json_file)) if "images" in content else []):
        image_id = image_id_field(entry, "id", f"{json_file}, image {position}")
        if image_id in names:
            raise DataError(f"{json_file}: two images have the id {image_id}")
        names[image_id] = file_field(entry, "file_name", f"{json_file}, image {image_id}")
    return names


def pair_images(
    results: Mapping[ImageId, str | None], truth: Mapping[ImageId, str | None], results_file: Path, truth_file: Path
) -> dict[ImageId, ImageId]:
    """For each result the annotated image that it is of, where there is one.

    Programs number images as they come, so their names decide: the whole name, or else the last part of it, where
    that is unique. Ids decide where either side has no names.

    Args:
        results, truth: names of the images by the ids of their images; None where the file says nothing.
        results_file, truth_file: for errors.

    Raises:
        SeamsegError: no two belong together, or two results are of one image.
    """
    known_results = {key: name for key, name in results.items() if name is not None}
    known_truth = {key: name for key, name in truth.items() if name is not None}
    if not (known_results and known_truth):
        pairs = {key: key for key in results if key in truth}
        reason = f"their image_ids differ, such as {next(iter(results))} and {next(iter(truth))}"
    else:
        pairs = _by_name(known_results, known_truth)
        some = next(iter(known_results.values())), next(iter(known_truth.values()))
        reason = f"their images have other names, such as {some[0]} and {some[1]}"
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
    """Image ids by the last part of the image's name, without those that share one."""
    ends = {key: PurePosixPath(name).name for key, name in names.items()}
    numbers = Counter(ends.values())
    return {end: key for key, end in ends.items() if numbers[end] == 1}


@dataclass(frozen=True, eq=False, slots=True)
class ReportImage:
    """One image to show.

    Attributes:
        name: as people know it, that of the image, relative to its folder.
        image_path: The image file.
        predicted: its segments.
        true: those of the annotation; None where it has none. Both have the annotation's image id then.
    """

    name: str
    image_path: Path
    predicted: ListedSegments
    true: ListedSegments | None


@dataclass(frozen=True, eq=False)
class ReportMaterial:
    """All images, and what the files say that their user should know.

    Attributes:
        title: of the report.
        categories: of both sides.
        images: by name.
        annotated: whether there is an annotation.
        notes: sentences on what is odd or left out.
    """

    title: str
    categories: Categories
    images: tuple[ReportImage, ...]
    annotated: bool
    notes: tuple[str, ...]

    def pairs(self) -> list[tuple[ListedSegments, ListedSegments]]:
        """The true and the predicted side of the images that have both."""
        return [(image.true, image.predicted) for image in self.images if image.true is not None]


def open_material(
    predictions: Path,
    images: Path | None = None,
    truth_file: Path | None = None,
    predictions_folder: Path | None = None,
    truth_folder: Path | None = None,
    title: str | None = None,
) -> ReportMaterial:
    """Reads the JSON files and looks where the images are.

    Args:
        predictions: a folder that ``seamseg predict`` wrote, or a COCO panoptic JSON file.
        images: folder of the images; None believes the files.
        truth_file: annotation, COCO panoptic; None makes a report without scores.
        predictions_folder, truth_folder: of the PNGs; None is the folder named like the JSON file.
        title: None takes the name of the predictions.

    Raises:
        SeamsegError: a file is not of that format, the sides do not fit together, or images are missing.
        FileNotFoundError: a file does not exist.
    """
    json_file = _results_file(predictions)
    content = load_object(json_file)
    truth = None if truth_file is None else open_annotation(truth_file, truth_folder)
    categories = listed_categories(content, json_file) if truth is None else truth.categories
    results = open_results(json_file, predictions_folder, categories)
    said = image_names(content, json_file)
    names: dict[ImageId, str | None] = {key: said.get(key) for key in results.images}
    pairs: dict[ImageId, ImageId] = {}
    notes: list[str] = []
    if truth is not None:
        pairs, names = _paired(names, json_file, truth)
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
                f"{predictions} holds no {ANNOTATION_FILE}; give a folder that `seamseg predict` wrote, or a COCO "
                "panoptic JSON file"
            )
        return file
    return predictions


def _paired(
    names: dict[ImageId, str | None], json_file: Path, truth: PanopticFiles
) -> tuple[dict[ImageId, ImageId], dict[ImageId, str | None]]:
    """The annotated image of every result that has one, and the names, completed from the annotation."""
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
        notes.append(f"{left_out} of {len(truth.images)} annotated images have no prediction; they do not count")
    if unknown := len(results.images) - len(pairs):
        notes.append(f"{unknown} of {len(results.images)} predicted images are not annotated; they have no scores")
    return [*notes, *results.notes]
