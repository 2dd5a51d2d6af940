"""Panoptic annotation to maps of classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from seamseg.data.annotated_images import AnnotatedImages
from seamseg.data.convert.data_set_items import DataSetItem, data_set_items
from seamseg.data.convert.job import Job
from seamseg.runtime.files import in_one_step
from seamseg.runtime.journal import ItemOutput


@dataclass(frozen=True)
class _Conversion:
    source: AnnotatedImages
    result: Path

    def __call__(self, item: DataSetItem) -> ItemOutput:
        annotation = self.source.read_annotation(item.index)
        label_file = f"{item.stem}.png"
        path = self.result.with_suffix("") / label_file
        data = cv2.imencode(".png", annotation.classes.astype(np.uint8)[annotation.ids])[1].tobytes()
        in_one_step(path, lambda unfinished: unfinished.write_bytes(data))
        height, width = annotation.ids.shape
        image = {"id": self.source.image_id(item.index), "file_name": item.name}
        return ItemOutput((path,), {"images": [image | {"labels": label_file, "height": height, "width": width}]})


def to_semantic_job(source: AnnotatedImages, split: str, out: Path) -> Job[DataSetItem]:
    """Writes ``OUT/annotations/semantic_SPLIT/*.png``, grey, and ``OUT/annotations/semantic_SPLIT.json``.

    A pixel is the number of its class in the order of the network, 0 … S+T−1 with stuff first, or 255 for void. The
    JSON file says what the numbers mean (``categories``: ``id``, ``name``, ``isthing``, ``color``, ``original_id``) and
    which map belongs to which photograph.

    Args:
        source: the split of a panoptic data set.
        split: its name.
        out: folder of the result.
    """
    categories = [
        entry | {"id": number, "original_id": entry["id"]} for number, entry in enumerate(source.categories.to_list())
    ]
    result = out / "annotations" / f"semantic_{split}.json"
    return Job(
        title=split,
        description="classes of a panoptic data set",
        result=result,
        head={"categories": categories},
        items=data_set_items(source),
        convert=_Conversion(source, result),
        lists=("images",),
    )
