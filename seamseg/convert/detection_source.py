"""Readers for the images and categories of COCO detection files that are converted to panoptic data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamseg.data.formats.class_table import coco_classes
from seamseg.data.formats.detection_json import list_objects
from seamseg.data.input_folder import existing_suffix, unique_stems
from seamseg.data.json_fields import field, load_object
from seamseg.errors import DataError
from seamseg.structures import Categories, ImageId, Size

SKIP_HINT = "use --without-outline skip to leave out such objects"
WITHOUT_OUTLINE_HINT = f"{SKIP_HINT}, or --without-outline box to use their box"


@dataclass(frozen=True)
class DetectionImage:
    """One image and its objects.

    Attributes:
        image_id: Id of the image in the source.
        image_file: Path of the image relative to the image folder.
        size: Height and width stated in the JSON file.
        image_path: Path of the image.
        png_file: Name of the PNG in the result, unique among the images.
        stuff_map: Path of the stuff map. None if stuff is annotated as objects or not at all.
        objects: Packed annotations of the image; see :func:`seamseg.data.formats.detection_json.unpack_objects`.
    """

    image_id: ImageId
    image_file: str
    size: Size
    image_path: Path
    png_file: str
    stuff_map: Path | None
    objects: bytes

    @property
    def name(self) -> str:
        """Name of the item in the journal."""
        return self.image_file

    @property
    def sources(self) -> Sequence[Path]:
        """Files that the result is made from."""
        return (self.image_path,) if self.stuff_map is None else (self.image_path, self.stuff_map)


def read_detection(
    path: Path, images: Path, stuff_maps: Path | None, without_outlines: bool = False
) -> list[DetectionImage]:
    """Read the images of a COCO detection file, in file order and including images without objects.

    Args:
        path: Path of the JSON file, such as ``instances_train2017.json``.
        images: Folder of the images.
        stuff_maps: Folder of PNG files named like the images. None if there are no stuff maps.
        without_outlines: Whether annotations may lack the key ``segmentation``.

    Raises:
        SeamsegError: The file does not have this form, or is inconsistent.
    """
    content = load_object(path)
    if not without_outlines:
        _check_outlines(content, path)
    listed = list_objects(content, path)
    names = [image.image_file for image in listed]
    if stuff_maps is not None:
        _check_stuff_maps(names, path)
    found = []
    for image, stem in zip(listed, unique_stems(names), strict=True):
        stuff_map = None if stuff_maps is None else existing_suffix(stuff_maps / f"{stem}.png")
        files = images / image.image_file, f"{stem}.png", stuff_map
        found.append(DetectionImage(image.image_id, image.image_file, image.size, *files, image.objects))
    return found


def _check_outlines(content: dict[str, Any], path: Path) -> None:
    for position, entry in enumerate(field(content, "annotations", list, str(path))):
        if isinstance(entry, dict) and "segmentation" not in entry:
            raise DataError(
                f"{path}, annotation {position}: the key 'segmentation' is missing, and a box does not tell which "
                f"pixels an object covers; {WITHOUT_OUTLINE_HINT}"
            )


def _check_stuff_maps(names: list[str], path: Path) -> None:
    """Make sure that image names differ without their suffix, because stuff maps are found by that name."""
    known: dict[Path, str] = {}
    for name in names:
        other = known.setdefault(Path(name).with_suffix(""), name)
        if other != name:
            raise DataError(
                f"{path}: {other} and {name} differ only in their suffix, so they would share one stuff map; rename "
                "one of them"
            )


def detection_categories(path: Path, table: Path | None) -> Categories:
    """Read the categories of a panoptic data set that is made from a detection file.

    Args:
        path: Path of the detection file. Its own ``categories`` are used if ``table`` is None.
        table: Path of a JSON file that contains a list of categories (``id``, ``name``, ``isthing``, ``color``), either
            at the top level or under ``categories``. None to use those of the detection file.

    Raises:
        SeamsegError: The categories do not state which of them are things, or there are none.
    """
    where = path if table is None else table
    entries = _category_entries(where)
    if table is None and not all(isinstance(entry, dict) and "isthing" in entry for entry in entries):
        raise DataError(
            f"the categories of {path} do not state which are things ('isthing'); pass a JSON list of all thing and "
            "stuff categories with --categories"
        )
    return coco_classes(entries, where).categories


def _category_entries(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    entries = content.get("categories") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise DataError(f"{path} does not contain a list of categories")
    return entries
