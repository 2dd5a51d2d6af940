"""Predictions as ``seamseg predict`` writes them, or any others in the COCO panoptic format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seamseg.data.coco_index import images_by_id
from seamseg.data.coco_writer import ANNOTATION_FILE
from seamseg.data.json_fields import field, load_object
from seamseg.data.panoptic_files import ListedSegments, listed_categories, listed_images
from seamseg.structures import Categories, Size


@dataclass(frozen=True, eq=False, slots=True)
class PredictedImage:
    """One image of the predictions.

    Attributes:
        photograph: its name, as the file says.
        size: height and width, as the file says.
        segments: what the file says of them.
    """

    photograph: str
    size: Size
    segments: ListedSegments


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one program predicted.

    Attributes:
        json_file: where it stands.
        categories: of its segments.
        images: in the order of the file.
    """

    json_file: Path
    categories: Categories
    images: list[PredictedImage]


def open_predictions(path: Path) -> Predictions:
    """Reads the JSON file; its PNGs lie in the folder of the same name.

    Args:
        path: a folder with ``panoptic.json``, or a JSON file with ``images``, ``annotations`` and ``categories``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not of that format, contradicts itself, or no PNG is found.
    """
    json_file = path / ANNOTATION_FILE if path.is_dir() else path
    if not json_file.is_file():
        raise FileNotFoundError(f"{json_file} does not exist; give the OUT folder of `seamseg predict`, or a JSON file")
    content = load_object(json_file)
    categories = listed_categories(content, json_file)
    photographs = images_by_id(field(content, "images", list, str(json_file)), json_file)
    images = []
    for image_id, segments in listed_images(content, json_file, None, categories, true=False).images.items():
        if image_id not in photographs:
            raise ValueError(f"{json_file}: the image {image_id} of an annotation is not among the images")
        images.append(PredictedImage(*photographs[image_id], segments))
    return Predictions(json_file, categories, images)
