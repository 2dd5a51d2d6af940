"""Semantic data: one class map per image, in three folder layouts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.data.formats.annotated_dataset import CLASSES
from seamseg.data.formats.coco_writer import distinct_values
from seamseg.data.formats.mask_classes import CLASS_FILE, MaskClasses, read_mask_classes
from seamseg.data.formats.split_names import choose_split, first_images
from seamseg.data.image_size import png_size
from seamseg.data.images import check_size, read_image, size_text
from seamseg.data.input_folder import IMAGE_SUFFIXES, relative_name, search_folder, subfolders
from seamseg.data.json_fields import check_file_names
from seamseg.data.labels.cityscapes import CITYSCAPES, LARGEST_LABEL
from seamseg.data.png import read_label_map
from seamseg.errors import DataError, SeamsegError
from seamseg.structures import VOID, Categories, Category, PanopticSegmentation, Size
from seamseg.structures.categories import palette_color


@dataclass(frozen=True, slots=True)
class MapRecord:
    """An image with a class map.

    Attributes:
        image_id: Name of the image without suffix, relative to the folder of its split.
        image: Path of the image, which may not exist.
        class_map: Path of the class map.
    """

    image_id: str
    image: Path
    class_map: Path


class ClassMaps:
    """Annotated images with the interface of :class:`seamseg.data.formats.annotated_dataset.PanopticDataset`.

    Each class of an image is one segment. All classes are stuff, because nothing tells their objects apart.

    Args:
        title: Kind of the data for messages.
        folder: Folder of the class maps, for error messages.
        classes: Classes of the values in the class maps.
        records: Images in their order.
        limit: Maximum number of images; only the first ones are used. None uses all.

    Raises:
        SeamsegError: There is no class map, one is not a PNG, or the limit is not positive.
    """

    content = CLASSES

    def __init__(
        self, title: str, folder: Path, classes: MaskClasses, records: list[MapRecord], limit: int | None = None
    ) -> None:
        if not records:
            raise DataError(f"{folder} contains no class maps")
        self.title, self.classes, self.records = title, classes, first_images(records, limit)
        self.categories = classes.categories.as_stuff()
        check_file_names([record.image_id for record in self.records], str(folder))
        self.sizes: list[Size] = [png_size(record.class_map) for record in self.records]

    def __len__(self) -> int:
        return len(self.records)

    def image_id(self, index: int) -> str:
        """Return the name of an image without suffix."""
        return self.records[index].image_id

    def image_path(self, index: int) -> Path:
        """Return the path of an image, which may not exist."""
        return self.records[index].image

    def annotation_path(self, index: int) -> Path:
        """Return the path of an image's class map."""
        return self.records[index].class_map

    def read_image(self, index: int) -> NDArray[np.uint8]:
        """Read an image as H×W×3 uint8 RGB."""
        return read_image(self.image_path(index), "stored", self.sizes[index], f"{self.annotation_path(index)} says")

    def read_annotation(self, index: int) -> PanopticSegmentation:
        """Read the classes of an image as segments 1 … K, by ascending class."""
        path = self.annotation_path(index)
        class_map = read_label_map(path)
        check_size(path, class_map.shape, self.sizes[index], f"its header says {size_text(self.sizes[index])}")
        values, value_of_pixel = distinct_values(class_map)
        try:
            class_of_value = self.classes.classes_of(values, value_of_pixel)
        except SeamsegError as error:
            raise DataError(f"{path}: {error}") from error
        present = np.unique(class_of_value[class_of_value != VOID])
        segment_of_value = np.searchsorted(present, class_of_value) + 1
        segment_of_value[class_of_value == VOID] = 0
        ids = torch.from_numpy(segment_of_value.astype(np.int32)[value_of_pixel])
        shown = torch.tensor([VOID, *present.tolist()])
        return PanopticSegmentation(ids, shown, torch.zeros(len(shown), dtype=torch.bool))


def pair_by_name(images: Path, class_maps: Path) -> list[MapRecord]:
    """Pair every class map with the image of the same name without suffix, sorted by name.

    Args:
        images: Folder of the images, which may have subfolders.
        class_maps: Folder of the PNGs.

    Raises:
        SeamsegError: Two images have the same name.
    """
    found: dict[str, Path] = {}
    for path in search_folder(images, IMAGE_SUFFIXES).paths:
        other = found.setdefault(_stem(path, images), path)
        if other is not path:
            raise DataError(f"{other} and {path} differ only in their suffix; rename or remove one of them")
    stems = {_stem(path, class_maps): path for path in search_folder(class_maps, {".png"}).paths}
    return [MapRecord(stem, found.get(stem, images / f"{stem}.jpg"), path) for stem, path in stems.items()]


def _stem(path: Path, folder: Path) -> str:
    return PurePosixPath(relative_name(path, folder)).with_suffix("").as_posix()


# Folders SPLIT/images and SPLIT/classes, as `seamseg convert masks` reads them


def class_map_splits(root: Path) -> list[str]:
    """Return the subfolders that contain ``images`` and ``classes``, if the folder contains ``classes.yaml``."""
    if not (root / CLASS_FILE).is_file():
        return []
    return [
        folder.name for folder in subfolders(root) if (folder / "images").is_dir() and (folder / "classes").is_dir()
    ]


def open_class_maps(root: Path, split: str, limit: int | None = None) -> ClassMaps:
    """Open ``SPLIT/images`` and ``SPLIT/classes``, whose values ``classes.yaml`` describes.

    Raises:
        SeamsegError: The split is missing or ambiguous, ``classes.yaml`` is wrong, or see :class:`ClassMaps`.
    """
    folder = root / choose_split(class_map_splits(root), split, root)
    records = pair_by_name(folder / "images", folder / "classes")
    return ClassMaps("class map", folder / "classes", read_mask_classes(root / CLASS_FILE), records, limit)


# ADE20K: folders images/SPLIT and annotations/SPLIT

NUM_ADE20K_CLASSES = 150
ADE20K_TABLE, NAME_LIST = "objectInfo150.txt", "classes.txt"
ADE20K_SPLITS = ("training", "validation")
"""Names of the splits of ADE20K. Other splits need a table of classes, because their numbers can mean anything."""


def ade20k_splits(root: Path) -> list[str]:
    """Return the names that ``images`` and ``annotations`` have subfolders of, the latter with PNGs."""
    if not (root / "images").is_dir() or not (root / "annotations").is_dir():
        return []
    described = any((root / name).is_file() for name in (CLASS_FILE, ADE20K_TABLE, NAME_LIST))
    return [
        folder.name
        for folder in subfolders(root / "annotations")
        if (described or folder.name in ADE20K_SPLITS)
        and (root / "images" / folder.name).is_dir()
        and any(path.suffix.lower() == ".png" for path in folder.rglob("*"))
    ]


def open_ade20k(root: Path, split: str, limit: int | None = None) -> ClassMaps:
    """Open ``images/SPLIT`` and ``annotations/SPLIT``, where 0 and 255 are void.

    ``classes.yaml`` describes the values, or ``objectInfo150.txt`` or ``classes.txt`` names the classes 1 … N. Without
    any of them, there are 150 classes, named by their numbers.

    Raises:
        SeamsegError: The split is missing or ambiguous, a table of classes is wrong, or see :class:`ClassMaps`.
    """
    name = choose_split(ade20k_splits(root), split, root)
    folder = root / "annotations" / name
    return ClassMaps("ADE20K", folder, _ade20k_classes(root), pair_by_name(root / "images" / name, folder), limit)


def _ade20k_classes(root: Path) -> MaskClasses:
    if (root / CLASS_FILE).is_file():
        return read_mask_classes(root / CLASS_FILE)
    table = next((path for path in (root / ADE20K_TABLE, root / NAME_LIST) if path.is_file()), None)
    names = [str(number) for number in range(1, NUM_ADE20K_CLASSES + 1)] if table is None else _class_names(table)
    try:
        categories = Categories(
            tuple(Category(name, False, palette_color(number), number + 1) for number, name in enumerate(names))
        )
    except SeamsegError as error:
        raise DataError(f"{table}: {error}") from error
    class_of_value = {0: VOID, VOID: VOID} | {number + 1: number for number in range(len(categories))}
    return MaskClasses(categories, class_of_value, remedy=f"describe all values in {root / CLASS_FILE}")


def _class_names(path: Path) -> list[str]:
    """Return the names of the classes: the lines, or, of ``objectInfo150.txt``, the last column without its heading."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a UTF-8 text file") from error
    lines = [line for line in lines if line]
    if path.name == ADE20K_TABLE:
        lines = [line.split("\t")[-1] for line in lines[1:]]
    if not lines:
        raise DataError(f"{path} names no classes; expected one in each line")
    return lines


# Cityscapes: leftImg8bit/SPLIT/CITY and gtFine/SPLIT/CITY

IMAGE_FOLDER, IMAGE_ENDING = "leftImg8bit", "_leftImg8bit.png"
LABEL_FOLDER = "gtFine"
TRAIN_IDS, LABEL_IDS = "_gtFine_labelTrainIds.png", "_gtFine_labelIds.png"
WITHOUT_LABELS = "test"
"""Name of the split that is published with void maps only."""


def cityscapes_splits(root: Path) -> list[str]:
    """Return the subfolders of ``gtFine`` that contain label maps, without ``test``."""
    if not (root / LABEL_FOLDER).is_dir() or not (root / IMAGE_FOLDER).is_dir():
        return []
    folders = [folder for folder in subfolders(root / LABEL_FOLDER) if folder.name != WITHOUT_LABELS]
    return [folder.name for folder in folders if any(folder.glob("*/*_gtFine_label*Ids.png"))]


def open_cityscapes(root: Path, split: str, limit: int | None = None) -> ClassMaps:
    """Open the train ids of a split (``*_labelTrainIds.png``), or else its label ids (``*_labelIds.png``).

    Raises:
        SeamsegError: The split is missing or ambiguous, or see :class:`ClassMaps`.
    """
    name = choose_split(cityscapes_splits(root), split, root)
    folder, images = root / LABEL_FOLDER / name, root / IMAGE_FOLDER / name
    ending = TRAIN_IDS if any(folder.glob(f"*/*{TRAIN_IDS}")) else LABEL_IDS
    maps = sorted(folder.glob(f"*/*{ending}"), key=lambda path: path.name)
    records = [
        MapRecord(stem, images / path.parent.name / f"{stem}{IMAGE_ENDING}", path)
        for path in maps
        for stem in [path.name.removesuffix(ending)]
    ]
    return ClassMaps("Cityscapes", folder, _cityscapes_classes(ending), records, limit)


def _cityscapes_classes(ending: str) -> MaskClasses:
    numbers = range(len(CITYSCAPES))
    if ending == TRAIN_IDS:
        remedy = f"train ids are 0 … {len(CITYSCAPES) - 1}, and 255 for void"
        return MaskClasses(CITYSCAPES, {VOID: VOID} | {number: number for number in numbers}, remedy=remedy)
    void = dict.fromkeys((*range(LARGEST_LABEL + 1), VOID), VOID)
    remedy = f"label ids are 0 … {LARGEST_LABEL}"
    return MaskClasses(CITYSCAPES, void | CITYSCAPES.class_of_original_id, remedy=remedy)
