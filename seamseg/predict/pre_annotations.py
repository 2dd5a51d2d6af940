"""Predictions in formats that labeling tools import, so that annotators correct segments instead of drawing them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from seamseg.data.formats.brush_rle import encode_brush
from seamseg.data.formats.coco_writer import panoptic_segments
from seamseg.metrics.run_length import encode_segments
from seamseg.predict.predictor import Prediction
from seamseg.structures import Categories, Category, Color, PanopticSegmentation, RunLengthMask, Size

_IMAGE, _LABEL = "image", "label"
"""Names of the two parts of Label Studio's labeling interface: the image, and the brush with its labels."""


class Region(NamedTuple):
    """A segment or object to correct."""

    category: Category
    score: float
    mask: RunLengthMask


def regions(found: Prediction, categories: Categories) -> list[Region]:
    """Return the segments of a prediction, or the objects of a model that only finds objects, the best ones last.

    Both tools draw later regions over earlier ones.

    Args:
        found: Prediction with masks.
        categories: Categories of the model.
    """
    drawn = found.drawn()
    if not isinstance(drawn, PanopticSegmentation):
        things = categories.classes[categories.num_stuff :]
        shown = [Region(things[one.category], one.score, one.mask) for one in drawn.instances if one.mask is not None]
        return shown[::-1]
    ids, segments = panoptic_segments(drawn, categories)
    masks = encode_segments(ids, [segment["id"] for segment in segments])
    classes = [categories.classes[categories.class_of_original_id[segment["category_id"]]] for segment in segments]
    scores = [segment["score"] for segment in segments]
    return [Region(*row) for row in zip(classes, scores, masks, strict=True)]


def label_studio_entry(found: Prediction, categories: Categories) -> dict[str, Any]:
    """Return the entry of ``predictions`` of one image, with a brush mask for each region."""
    size, listed = found.segmentation.size, regions(found, categories)
    results = [_label_studio_result(number, region, size) for number, region in enumerate(listed, start=1)]
    score = sum(region.score for region in listed) / max(1, len(listed))
    return {"model_version": "seamseg", "score": round(score, 6), "result": results}


def _label_studio_result(number: int, region: Region, size: Size) -> dict[str, Any]:
    return {
        "id": f"region{number}",
        "type": "brushlabels",
        "from_name": _LABEL,
        "to_name": _IMAGE,
        "original_width": size[1],
        "original_height": size[0],
        "image_rotation": 0,
        "score": round(region.score, 6),
        "value": {"format": "rle", "rle": encode_brush(region.mask.decoded()), "brushlabels": [region.category.name]},
    }


def label_studio_task(entry: Mapping[str, Any], image_folder: Path) -> dict[str, Any]:
    """Return the task of one image.

    Label Studio states local files relative to its document root. It serves folders in the root, but not the root
    itself, so the name of the image folder comes first.

    Args:
        entry: ``file_name`` of the image and its ``prediction``, an entry from :func:`label_studio_entry`.
        image_folder: Folder that ``file_name`` is relative to.
    """
    path = (Path(image_folder.name) / entry["file_name"]).as_posix()
    image = f"/data/local-files/?d={quote(path, errors='surrogateescape')}"
    return {"data": {_IMAGE: image}, "predictions": [entry["prediction"]]}


def label_studio_interface(categories: Categories) -> str:
    """Return the XML text of a labeling interface with a brush for all classes."""
    labels = "".join(
        f"    <Label value={quoteattr(one.name)} background={quoteattr(_hexadecimal(one.color))}/>\n"
        for one in categories.classes
    )
    return (
        f'<View>\n  <Image name="{_IMAGE}" value="${_IMAGE}" zoom="true"/>\n'
        f'  <BrushLabels name="{_LABEL}" toName="{_IMAGE}">\n{labels}  </BrushLabels>\n</View>\n'
    )


def cvat_entries(found: Prediction, categories: Categories, file_name: str) -> dict[str, list[dict[str, Any]]]:
    """Return the image and the annotations of one image for CVAT's format COCO 1.0, without their numbers."""
    size = found.segmentation.size
    annotations = []
    for region in regions(found, categories):
        y0, x0, y1, x1 = region.mask.box()
        annotations.append(
            {
                "category_id": region.category.original_id,
                "segmentation": region.mask.to_json(),
                "area": region.mask.area(),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "iscrowd": 0,
                "score": round(region.score, 6),
            }
        )
    image = {"file_name": file_name, "height": size[0], "width": size[1]}
    return {"cvat_images": [image], "cvat_annotations": annotations}


def cvat_categories(categories: Categories) -> list[dict[str, Any]]:
    """Return the ``categories`` of a COCO file for CVAT."""
    return [{"id": one.original_id, "name": one.name, "supercategory": ""} for one in categories.classes]


def cvat_labels(categories: Categories) -> list[dict[str, Any]]:
    """Return the labels of a task, as CVAT's constructor reads them under `Raw`."""
    return [{"name": one.name, "color": _hexadecimal(one.color), "attributes": []} for one in categories.classes]


def _hexadecimal(color: Color) -> str:
    return "#" + "".join(f"{part:02x}" for part in color)
