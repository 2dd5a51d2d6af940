"""Panoptic annotation to COCO detection annotation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths

from seamseg.data.annotated_images import AnnotatedImages
from seamseg.data.annotation import Annotation
from seamseg.data.convert.data_set_items import DataSetItem, data_set_items
from seamseg.data.convert.job import Job
from seamseg.data.segment_measures import measure_segments
from seamseg.runtime.journal import ItemOutput
from seamseg.structures import Categories


@dataclass(frozen=True)
class _Conversion:
    source: AnnotatedImages
    with_stuff: bool

    def __call__(self, item: DataSetItem) -> ItemOutput:
        annotation = self.source.read_annotation(item.index)
        image_id, size = self.source.image_id(item.index), annotation.ids.shape
        image = {"id": image_id, "file_name": item.name, "height": size[0], "width": size[1]}
        objects = detections(annotation, self.source.categories, self.with_stuff)
        return ItemOutput((), {"images": [image], "annotations": [{"image_id": image_id} | one for one in objects]})


def to_detection_job(source: AnnotatedImages, split: str, out: Path, with_stuff: bool = False) -> Job[DataSetItem]:
    """Writes ``OUT/annotations/instances_SPLIT.json``: run lengths, areas and boxes of objects and crowds.

    Args:
        source: the split of a panoptic data set.
        split: its name.
        out: folder of the result.
        with_stuff: whether stuff segments are written as well.
    """
    categories = source.categories.to_list()
    return Job(
        title=split,
        description="detection annotation of a panoptic data set",
        result=out / "annotations" / f"instances_{split}.json",
        head={"categories": [entry for entry in categories if with_stuff or entry["isthing"]]},
        items=data_set_items(source),
        convert=_Conversion(source, with_stuff),
        numbered="annotations",
        options={"with_stuff": with_stuff},
    )


def detections(annotation: Annotation, categories: Categories, with_stuff: bool) -> list[dict[str, Any]]:
    """The segments as COCO detection annotations, without ``id`` and ``image_id``, in the order of their ids."""
    measures = measure_segments(annotation.ids).without_void()
    entries = []
    rows = zip(measures.ids.tolist(), measures.areas.tolist(), measures.coco_boxes().tolist(), strict=True)
    for segment, area, box in rows:
        category = categories.classes[int(annotation.classes[segment])]
        if category.is_thing or with_stuff:
            mask = np.asfortranarray(annotation.ids == segment, dtype=np.uint8)
            counts = run_lengths.encode(mask)
            entries.append(
                {
                    "category_id": category.original_id,
                    "segmentation": {"size": list(mask.shape), "counts": counts["counts"].decode()},
                    "area": area,
                    "bbox": box,
                    "iscrowd": int(annotation.crowd[segment]),
                }
            )
    return entries
