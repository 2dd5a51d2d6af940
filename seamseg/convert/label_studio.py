"""Reader of Label Studio's JSON export: brush masks, bitmasks, polygons, vectors, rectangles and ellipses on images."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from seamseg.convert.drawn import (
    DrawnExport,
    DrawnImage,
    DrawnShape,
    ImageFinder,
    base64_bytes,
    ellipse,
    number_field,
    points_field,
    polygon,
    rectangle,
)
from seamseg.convert.label_studio_vector import vector_outline
from seamseg.data.formats.brush_rle import decode_brush
from seamseg.data.images import LONGEST_SIDE, decode
from seamseg.data.input_folder import IMAGE_SUFFIXES
from seamseg.data.json_fields import field, short_text
from seamseg.errors import DataError
from seamseg.structures import Size

LATEST = "latest"
"""Value of ``--annotator`` that chooses the annotation that was changed last."""

_LABELED = (
    "brushlabels",
    "bitmasklabels",
    "polygonlabels",
    "vectorlabels",
    "rectanglelabels",
    "ellipselabels",
    "labels",
)
_UNLABELED = ("brush", "bitmask", "polygon", "vector", "rectangle", "ellipse")
_OPAQUE = 128
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?P<name>.+)")
_NUM_EXAMPLES = 5


@dataclass(frozen=True)
class BrushMask:
    """Mask of the brush, see :mod:`seamseg.data.formats.brush_rle`."""

    data: bytes

    def decoded(self, size: Size) -> NDArray[np.bool_]:
        """Return the H×W mask."""
        return decode_brush(self.data, size)


@dataclass(frozen=True)
class Bitmask:
    """Mask of the bitmask brush, a PNG of the whole image that is transparent outside of the mask.

    Attributes:
        png: Content of the PNG.
        source: File that contains the PNG, for error messages.
    """

    png: bytes
    source: Path

    def decoded(self, size: Size) -> NDArray[np.bool_]:
        """Return the H×W mask."""
        pixels = decode(self.source, self.png, cv2.IMREAD_UNCHANGED)
        if pixels.shape != (*size, 4):
            raise DataError(f"the bitmask has the shape {pixels.shape}, expected {(*size, 4)}, with transparency")
        mask: NDArray[np.bool_] = pixels[..., 3] >= _OPAQUE
        return mask


def read_label_studio(path: Path, finder: ImageFinder, annotator: str | None = None) -> DrawnExport:
    """Read the tasks of an export. Skipped annotations and tasks without annotation are counted and left out.

    Args:
        path: JSON file of the export.
        finder: Finder of the images.
        annotator: Id or email address of the annotator to choose where an image has several annotations, or
            :data:`LATEST`. None accepts only images with one annotation, or with one that is marked as ground truth.

    Raises:
        SeamsegError: The file is not an export, or an image has several annotations and none is chosen.
        OSError: The file cannot be read.
    """
    export = DrawnExport(path)
    undecided: list[str] = []
    for position, task in enumerate(_tasks(path)):
        where = f"{path}, task {short_text(task.get('id', position) if isinstance(task, dict) else position)}"
        annotations = _annotations(task, where)
        name = _image_name(field(task, "data", dict, where), where)
        done = [one for one in annotations if not one.get("was_cancelled")]
        chosen = _choose(done, annotator)
        if not done:
            export.left_out["task(s) without annotation"] += 1
        elif chosen is None:
            undecided.append(
                f"{where} by {' and '.join(sorted({_annotator_text(one) for one in done})[:_NUM_EXAMPLES])}"
            )
        else:
            _add_image(export, finder, name, chosen, where)
    if undecided:
        missing = "" if annotator is None else f", but none by {annotator}"
        raise DataError(
            f"{len(undecided)} image(s) have several annotations{missing}, such as "
            f"{'; '.join(undecided[:_NUM_EXAMPLES])}; pass --annotator with an id or email address to choose one, or "
            f"--annotator {LATEST}"
        )
    return export


def _tasks(path: Path) -> list[Any]:
    if path.is_dir():
        raise DataError(f"{path} is a folder; pass the JSON file of the export")
    try:
        tasks = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(tasks, list):
        raise DataError(f"{path} contains a JSON {type(tasks).__name__}, not a list of tasks; export the format JSON")
    return tasks


def _annotations(task: Any, where: str) -> list[dict[str, Any]]:
    if isinstance(task, dict) and "annotations" not in task:
        raise DataError(f"{where}: the key 'annotations' is missing; export the format JSON, not JSON-MIN")
    annotations = field(task, "annotations", list, where)
    for one in annotations:
        field(one, "result", list, where)
    return annotations


def _image_name(data: dict[str, Any], where: str) -> str:
    """Return the value of ``image``, or of the only key that names an image."""
    if isinstance(data.get("image"), str):
        return str(data["image"])
    named = [value for value in data.values() if isinstance(value, str) and _has_image_suffix(value)]
    if len(named) != 1:
        raise DataError(f"{where}: 'data' has no key 'image', and {len(named)} other keys name an image file")
    return named[0]


def _has_image_suffix(url: str) -> bool:
    return any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in _possible_names(url))


def _possible_names(url: str) -> list[str]:
    """Return the file names that a URL may stand for: plain names, uploads, and local files under the key ``d``."""
    try:
        parts = urlsplit(url)
        paths = [url, parts.path, *parse_qs(parts.query).get("d", [])]
    except ValueError:  # such as an invalid host name
        paths = [url]
    names = [name for path in paths for name in (path, unquote(path))]
    uploaded = [_UPLOADED.fullmatch(name.rsplit("/", 1)[-1]) for name in names]
    return [*names, *(match["name"] for match in uploaded if match)]


def _annotator_names(annotation: dict[str, Any]) -> list[str]:
    """Return email address and id of the annotator, as far as they are stated."""
    by = annotation.get("completed_by")
    parts = [by.get("email"), by.get("id")] if isinstance(by, dict) else [by]
    return [str(part) for part in parts if part is not None]


def _annotator_text(annotation: dict[str, Any]) -> str:
    return next(map(short_text, _annotator_names(annotation)), "an unknown annotator")


def _choose(annotations: list[dict[str, Any]], annotator: str | None) -> dict[str, Any] | None:
    """Return the annotation to use; None if there is none or several are equally good."""
    truth = [one for one in annotations if one.get("ground_truth") is True]
    for candidates in (annotations, truth):
        if len(candidates) == 1:
            return candidates[0]
    if annotator != LATEST:
        annotations = [one for one in annotations if annotator in _annotator_names(one)]
    # Dates are ISO 8601 texts of one time zone, so their order is that of the texts.
    return max(annotations, key=lambda one: str(one.get("updated_at") or one.get("created_at") or ""), default=None)


def _add_image(export: DrawnExport, finder: ImageFinder, url: str, annotation: dict[str, Any], where: str) -> None:
    results = annotation["result"]
    sizes, targets, shapes = set[Size](), set[str](), []
    labeled = {
        str(result.get("id")) for result in results if isinstance(result, dict) and result.get("type") in _LABELED
    }
    for result in results:
        kind = field(result, "type", str, where)
        if kind in _UNLABELED and str(result.get("id")) in labeled:
            continue  # the same area again, without its label
        shape = _shape(result, kind, where, export)
        if shape is not None:
            sizes.add(_original_size(result, where))
            targets.add(f"{result.get('to_name')}, item {result.get('item_index') or 0}")
            shapes.append(shape)
    if len(targets) > 1:
        raise DataError(
            f"{where}: its areas are drawn on several images ({'; '.join(sorted(targets)[:_NUM_EXAMPLES])}); export a "
            "project with one image per task"
        )
    if len(sizes) > 1:
        raise DataError(f"{where}: its areas state different sizes of the image, {sorted(sizes)}")
    found = finder.find(*_possible_names(url))
    if found is None:
        export.missing.append(url)
    else:
        export.images.append(DrawnImage(found[1], found[0], export.source, next(iter(sizes), None), tuple(shapes)))


def _original_size(result: dict[str, Any], where: str) -> Size:
    size = field(result, "original_height", int, where), field(result, "original_width", int, where)
    if min(size) < 1 or max(size) > LONGEST_SIDE:
        raise DataError(f"{where}: an original size of {size[0]}×{size[1]} (height×width) is impossible")
    if result.get("image_rotation"):
        raise DataError(f"{where}: the image was turned in Label Studio ('image_rotation'); turn it back first")
    return size


def _shape(result: dict[str, Any], kind: str, where: str, export: DrawnExport) -> DrawnShape | None:
    value = result.get("value")
    labels = value.get(kind) if isinstance(value, dict) and kind in _LABELED else None
    where = f"{where}, region {short_text(result.get('id'))}"
    if not isinstance(value, dict) or kind not in (*_LABELED, *_UNLABELED):
        export.left_out[f"result(s) of type {short_text(kind)}"] += 1
        return None
    if not labels:
        export.left_out["area(s) without a label"] += 1
        return None
    if not isinstance(labels, list) or len(labels) > 1 or not isinstance(labels[0], str):
        raise DataError(f"{where}: its labels are {short_text(labels)}, but an area can have only one class")
    outline = _outline(value, result, where, export.source)
    if outline is None:
        export.left_out[f"result(s) of type {short_text(kind)} without an area"] += 1
        return None
    return DrawnShape(labels[0], where, outline)


def _outline(value: dict[str, Any], result: dict[str, Any], where: str, path: Path) -> Any:
    """Return the outline of a region in pixels, or None if it has no area; lengths are stated in percent."""
    if "rle" in value:
        runs = field(value, "rle", list, where)
        try:
            return BrushMask(bytes(runs))
        except (TypeError, ValueError) as error:
            raise DataError(f"{where}: 'rle' is not a list of bytes ({error})") from error
    if "imageDataURL" in value:
        if value["imageDataURL"] is None:  # nothing was drawn
            return None
        text = field(value, "imageDataURL", str, where).rpartition(",")[2]
        return Bitmask(base64_bytes(text, f"{where}: 'imageDataURL'"), path)
    height, width = _original_size(result, where)
    corners = vector_outline(value, where) if "vertices" in value else None
    if "points" in value:
        corners = points_field(value, where)
    if corners is not None:
        return polygon([(x * width / 100, y * height / 100) for x, y in corners])
    keys = [key for key in ("x", "y", "width", "height", "radiusX", "radiusY") if key in value]
    if keys not in (["x", "y", "width", "height"], ["x", "y", "radiusX", "radiusY"]):
        return None
    x, y, along, down = (number_field(value, key, where) for key in keys)
    x, y, along, down = x * width / 100, y * height / 100, along * width / 100, down * height / 100
    degrees = number_field(value, "rotation", where) if "rotation" in value else 0
    if "radiusX" in value:
        return ellipse((x, y), (along, down), degrees)
    return rectangle(x, y, along, down, degrees, pivot=(x, y))
