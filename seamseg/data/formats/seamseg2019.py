"""Data sets converted by the published seamseg: ``metadata.bin`` (MessagePack), ``lst``, ``img`` and ``msk``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import msgpack
import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.data.formats.annotated_dataset import PANOPTIC
from seamseg.data.formats.class_table import require_categories
from seamseg.data.formats.split_names import choose_split, first_images
from seamseg.data.images import check_size, decode_file, read_image, size_text
from seamseg.data.input_folder import existing_suffix, is_leftover
from seamseg.data.json_fields import checked_file_name, field, short_text
from seamseg.errors import BrokenImageError, DataError, SeamsegError
from seamseg.ops.id_maps import drop_empty_segments
from seamseg.structures import VOID, Categories, Category, PanopticSegmentation, Size
from seamseg.structures.categories import FLAG_VALUES, is_flag


@dataclass(frozen=True, eq=False, slots=True)
class LegacyRecord:
    """Metadata of one image.

    Attributes:
        image_id: Id of the image, which is also the name of its files without suffix.
        size: Height and width.
        classes: K + 1 int64, class of each segment id; 255 for void, which includes id 0.
        crowd: K + 1 bool.
    """

    image_id: str
    size: Size
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]


def load_metadata(path: Path) -> dict[str, Any]:
    """Read the metadata file, which may contain only plain values, so it cannot run code.

    Raises:
        SeamsegError: The file is missing, damaged, or not a metadata file.
    """
    try:
        content = msgpack.unpackb(path.read_bytes(), raw=False)
    except OSError as error:
        raise DataError(f"{path} cannot be read as seamseg metadata: {error.strerror}") from error
    except Exception as error:  # damaged bytes make msgpack raise many kinds of errors
        raise DataError(f"{path} cannot be read as seamseg metadata: {short_text(error)}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} cannot be read as seamseg metadata: it contains a {type(content).__name__}, not a map")
    return content


def metadata_categories(content: dict[str, Any], path: Path) -> Categories:
    """Return the categories from the ``meta`` section.

    Raises:
        SeamsegError: The section is incomplete or contradicts itself.
    """
    try:
        meta = content["meta"]
        num_stuff, names = int(meta["num_stuff"]), list(meta["categories"])
        palette, original_ids = list(meta["palette"]), list(meta["original_ids"])
        classes = tuple(
            Category(str(name), index >= num_stuff, (int(red), int(green), int(blue)), int(original))
            for index, (name, (red, green, blue), original) in enumerate(zip(names, palette, original_ids, strict=True))
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} cannot be read as seamseg metadata: {short_text(error)} in its 'meta' section"
        ) from error
    try:
        return Categories(classes)
    except SeamsegError as error:
        raise DataError(f"{path} cannot be read as seamseg metadata: {error}") from error


def metadata_images(content: dict[str, Any], num_classes: int, path: Path) -> list[LegacyRecord]:
    """Return the records of the images, in the order of the file.

    Args:
        content: Content of the file.
        num_classes: Number of classes.
        path: Path of the file, for error messages.

    Raises:
        SeamsegError: An entry is wrong, an id occurs twice, or an id would lead out of the data set folder.
    """
    records: dict[str, LegacyRecord] = {}
    for position, entry in enumerate(field(content, "images", list, str(path))):
        record = _record(entry, num_classes, f"{path}, image {position}")
        if record.image_id in records:
            raise DataError(f"{path}: two images have the id {record.image_id}")
        records[record.image_id] = record
    return list(records.values())


def _record(entry: Any, num_classes: int, where: str) -> LegacyRecord:
    image_id = checked_file_name(field(entry, "id", str, where), f"{where}: 'id'")
    where = f"{where} ({image_id})"
    size = _numbers(entry, "size", where)
    if len(size) != 2 or min(size) < 1:
        raise DataError(f"{where}: 'size' is {size}, expected height and width")
    classes, crowd = _numbers(entry, "cat", where), field(entry, "iscrowd", list, where)
    if len(classes) != len(crowd):
        raise DataError(f"{where}: 'cat' describes {len(classes)} segments, but 'iscrowd' describes {len(crowd)}")
    if not classes or classes[0] != VOID:
        raise DataError(f"{where}: 'cat' must begin with {VOID}, the class of void, because segment 0 is void")
    wrong = [value for value in classes if not (0 <= value < num_classes or value == VOID)]
    if wrong:
        raise DataError(f"{where}: 'cat' contains class {wrong[0]}, but there are only {num_classes} classes")
    odd = [value for value in crowd if not is_flag(value)]
    if odd:
        raise DataError(f"{where}: 'iscrowd' contains {short_text(odd[0])}, expected {FLAG_VALUES}")
    return LegacyRecord(image_id, (size[0], size[1]), np.array(classes, np.int64), np.array(crowd, np.bool_))


def _numbers(entry: Any, key: str, where: str) -> list[int]:
    values = field(entry, key, list, where)
    wrong = [value for value in values if not isinstance(value, int)]
    if wrong:
        raise DataError(f"{where}: {key!r} contains {short_text(wrong[0])}, expected integers")
    return values


METADATA_FILE = "metadata.bin"
LIST_FOLDER = "lst"
_SUFFIXES = (".png", ".jpeg", ".jpg")


def legacy_splits(root: Path) -> list[str]:
    """Return the splits of a data set, which are the names of its lists, sorted."""
    return sorted(path.stem for path in (root / LIST_FOLDER).glob("*.txt") if not is_leftover(path))


class Seamseg2019Dataset:
    """Annotated images with the interface of :class:`seamseg.data.formats.annotated_dataset.PanopticDataset`.

    The folder ``root`` must contain ``metadata.bin``, ``lst/SPLIT.txt`` with the image ids of a split, images
    ``img/ID.png`` or ``.jpg``, and ``msk/ID.png`` with the segment ids. Images are in the order of ``metadata.bin``.

    Args:
        root: Data set folder.
        split: Name of a list, or a unique prefix of it.
        limit: Maximum number of images; only the first ones are used. None uses all.

    Raises:
        SeamsegError: The split is missing or ambiguous, its list is empty or names an unknown image, ``metadata.bin``
            is wrong, there is no class, or the limit is not positive.
    """

    title, content = "panoptic", PANOPTIC

    def __init__(self, root: Path, split: str, limit: int | None = None) -> None:
        self.root, self.metadata_file = root, root / METADATA_FILE
        self.list_file = root / LIST_FOLDER / f"{choose_split(legacy_splits(root), split, root)}.txt"
        content = load_metadata(self.metadata_file)
        self.categories = metadata_categories(content, self.metadata_file)
        require_categories(self.categories, f"{self.metadata_file} has no class")
        images = metadata_images(content, len(self.categories), self.metadata_file)
        self.records = first_images(self._listed(images), limit)

    def _listed(self, images: list[LegacyRecord]) -> list[LegacyRecord]:
        try:
            wanted = set(self.list_file.read_text(encoding="utf-8").split("\n")) - {""}
        except UnicodeDecodeError as error:
            raise DataError(f"the list {self.list_file} is not a UTF-8 text file") from error
        wanted = {line.strip() for line in wanted}
        unknown = sorted(wanted - {image.image_id for image in images})
        if unknown or not wanted:
            problem = f"names {unknown[0]}, which {self.metadata_file} does not describe" if unknown else "is empty"
            raise DataError(f"the list {self.list_file} {problem}")
        return [image for image in images if image.image_id in wanted]

    def __len__(self) -> int:
        return len(self.records)

    @property
    def sizes(self) -> list[Size]:
        """Height and width of every image."""
        return [record.size for record in self.records]

    def image_id(self, index: int) -> str:
        """Return the id of an image from ``metadata.bin``."""
        return self.records[index].image_id

    def image_path(self, index: int) -> Path:
        """Return the path of an image, which may not exist."""
        places = [self.root / "img" / f"{self.image_id(index)}{suffix}" for suffix in _SUFFIXES]
        return next((path for path in map(existing_suffix, places) if path.is_file()), places[-1])

    def listed_classes(self, index: int) -> list[int]:
        """Return the classes of the segments of an image that are not crowd."""
        record = self.records[index]
        return list(record.classes[~record.crowd & (record.classes != VOID)].tolist())

    def annotation_path(self, index: int) -> Path:
        """Return the path of an image's segment ids, which may not exist."""
        return existing_suffix(self.root / "msk" / f"{self.image_id(index)}.png")

    def read_image(self, index: int) -> NDArray[np.uint8]:
        """Read an image as H×W×3 uint8 RGB."""
        return read_image(self.image_path(index), "stored", self.records[index].size, f"{self.metadata_file} says")

    def read_annotation(self, index: int) -> PanopticSegmentation:
        """Read the segments of an image, renumbered 0 … K."""
        record, path = self.records[index], self.annotation_path(index)
        ids = decode_file(path, cv2.IMREAD_UNCHANGED)
        if ids.ndim != 2 or ids.dtype not in (np.uint8, np.uint16):
            raise BrokenImageError(path, "is not an 8-bit or 16-bit gray image of segment ids")
        if path.with_name(f"{path.name}.1").exists():
            raise DataError(f"{path} has a second layer, {path.name}.1: its objects overlap, so it is not panoptic")
        check_size(path, ids.shape, record.size, f"{self.metadata_file} says {size_text(record.size)}")
        if int(ids.max()) >= len(record.classes):
            raise DataError(
                f"{path} contains segment {ids.max()}, but {self.metadata_file} ends at {len(record.classes) - 1}"
            )
        segments = np.where(record.classes == VOID, 0, np.arange(len(record.classes), dtype=np.int32))
        parts = segments[ids].astype(np.int32), record.classes, record.crowd
        return drop_empty_segments(PanopticSegmentation(*map(torch.from_numpy, parts)))[0]
