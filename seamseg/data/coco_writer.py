"""Segmentations in the words of the COCO formats: panoptic, and results of instance segmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.data.segment_measures import measure_segments
from seamseg.structures import Categories, PanopticSegmentation

ANNOTATION_FILE = "panoptic.json"
"""What the results of a run are called."""

IdMap = NDArray[np.int32]


def panoptic_segments(segmentation: PanopticSegmentation, categories: Categories) -> tuple[IdMap, list[dict[str, Any]]]:
    """The id map and the ``segments_info`` of one image.

    Left-overs of thing classes, which no single object stands behind, become void. Segments without a pixel are left
    out. Beyond what COCO asks for, a segment has its ``score`` in 0 … 1, which is 1 for stuff.

    Args:
        segmentation: on the CPU.
        categories: of its classes.

    Returns:
        H×W ids, 0 for void, and one entry for each other id, ascending.
    """
    ids = segmentation.ids.numpy().astype(np.int32)
    if segmentation.crowd.any():
        ids = np.where(segmentation.crowd.numpy()[ids], np.int32(0), ids)
    measures = measure_segments(ids).without_void()
    found = torch.from_numpy(measures.ids)
    classes, scores = segmentation.classes[found].tolist(), segmentation.scores[found].tolist()
    rows = zip(
        measures.ids.tolist(), classes, scores, measures.areas.tolist(), measures.coco_boxes().tolist(), strict=True
    )
    return ids, [
        {
            "id": segment,
            "category_id": categories.classes[number].original_id,
            "area": area,
            "bbox": box,
            "iscrowd": 0,
            "score": round(score, 6),
        }
        for segment, number, score, area, box in rows
    ]
