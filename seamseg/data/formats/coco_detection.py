"""Data sets in the COCO detection format (Lin et al. 2014, "Microsoft COCO: Common Objects in Context")."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.data.formats.annotated_dataset import BOXES, INSTANCES, Content
from seamseg.data.formats.class_table import coco_categories, require_categories
from seamseg.data.formats.coco_files import DETECTION_PREFIX, choose_folder, image_folders, json_files
from seamseg.data.formats.detection_json import ListedObjects, list_objects
from seamseg.data.formats.listed_images import ListedImages
from seamseg.data.formats.outlines import annotation_text, box_polygon, read_outline, uncompressed
from seamseg.data.formats.split_names import choose_split, first_images
from seamseg.data.images import read_image
from seamseg.data.json_fields import field, flag_field, load_object
from seamseg.errors import DataError, SeamsegError
from seamseg.structures import VOID, Categories, ImageId, LayeredSegmentation, Size

_LARGEST_NUMBER = 2.0**53

Measures = tuple[float, float, float, float, float]
"""Box (y0, x0, y1, x1) and area in pixels."""

SPLIT_FILE = "_annotations.coco.json"
"""Name of the JSON file in the folder of a split, next to its images, as some labeling tools write it."""


@dataclass(frozen=True)
class DetectionFiles:
    """Files of one split.

    Attributes:
        json_file: Path of the JSON file.
        image_folders: Folders that may contain the images, most likely first.
    """

    json_file: Path
    image_folders: list[Path]


def detection_files(root: Path) -> dict[str, DetectionFiles]:
    """Return the files of each split, by name of the split; empty if the folder contains no detection annotations."""
    found = json_files(root, DETECTION_PREFIX)
    files = {split: DetectionFiles(path, image_folders(root, path)) for split, path in found.items()}
    if files:
        return files
    beside = sorted(root.glob(f"*/{SPLIT_FILE}"))
    return {path.parent.name: DetectionFiles(path, [path.parent, path.parent / "images"]) for path in beside}


def thing_categories(entries: list[Any], path: Path) -> tuple[Categories, frozenset[int]]:
    """Return the thing categories of a detection file, and the ids of its stuff categories, whose objects do not count.

    Categories that do not state ``isthing`` are things, as in the official files.

    Args:
        entries: Unchecked ``categories`` of the file.
        path: Path of the file, for error messages.

    Raises:
        SeamsegError: An entry is wrong, two contradict each other, or there is no thing.
    """
    stated = [{"isthing": 1} | entry if isinstance(entry, dict) else entry for entry in entries]
    every = coco_categories(stated, path)
    things = Categories(every.classes[every.num_stuff :])
    require_categories(things, f"{path} has no thing category")
    return things, frozenset(category.original_id for category in every.classes[: every.num_stuff])


class CocoDetection(ListedImages[ListedObjects]):
    """Annotated images of one split, in the order of ``images`` in its file, including images without objects.

    Implements :class:`seamseg.data.formats.annotated_dataset.AnnotatedDataset`. The folder ``root`` must contain
    ``annotations/instances_SPLIT.json`` and the images in ``images/SPLIT``, ``SPLIT`` or ``images``; or
    ``SPLIT/_annotations.coco.json`` and the images next to it.

    Objects may overlap. Their outlines are polygons or run lengths. If an object has none (``segmentation`` is missing,
    null or an empty list), its box takes the place of the outline, and :attr:`content` states that there are boxes
    only. Objects without a pixel are left out.

    Args:
        root: Data set folder.
        split: Name of the split, or a unique prefix of it: ``train`` finds ``instances_train2017.json``.
        limit: Maximum number of images; only the first ones are used. None uses all.

    Raises:
        SeamsegError: The split is missing or ambiguous, its JSON file is wrong, no image is found, there is no thing
            category, or the limit is not positive.
    """

    title = "COCO detection"

    def __init__(self, root: Path, split: str, limit: int | None = None) -> None:
        found = detection_files(root)
        files = found[choose_split(found, split, root)]
        self.annotation_file = files.json_file
        content = load_object(self.annotation_file)
        where = str(self.annotation_file)
        entries = field(content, "categories", list, where)
        self.categories, self._stuff = thing_categories(entries, self.annotation_file)
        self.records = first_images(list_objects(content, self.annotation_file), limit)
        if not self.records:
            raise DataError(f"{where} contains no images")
        self.content: Content = INSTANCES if self._check_objects(content["annotations"]) else BOXES
        names = (record.image_file for record in self.records)
        self.image_folder = choose_folder(files.image_folders, names, f"images of {where}")

    def _check_objects(self, entries: list[dict[str, Any]]) -> bool:
        """Check the category of every object of the file, and return whether all objects have an outline."""
        known = self.categories.class_of_original_id.keys() | self._stuff
        outlined = True
        for entry in entries:
            category_id = entry["category_id"]
            if category_id not in known:
                raise DataError(
                    f"{self.annotation_file}: {annotation_text(entry)}: its category_id {category_id} is not among the "
                    "categories"
                )
            outlined &= bool(entry.get("segmentation")) or category_id in self._stuff
        return outlined

    def is_empty(self, index: int) -> bool:
        """Return whether the file lists no object of an image."""
        return not any(True for _ in self._objects(self.records[index]))

    def listed_classes(self, index: int) -> list[int]:
        """Return the classes of the objects of an image that are not crowd."""
        listed = self._objects(self.records[index])
        known = self.categories.class_of_original_id
        return [known[entry["category_id"]] for entry in listed if not entry.get("iscrowd")]

    def image_id(self, index: int) -> ImageId:
        """Return the id of an image from the JSON file."""
        return self.records[index].image_id

    def annotation_path(self, index: int) -> Path:
        """Return the path of the JSON file."""
        return self.annotation_file

    def read_image(self, index: int) -> NDArray[np.uint8]:
        """Read an image as H×W×3 uint8 RGB."""
        return read_image(self.image_path(index), "stored", self.records[index].size, f"{self.annotation_file} says")

    def read_annotation(self, index: int) -> LayeredSegmentation:
        """Read the objects and crowds of an image in the order of the file, in layers, renumbered 0 … K."""
        record = self.records[index]
        try:
            objects = [read_object(entry, record.size, self.categories) for entry in self._objects(record)]
        except SeamsegError as error:
            raise DataError(f"{self.annotation_file}: {error}") from error
        return in_layers(objects, record.size)

    def _objects(self, record: ListedObjects) -> Iterator[dict[str, Any]]:
        return (entry for entry in record.annotations if entry["category_id"] not in self._stuff)


@dataclass(frozen=True, eq=False)
class OutlinedObject:
    """An object or crowd.

    Attributes:
        number: Class.
        crowd: Whether it stands for many objects.
        counts: Pixels as compressed run lengths of pycocotools.
        stated: Box (y0, x0, y1, x1) and area as stated; NaN where the annotation states none.
    """

    number: int
    crowd: bool
    counts: dict[str, Any]
    stated: Measures


def read_object(entry: dict[str, Any], size: Size, categories: Categories) -> OutlinedObject:
    """Read an annotation; without an outline, its box takes the place of the outline.

    Args:
        entry: COCO annotation with a ``category_id`` among the categories.
        size: Height and width of the image.
        categories: Thing categories.

    Raises:
        SeamsegError: The outline, the box or the crowd flag is invalid.
    """
    where = annotation_text(entry)
    outline = entry.get("segmentation") or [box_polygon(entry.get("bbox"), size, where)]
    counts = read_outline(outline, size, where)
    crowd = "iscrowd" in entry and flag_field(entry, "iscrowd", where)
    return OutlinedObject(categories.class_of_original_id[entry["category_id"]], crowd, counts, _stated(entry))


def _stated(entry: dict[str, Any]) -> Measures:
    """Return the stated box and area of an annotation; NaN for each number that is missing or wrong."""
    box = entry.get("bbox")
    values = [*(box if isinstance(box, list) and len(box) == 4 else [None] * 4), entry.get("area")]
    x, y, width, height, area = (
        float(value) if isinstance(value, int | float) and abs(value) < _LARGEST_NUMBER else math.nan
        for value in values
    )
    return y, x, y + height, x + width, area


def in_layers(objects: Iterable[OutlinedObject], size: Size) -> LayeredSegmentation:
    """Draw objects into as many id maps as their overlaps require; segment k is the k-th object that has a pixel.

    Each object goes into the first layer in which its pixels are free.

    Args:
        objects: Objects and crowds of one image.
        size: Height and width of the image.
    """
    height, width = size
    layers = [np.zeros(height * width, np.int32)]  # column by column, like run lengths
    nothing: Measures = (math.nan, math.nan, math.nan, math.nan, math.nan)
    classes, crowd, stated = [VOID], [False], [nothing]
    for one in objects:
        pixels = _pixel_positions(one.counts)
        if not len(pixels):
            continue
        layer = next((layer for layer in layers if not layer[pixels].any()), None)
        if layer is None:
            layer = np.zeros(height * width, np.int32)
            layers.append(layer)
        layer[pixels] = len(classes)
        classes.append(one.number)
        crowd.append(one.crowd)
        stated.append(one.stated)
    ids = np.empty((len(layers), height, width), np.int32)
    for number, layer in enumerate(layers):
        ids[number] = layer.reshape(width, height).T
    numbers = torch.tensor(stated, dtype=torch.float64)
    return LayeredSegmentation(torch.from_numpy(ids), torch.tensor(classes), torch.tensor(crowd), numbers)


def _pixel_positions(counts: dict[str, Any]) -> NDArray[np.int64]:
    """Return the positions of an object's pixels, counted column by column.

    Most objects are small, so this takes less time than decoding the mask of the whole image.
    """
    runs = np.array(uncompressed(counts["counts"].decode()), np.int64)
    lengths = runs[1::2]
    starts = runs.cumsum()[::2][: len(lengths)]
    return np.repeat(starts - lengths.cumsum() + lengths, lengths) + np.arange(lengths.sum())
