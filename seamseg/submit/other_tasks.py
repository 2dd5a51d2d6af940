"""Submissions of models that write no panoptic results: objects of instance models, and class maps of semantic ones."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as run_lengths

from seamseg.data.formats.coco_json import listed_categories
from seamseg.data.formats.coco_writer import ANNOTATION_FILE
from seamseg.data.formats.outlines import read_outline
from seamseg.data.images import check_size, decode_file, size_text
from seamseg.data.json_fields import field, file_field, load_object
from seamseg.errors import DataError
from seamseg.structures import Categories, ImageId, Size
from seamseg.submit.benchmark import Benchmark
from seamseg.submit.formats import FormatName, Member, Packed, encoded_png
from seamseg.submit.selection import Expected, image_id_of

OBJECTS_FILE, CLASSES_FOLDER, CATEGORIES_FILE = "instances.json", "semantic", "categories.json"


@dataclass(frozen=True)
class ObjectImage:
    """Detected objects of one image.

    Attributes:
        image_id: Id of the image on the server.
        size: Height and width of the image; None if unknown.
        objects: Entries of the results, with the category ids of the server.
    """

    image_id: ImageId
    size: Size | None
    objects: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class ClassMapImage:
    """Class map of one image.

    Attributes:
        image_id: Id of the image on the server.
        path: Path of the PNG with a class number per pixel, 255 for void.
        size: Required height and width; None for any size.
    """

    image_id: ImageId
    path: Path
    size: Size | None


def source_of(predictions: Path, format_name: FormatName) -> Path | None:
    """Return the objects file or the folder of class maps to pack instead of panoptic results; None if there is none.

    Args:
        predictions: Folder that ``seamseg predict`` wrote, or a file.
        format_name: Format of the submission.
    """
    name = {"instances": OBJECTS_FILE, "results": OBJECTS_FILE, "semantic": CLASSES_FOLDER}.get(format_name)
    if name is None or (format_name != "results" and (predictions / ANNOTATION_FILE).exists()):
        return None
    return predictions / name if (predictions / name).exists() else None


def read_categories_of(predictions: Path) -> Categories:
    """Read the categories of a model from its results folder.

    Raises:
        SeamsegError: The file is damaged.
        OSError: The file cannot be read.
    """
    path = predictions / CATEGORIES_FILE
    if not path.exists() and (predictions / ANNOTATION_FILE).exists():
        return listed_categories(load_object(predictions / ANNOTATION_FILE), predictions / ANNOTATION_FILE)
    try:
        return Categories.from_list(json.loads(path.read_bytes()))
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{path} does not contain the categories of the model: {error}") from error


def select_objects(
    path: Path, categories: Categories, ids: NDArray[np.int64], benchmark: Benchmark, expected: Expected | None
) -> list[ObjectImage]:
    """Read detected objects, sorted by image id.

    Args:
        path: Path of the results file.
        categories: Categories of the model.
        ids: Category id on the server of each class.
        benchmark: Benchmark that defines the image ids.
        expected: Images of the submission; objects of others are left out. None for all images with objects.

    Raises:
        SeamsegError: The file has another format, or an image name does not belong to the benchmark.
    """
    found: defaultdict[ImageId, list[dict[str, Any]]] = defaultdict(list)
    known: dict[str, ImageId] = {}
    for position, entry in enumerate(json.loads(path.read_bytes())):
        where = f"{path}, result {position}"
        name, category_id = file_field(entry, "file_name", where), field(entry, "category_id", int, where)
        if category_id not in categories.class_of_original_id:
            raise DataError(f"{where}: its category_id {category_id} is not in {CATEGORIES_FILE}")
        known.setdefault(name, image_id_of(name, benchmark, path))
        kept = {key: entry[key] for key in ("bbox", "score", "segmentation") if key in entry}
        server_id = int(ids[categories.class_of_original_id[category_id]])
        found[known[name]].append({"category_id": server_id} | kept)
    sizes: Mapping[ImageId, Size | None] = dict.fromkeys(found) if expected is None else expected
    return [
        ObjectImage(image_id, sizes[image_id] or benchmark.size, tuple(found.get(image_id, ())))
        for image_id in sorted(sizes, key=lambda one: (str(type(one)), one))
    ]


def select_class_maps(folder: Path, benchmark: Benchmark, expected: Expected | None) -> list[ClassMapImage]:
    """Find class maps, sorted by image id.

    Args:
        folder: Folder of the PNGs.
        benchmark: Benchmark that defines the image ids.
        expected: Images that the submission must contain; others are left out. None for all.

    Raises:
        SeamsegError: A name does not belong to the benchmark, or an expected image has no class map.
    """
    maps = {image_id_of(path.name, benchmark, folder): path for path in sorted(folder.rglob("*.png"))}
    wanted = set(maps) if expected is None else set(expected)
    missing = sorted(str(image_id) for image_id in wanted - maps.keys())
    if missing:
        raise DataError(f"{folder} has no class map for {len(missing)} images, such as {missing[0]}")
    ordered = sorted(wanted, key=lambda one: (str(type(one)), one))
    return [ClassMapImage(image_id, maps[image_id], benchmark.size) for image_id in ordered]


@dataclass(frozen=True)
class ObjectPacker:
    """Converter of the objects of one image to the files of a submission; can be pickled for other processes.

    Attributes:
        format: ``instances`` for masks and a text file, ``results`` for entries of one JSON file.
        folder: Folder of the masks in the archive, or name of the JSON file without suffix.
    """

    format: FormatName
    folder: str

    def __call__(self, image: ObjectImage) -> Packed:
        """Create the files of one image.

        Raises:
            SeamsegError: An object has no valid mask although the format needs one.
        """
        if self.format == "results":
            entries = [json.dumps({"image_id": image.image_id} | one, separators=(",", ":")) for one in image.objects]
            return Packed((), len(entries), ",\n".join(entries))
        masks, lines = list[Member](), list[str]()
        for one in image.objects:
            where = f"an object of image {image.image_id}"
            if "segmentation" not in one:
                raise DataError(f"{where} has no mask, which this benchmark requires; use an instance model")
            size = image.size or tuple(one["segmentation"]["size"])
            pixels = run_lengths.decode(read_outline(one["segmentation"], size, where)) * np.uint8(255)
            name = f"{self.folder}/{image.image_id}_{len(masks):03}.png"
            masks.append(Member(name, encoded_png(pixels)))
            lines.append(f"{name} {one['category_id']} {float(one['score'])!r}\n")
        return Packed((*masks, Member(f"{image.image_id}.txt", "".join(lines).encode())), len(masks))


@dataclass(frozen=True)
class ClassMapPacker:
    """Converter of a class map to the PNG of a submission; can be pickled for other processes.

    Attributes:
        category_ids: Category id on the server for each class 0 … 255.
    """

    category_ids: NDArray[np.int64]
    format: ClassVar[FormatName] = "semantic"
    folder: ClassVar[str] = ""

    def __call__(self, image: ClassMapImage) -> Packed:
        """Create ``FRAME_labelIds.png`` of one image.

        Raises:
            SeamsegError: The PNG is broken or has another size.
        """
        classes = decode_file(image.path, cv2.IMREAD_UNCHANGED)
        if classes.dtype != np.uint8 or classes.ndim != 2:
            raise DataError(f"{image.path} is not a gray PNG of class numbers")
        if image.size is not None:
            check_size(image.path, classes.shape, image.size, f"the benchmark requires {size_text(image.size)}")
        labels = self.category_ids.astype(np.uint8)[classes]
        num_segments = len(set(np.unique(classes).tolist()) - {255})
        return Packed((Member(f"{image.image_id}_labelIds.png", encoded_png(labels)),), num_segments)
