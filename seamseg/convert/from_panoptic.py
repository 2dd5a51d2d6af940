"""Conversion of panoptic data sets to COCO detection files or to class maps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as run_lengths

from seamseg.convert.job import Job
from seamseg.data.formats.annotated_dataset import PanopticDataset
from seamseg.data.formats.coco_writer import measure_segments
from seamseg.data.input_folder import relative_name, unique_stems
from seamseg.io.files import atomic_write_unsynced
from seamseg.io.journal import ItemOutput
from seamseg.structures import Categories, PanopticSegmentation


@dataclass(frozen=True)
class DataSetItem:
    """One annotated image of a data set.

    Attributes:
        index: Index of the image in the data set.
        name: Path of the image relative to the image folder of the split.
        stem: Name of its output files without suffix, unique among the images.
        annotation: Path of the file with segment ids.
    """

    index: int
    name: str
    stem: str
    annotation: Path

    @property
    def sources(self) -> Sequence[Path]:
        """Files that the result is made from."""
        return (self.annotation,)


def data_set_items(source: PanopticDataset) -> list[DataSetItem]:
    """List all images of a split, in the order of the data set."""
    paths = [source.image_path(index) for index in range(len(source))]
    folder = os.path.commonpath([path.parent for path in paths])
    names = [relative_name(path, Path(folder)) for path in paths]
    return [
        DataSetItem(index, name, stem, source.annotation_path(index))
        for index, (name, stem) in enumerate(zip(names, unique_stems(names), strict=True))
    ]


@dataclass(frozen=True)
class _DetectionConversion:
    source: PanopticDataset
    with_stuff: bool

    def __call__(self, item: DataSetItem) -> ItemOutput:
        annotation = self.source.read_annotation(item.index)
        image_id, size = self.source.image_id(item.index), annotation.size
        image = {"id": image_id, "file_name": item.name, "height": size[0], "width": size[1]}
        objects = detections(annotation, self.source.categories, self.with_stuff)
        return ItemOutput((), {"images": [image], "annotations": [{"image_id": image_id} | one for one in objects]})


def to_detection_job(source: PanopticDataset, split: str, out: Path, with_stuff: bool = False) -> Job[DataSetItem]:
    """Create a job that writes objects and crowds to ``OUT/annotations/instances_SPLIT.json``.

    The file holds run lengths, areas and boxes in the COCO detection format.

    Args:
        source: Split of a panoptic data set.
        split: Name of the split.
        out: Folder of the result.
        with_stuff: Whether to write stuff segments as well.
    """
    categories = source.categories.to_list()
    return Job(
        title=split,
        description="detection annotation of a panoptic data set",
        result=out / "annotations" / f"instances_{split}.json",
        head={"categories": [entry for entry in categories if with_stuff or entry["isthing"]]},
        items=data_set_items(source),
        convert=_DetectionConversion(source, with_stuff),
        numbered="annotations",
        options={"with_stuff": with_stuff},
    )


def detections(annotation: PanopticSegmentation, categories: Categories, with_stuff: bool) -> list[dict[str, Any]]:
    """Convert segments to COCO detection annotations without ``id`` and ``image_id``, sorted by segment id."""
    ids, classes, crowd = annotation.ids.numpy(), annotation.classes.tolist(), annotation.crowd.tolist()
    measures = measure_segments(ids).without_void()
    entries = []
    rows = zip(measures.ids.tolist(), measures.areas.tolist(), measures.coco_boxes().tolist(), strict=True)
    for segment, area, box in rows:
        category = categories.classes[classes[segment]]
        if category.is_thing or with_stuff:
            mask = np.asfortranarray(ids == segment, dtype=np.uint8)
            counts = run_lengths.encode(mask)
            entries.append(
                {
                    "category_id": category.original_id,
                    "segmentation": {"size": list(mask.shape), "counts": counts["counts"].decode()},
                    "area": area,
                    "bbox": box,
                    "iscrowd": int(crowd[segment]),
                }
            )
    return entries


@dataclass(frozen=True)
class _SemanticConversion:
    source: PanopticDataset
    result: Path

    def __call__(self, item: DataSetItem) -> ItemOutput:
        annotation = self.source.read_annotation(item.index)
        label_file = f"{item.stem}.png"
        path = self.result.with_suffix("") / label_file
        data = cv2.imencode(".png", annotation.semantics.numpy().astype(np.uint8))[1].tobytes()
        atomic_write_unsynced(path, lambda temporary: temporary.write_bytes(data))
        height, width = annotation.size
        image = {"id": self.source.image_id(item.index), "file_name": item.name}
        return ItemOutput((path,), {"images": [image | {"labels": label_file, "height": height, "width": width}]})


def to_semantic_job(source: PanopticDataset, split: str, out: Path) -> Job[DataSetItem]:
    """Create a job that writes class maps, ``OUT/annotations/semantic_SPLIT/*.png``, and ``semantic_SPLIT.json``.

    The maps are grayscale PNGs. Each pixel is a class number in network order, 0 … S+T−1 with stuff first, or 255 for
    void. The JSON file, ``OUT/annotations/semantic_SPLIT.json``, describes the numbers (``categories``: ``id``,
    ``name``, ``isthing``, ``color``, ``original_id``) and lists the map of each image.

    Args:
        source: Split of a panoptic data set.
        split: Name of the split.
        out: Folder of the result.
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
        convert=_SemanticConversion(source, result),
        lists=("images",),
    )
