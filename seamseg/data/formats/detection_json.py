"""Reader of COCO detection JSON files: images and their objects, for training and for conversion."""

from __future__ import annotations

import pickle
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamseg.data.formats.coco_json import images_by_id
from seamseg.data.json_fields import field, image_id_field, short_text
from seamseg.errors import DataError
from seamseg.structures import ImageId, Size


@dataclass(frozen=True, slots=True)
class ListedObjects:
    """One entry of ``images`` and its annotations.

    Attributes:
        image_id: Id of the image in the data set.
        image_file: Name of the image, relative to the folder of images.
        size: Height and width as stated by the file.
        objects: Packed annotations of the image; see :func:`unpack_objects`.
    """

    image_id: ImageId
    image_file: str
    size: Size
    objects: bytes

    @property
    def annotations(self) -> list[dict[str, Any]]:
        """Annotations of the image, each with a valid ``category_id`` and ``image_id``."""
        return unpack_objects(self.objects)


def unpack_objects(packed: bytes) -> list[dict[str, Any]]:
    """Return annotations that were read by :func:`list_objects`.

    They are kept as bytes because parsed annotations take four times the memory, and pickled because JSON takes ten
    times the time to write. The bytes come from this process, never from a file.
    """
    return list(pickle.loads(packed))


def list_objects(content: dict[str, Any], path: Path) -> list[ListedObjects]:
    """Join ``annotations`` with ``images``, in the order of ``images`` and including images without objects.

    Args:
        content: JSON object of the file.
        path: Path of the file, for error messages.

    Raises:
        SeamsegError: The file contradicts itself or names files outside of their folder.
    """
    objects = _objects_by_image(content, path)
    names: set[str] = set()
    listed = []
    for image in images_by_id(field(content, "images", list, str(path)), path).values():
        if image.file_name in names:
            raise DataError(f"{path}, image {image.image_id}: another image has the same file_name {image.file_name}")
        names.add(image.file_name)
        own = pickle.dumps(objects.pop(image.image_id, []), pickle.HIGHEST_PROTOCOL)
        listed.append(ListedObjects(image.image_id, image.file_name, image.size, own))
    if objects:
        raise DataError(
            f"{path}: annotations refer to image {short_text(next(iter(objects)))}, which is not among the images"
        )
    return listed


def _objects_by_image(content: dict[str, Any], path: Path) -> dict[ImageId, list[Any]]:
    objects: dict[ImageId, list[Any]] = defaultdict(list)
    for position, entry in enumerate(field(content, "annotations", list, str(path))):
        where = f"{path}, annotation {position}"
        field(entry, "category_id", int, where)
        objects[image_id_field(entry, "image_id", where)].append(entry)
    return objects
