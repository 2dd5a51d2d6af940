"""Exports of labeling tools for tests, and data sets made from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from seamseg.convert.drawn import DrawnExport
from seamseg.convert.drawn_job import DrawnOptions, drawn_jobs
from seamseg.convert.job import ConversionSummary, run_job
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.structures import VOID

TOOLS = ("cvat", "label-studio", "labelme", "coco-annotator")

CLASSES = "stuff: [road, sky]\nthings: {car: [car, 'Pkw \"ä\"'], person: person}\nvoid: [ignore]\n"


def write_image(path: Path, size: tuple[int, int] = (6, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*size, 3), 90, np.uint8))
    return path


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_classes(folder: Path, text: str = CLASSES) -> Path:
    path = folder / "labels.yaml"
    path.write_text(text)
    return path


def converted(export: DrawnExport, folder: Path, **options: Any) -> tuple[CocoPanoptic, ConversionSummary]:
    """Convert an export to ``folder/out``, with the classes above unless others are given."""
    chosen = {"classes": write_classes(folder)} | options
    (job,) = drawn_jobs({"train": export}, DrawnOptions(folder / "out", **chosen))
    summary = run_job(job, 1)
    return CocoPanoptic(folder / "out", "train"), summary


def drawn(data: CocoPanoptic, index: int = 0, letters: Mapping[str, str] | None = None) -> list[str]:
    """Draw each pixel as the first letter of its class; further objects of a class are in upper case, void is a dot."""
    annotation = data.read_annotation(index)
    names = [one.name[0] for one in data.categories.classes]
    seen: dict[int, list[int]] = {}
    rows = []
    for ids in annotation.ids.tolist():
        row = ""
        for segment in ids:
            number = int(annotation.classes[segment])
            if number == VOID:
                row += "."
                continue
            objects = seen.setdefault(number, [])
            if segment not in objects:
                objects.append(segment)
            row += names[number] if objects.index(segment) == 0 else names[number].upper()
        rows.append(row)
    return rows


def box(y0: float, x0: float, y1: float, x1: float) -> list[tuple[float, float]]:
    """Corners (x, y) of a box."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def flat(points: Sequence[Sequence[float]]) -> list[float]:
    return [coordinate for point in points for coordinate in point]


def write_export(tool: str, folder: Path) -> Path:
    """Write an export of two images, each with a road, a car that crosses itself, and what the tool leaves out."""
    corners = {"road": box(0, 0, 6, 8), "car": [(0, 0), (4, 4), (4, 0), (0, 4)]}
    for name in ("a", "ü b"):
        write_image(folder / f"{name}.png")
    if tool == "labelme":
        for name in ("a", "ü b"):
            shapes = [{"label": label, "points": points, "shape_type": "polygon"} for label, points in corners.items()]
            shapes.append({"label": "car", "points": [[1, 1]], "shape_type": "point"})
            content = {"shapes": shapes, "imagePath": f"{name}.png", "imageData": None}
            write_json(folder / f"{name}.json", content | {"imageHeight": 6, "imageWidth": 8})
        return folder
    if tool == "label-studio":
        return write_json(folder / "export.json", [label_studio_task(name, corners) for name in ("a", "ü b")])
    path = folder / ("annotations/instances_default.json" if tool == "cvat" else "coco.json")
    images = [{"id": 1, "file_name": "a.png", "height": 6, "width": 8}]
    images.append(images[0] | {"id": 2, "file_name": "ü b.png", "path": "/datasets/set/ü b.png"})
    annotations = [
        {"id": 10 * image + number, "image_id": image, "category_id": number, "segmentation": [flat(points)]}
        for image in (1, 2)
        for number, points in enumerate(corners.values(), start=1)
    ]
    annotations.append(annotations[0] | {"id": 99, "segmentation": [], "keypoints": [1, 1, 2]})
    categories = [{"id": number, "name": name} for number, name in enumerate(corners, start=1)]
    write_json(path, {"images": images, "annotations": annotations, "categories": categories})
    return folder if tool == "cvat" else path


def label_studio_task(name: str, corners: dict[str, Any]) -> dict[str, Any]:
    size = {"original_height": 6, "original_width": 8}
    results = [
        {"id": label, "type": "polygonlabels", "value": {"points": percent(points), "polygonlabels": [label]}} | size
        for label, points in corners.items()
    ]
    results.append({"id": "k", "type": "keypointlabels", "value": {"x": 1, "y": 1, "width": 1}} | size)
    return {"id": 1, "data": {"image": f"{name}.png"}, "annotations": [{"result": results, "completed_by": 1}]}


def percent(points: Any) -> list[list[float]]:
    return [[100 * x / 8, 100 * y / 6] for x, y in points]
