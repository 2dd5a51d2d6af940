"""``metadata.bin`` of the published seamseg: classes and images of a data set in MessagePack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from seamseg.data.json_fields import checked_file_name, field, short_text
from seamseg.structures import VOID, Categories, Category, Size
from seamseg.structures.categories import FLAG_VALUES, is_flag


@dataclass(frozen=True, eq=False, slots=True)
class LegacyRecord:
    """One image.

    Attributes:
        image_id: its id, and the name of its files without suffix.
        size: height and width.
        classes: K+1 int64, the class of each segment id; 255 for void, which id 0 is.
        crowd: K+1 bool.
    """

    image_id: str
    size: Size
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]


def load_metadata(path: Path) -> dict[str, Any]:
    """The content of the file; plain values only, so that it cannot run code.

    Raises:
        ValueError: the file is missing, damaged, or of another kind.
    """
    try:
        content = msgpack.unpackb(path.read_bytes(), raw=False)
    except OSError as error:
        raise ValueError(f"{path} cannot be read as metadata of seamseg: {error.strerror}") from error
    except Exception as error:  # of the library, or of what it calls on damaged bytes
        raise ValueError(f"{path} cannot be read as metadata of seamseg: {short_text(error)}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} cannot be read as metadata of seamseg: it holds a {type(content).__name__}")
    return content


def metadata_categories(content: dict[str, Any], path: Path) -> Categories:
    """The classes, from the part ``meta``.

    Raises:
        ValueError: it is incomplete or contradicts itself.
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
        raise ValueError(
            f"{path} cannot be read as metadata of seamseg: {short_text(error)} in its part 'meta'"
        ) from error
    try:
        return Categories(classes)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as metadata of seamseg: {error}") from error


def metadata_images(content: dict[str, Any], num_classes: int, path: Path) -> list[LegacyRecord]:
    """The images, in the order of the file.

    Raises:
        ValueError: an entry is wrong, an id appears twice, or it would lead out of the data set folder.
    """
    records: dict[str, LegacyRecord] = {}
    for position, entry in enumerate(field(content, "images", list, str(path))):
        record = _record(entry, num_classes, f"{path}, image {position}")
        if record.image_id in records:
            raise ValueError(f"{path}: two images have the id {record.image_id}")
        records[record.image_id] = record
    return list(records.values())


def _record(entry: Any, num_classes: int, where: str) -> LegacyRecord:
    image_id = checked_file_name(field(entry, "id", str, where), f"{where}: 'id'")
    where = f"{where} ({image_id})"
    size = _numbers(entry, "size", where)
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"{where}: 'size' is {size}, expected height and width")
    classes, crowd = _numbers(entry, "cat", where), field(entry, "iscrowd", list, where)
    if len(classes) != len(crowd):
        raise ValueError(f"{where}: 'cat' describes {len(classes)} segments, 'iscrowd' {len(crowd)}")
    if not classes or classes[0] != VOID:
        raise ValueError(f"{where}: 'cat' must begin with {VOID}, the class of void, which segment 0 is")
    wrong = [value for value in classes if not (0 <= value < num_classes or value == VOID)]
    if wrong:
        raise ValueError(f"{where}: 'cat' holds the class {wrong[0]}; there are {num_classes}")
    odd = [value for value in crowd if not is_flag(value)]
    if odd:
        raise ValueError(f"{where}: 'iscrowd' holds {short_text(odd[0])}, expected {FLAG_VALUES}")
    return LegacyRecord(image_id, (size[0], size[1]), np.array(classes, np.int64), np.array(crowd, np.bool_))


def _numbers(entry: Any, key: str, where: str) -> list[int]:
    values = field(entry, key, list, where)
    wrong = [value for value in values if not isinstance(value, int)]
    if wrong:
        raise ValueError(f"{where}: {key!r} holds {short_text(wrong[0])}, expected whole numbers")
    return values
