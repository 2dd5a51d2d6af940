"""COCO detection annotation: a JSON file of objects, by image."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamseg.data.coco_index import coco_classes
from seamseg.data.convert.outlines import WITHOUT_OUTLINE_HINT
from seamseg.data.input_folder import existing_suffix
from seamseg.data.json_fields import field, file_field, image_id_field, load_object, short_text
from seamseg.data.result_names import unique_stems
from seamseg.structures import Categories, ImageId, Size


@dataclass(frozen=True)
class DetectionImage:
    """One photograph and its objects.

    Attributes:
        image_id: the source's.
        image_file: name of the photograph below its folder.
        size: height and width as the JSON file states them.
        photograph: file.
        png_file: Name of the PNG in the result; each image has its own.
        stuff_map: file of stuff values; None where stuff comes as annotations, or not at all.
        objects: the image's annotations as JSON, which takes less memory than the parsed ones.
    """

    image_id: ImageId
    image_file: str
    size: Size
    photograph: Path
    png_file: str
    stuff_map: Path | None
    objects: bytes

    @property
    def name(self) -> str:
        return self.image_file

    @property
    def sources(self) -> Sequence[Path]:
        return (self.photograph,) if self.stuff_map is None else (self.photograph, self.stuff_map)


def read_detection(
    path: Path, images: Path, stuff_maps: Path | None, without_outlines: bool = False
) -> list[DetectionImage]:
    """The images of a COCO detection file, in its order, those without objects too.

    Args:
        path: of the JSON file, such as ``instances_train2017.json``.
        images: folder of the photographs.
        stuff_maps: folder of PNG files named like the photographs.
        without_outlines: Whether annotations may lack the key ``segmentation``.

    Raises:
        ValueError: the file is not of that form, or contradicts itself.
    """
    content = load_object(path)
    objects = _objects_by_image(content, path, without_outlines)
    entries = _image_entries(content, path)
    stems = unique_stems(name for name, _ in entries.values())
    if stuff_maps is not None:
        _check_stuff_maps([name for name, _ in entries.values()], path)
    found = []
    for (image_id, (name, size)), stem in zip(entries.items(), stems, strict=True):
        stuff_map = None if stuff_maps is None else existing_suffix(stuff_maps / f"{stem}.png")
        own = json.dumps(objects.pop(image_id, [])).encode()
        found.append(DetectionImage(image_id, name, size, images / name, f"{stem}.png", stuff_map, own))
    if objects:
        raise ValueError(
            f"{path}: annotations speak of the image {short_text(next(iter(objects)))}, which is not among the images"
        )
    return found


def _objects_by_image(content: dict[str, Any], path: Path, without_outlines: bool) -> dict[ImageId, list[Any]]:
    objects: dict[ImageId, list[Any]] = defaultdict(list)
    for position, entry in enumerate(field(content, "annotations", list, str(path))):
        where = f"{path}, annotation {position}"
        field(entry, "category_id", int, where)
        if "segmentation" not in entry and not without_outlines:
            raise ValueError(
                f"{where}: the key 'segmentation' is missing; boxes alone do not say who owns a pixel "
                f"({WITHOUT_OUTLINE_HINT})"
            )
        objects[image_id_field(entry, "image_id", where)].append(entry)
    return objects


def _image_entries(content: dict[str, Any], path: Path) -> dict[ImageId, tuple[str, Size]]:
    """Name of the photograph, height and width of every image."""
    found: dict[ImageId, tuple[str, Size]] = {}
    names: set[str] = set()
    for position, entry in enumerate(field(content, "images", list, str(path))):
        image_id = image_id_field(entry, "id", f"{path}, image {position}")
        where = f"{path}, image {image_id}"
        name = file_field(entry, "file_name", where)
        if image_id in found or name in names:
            raise ValueError(f"{where}: its id or its file {name} is that of another image")
        names.add(name)
        found[image_id] = name, (field(entry, "height", int, where), field(entry, "width", int, where))
    return found


def _check_stuff_maps(names: list[str], path: Path) -> None:
    """Maps of stuff are found by the names of photographs without suffix, so these must differ."""
    known: dict[Path, str] = {}
    for name in names:
        other = known.setdefault(Path(name).with_suffix(""), name)
        if other != name:
            raise ValueError(
                f"{path}: {other} and {name} have the same name but for their suffix, so their maps of stuff would be "
                "the same file; rename one of them"
            )


def detection_categories(path: Path, table: Path | None) -> Categories:
    """The classes of a panoptic set that is made from a detection file.

    Args:
        path: of the detection file; its own ``categories`` are used if they say which are things.
        table: a JSON file with a list of categories (``id``, ``name``, ``isthing``, ``color``), or with such a list
            under ``categories``; None for none.

    Raises:
        ValueError: neither says which categories are things, or there is no thing or no stuff class.
    """
    where = path if table is None else table
    entries = _category_entries(where)
    if table is None and not all(isinstance(entry, dict) and "isthing" in entry for entry in entries):
        raise ValueError(
            f"the categories of {path} do not say which are things (isthing); give a JSON list of all things and stuff "
            "with --categories"
        )
    return coco_classes(entries, where).categories


def _category_entries(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    entries = content.get("categories") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise ValueError(f"{path} holds no list of categories")
    return entries
