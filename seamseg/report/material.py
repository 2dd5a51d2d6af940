"""Material of a report: the results, their annotation and images, and which of them belong together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from seamseg.data.formats.coco_json import (
    ListedSegments,
    PanopticFiles,
    listed_categories,
    open_annotation,
    open_results,
)
from seamseg.data.formats.coco_writer import ANNOTATION_FILE
from seamseg.data.json_fields import load_object
from seamseg.errors import DataError
from seamseg.report.images import find_original_images, image_folder
from seamseg.score.pairing import pair_images
from seamseg.structures import Categories, ImageId


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
    names: dict[ImageId, str | None] = {key: results.names.get(key) for key in results.images}
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
    """Return the annotated image of each result, and the names, completed from the annotation."""
    true_names = truth.names
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
