"""Reader of COCO files that labeling tools write: coco-annotator, and CVAT's format COCO 1.0."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from seamseg.convert.drawn import DrawnExport, DrawnImage, DrawnShape, ImageFinder, number_field, rectangle
from seamseg.data.formats.detection_json import ListedObjects, list_objects
from seamseg.data.json_fields import field, flag_field, load_object, short_text
from seamseg.errors import DataError

Tool = Literal["cvat", "coco-annotator"]


def read_coco_export(path: Path, finder: ImageFinder, tool: Tool, *, keep_crowd: bool = False) -> DrawnExport:
    """Read a file. The order of its annotations is the drawing order.

    CVAT marks every mask of its brush as ``iscrowd``, whatever it shows; without ``keep_crowd``, the mark is ignored.
    Its rectangles have no outline, and a rotation around their center. coco-annotator states the path of an image
    under ``path``, and only the last part of it under ``file_name``. It shows images as they are stored, whatever
    their EXIF orientation says.

    Args:
        path: JSON file.
        finder: Finder of the images.
        tool: Program that wrote the file.
        keep_crowd: Whether annotations of CVAT that are marked as ``iscrowd`` cover many objects.

    Raises:
        SeamsegError: The file contradicts itself.
        OSError: The file cannot be read.
    """
    content = load_object(path)
    labels = _labels(content, path)
    export = DrawnExport(path)
    if tool == "coco-annotator":
        _use_paths(content, path)
        _drop_orphans(content, export)
    for image in list_objects(content, path):
        shapes = [_shape(entry, labels, path, tool, keep_crowd, export) for entry in image.annotations]
        _add_image(export, image, finder, tuple(shape for shape in shapes if shape is not None), tool == "cvat")
    return export


def _labels(content: dict[str, Any], path: Path) -> dict[int, str]:
    labels: dict[int, str] = {}
    for position, entry in enumerate(field(content, "categories", list, str(path))):
        where = f"{path}, category {position}"
        labels[field(entry, "id", int, where)] = field(entry, "name", str, where)
    return labels


def _use_paths(content: dict[str, Any], path: Path) -> None:
    """Replace names by paths, because images in different folders may have the same name."""
    for entry in field(content, "images", list, str(path)):
        if isinstance(entry, dict) and isinstance(entry.get("path"), str):
            entry["file_name"] = entry["path"].replace("\\", "/").lstrip("/")


def _drop_orphans(content: dict[str, Any], export: DrawnExport) -> None:
    """Leave out annotations of images that were deleted."""
    known = {short_text(entry.get("id")) for entry in content["images"] if isinstance(entry, dict)}
    annotations = field(content, "annotations", list, str(export.source))
    content["annotations"] = [
        entry for entry in annotations if not isinstance(entry, dict) or short_text(entry.get("image_id")) in known
    ]
    if number := len(annotations) - len(content["annotations"]):
        export.left_out["annotation(s) of images that the file does not list"] += number


def _add_image(
    export: DrawnExport, image: ListedObjects, finder: ImageFinder, shapes: tuple[DrawnShape, ...], upright: bool
) -> None:
    found = finder.find(image.image_file)
    if found is None:
        export.missing.append(image.image_file)
    else:
        drawn = DrawnImage(found[1], found[0], export.source, image.size, shapes, upright=upright)
        export.images.append(drawn)


def _shape(
    entry: dict[str, Any], labels: dict[int, str], path: Path, tool: Tool, keep_crowd: bool, export: DrawnExport
) -> DrawnShape | None:
    where = f"{path}, annotation {short_text(entry.get('id'))}"
    if entry["category_id"] not in labels:
        raise DataError(f"{where}: category_id {entry['category_id']} is not among the categories")
    outline = entry.get("segmentation")
    if not outline and entry.get("keypoints"):
        export.left_out["annotation(s) with keypoints only"] += 1
        return None
    if not outline and tool == "cvat":
        outline = _cvat_rectangle(entry, where)
    crowd = "iscrowd" in entry and flag_field(entry, "iscrowd", where)
    if tool == "cvat" and crowd and not keep_crowd:
        crowd = False
        export.left_out["mark(s) iscrowd, which CVAT gives to every mask of its brush (--keep-crowd keeps them)"] += 1
    return DrawnShape(labels[entry["category_id"]], where, outline, crowd, box=entry.get("bbox"))


def _cvat_rectangle(entry: dict[str, Any], where: str) -> list[list[float]]:
    box = field(entry, "bbox", list, where)
    if len(box) != 4:
        raise DataError(f"{where}: expected 'bbox' to be x, y, width and height, found {short_text(box)}")
    x, y, width, height = (number_field({"bbox": side}, "bbox", where) for side in box)
    attributes = entry.get("attributes")
    turned = isinstance(attributes, dict) and "rotation" in attributes
    degrees = number_field(attributes, "rotation", where) if turned else 0
    return rectangle(x, y, width, height, degrees, pivot=(x + width / 2, y + height / 2))
