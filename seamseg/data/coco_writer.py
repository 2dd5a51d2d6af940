"""Writes segmentations as a COCO panoptic data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.data.panoptic_png import write_panoptic_png
from seamseg.runtime.files import write_text
from seamseg.structures import Categories, PanopticSegmentation

ANNOTATION_FILE = "panoptic.json"
PNG_FOLDER = "panoptic"


class CocoPanopticWriter:
    """Collects segmentations in ``FOLDER/panoptic/*.png`` and, at the end, ``FOLDER/panoptic.json``.

    Left-overs of thing classes, which no single object stands behind, become void.

    Args:
        folder: of the result; made if needed.
        categories: of the segmentations.
    """

    def __init__(self, folder: Path, categories: Categories) -> None:
        self._folder, self._categories = folder, categories
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        (folder / PNG_FOLDER).mkdir(parents=True, exist_ok=True)

    def add(self, name: str, file_name: str, segmentation: PanopticSegmentation) -> None:
        """Writes one image's PNG.

        Args:
            name: of the PNG, relative, without suffix.
            file_name: of the photograph, as the JSON shall say.
            segmentation: on the CPU.
        """
        ids, segments = self._segments(segmentation)
        image_id = len(self._images) + 1
        path = self._folder / PNG_FOLDER / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_panoptic_png(path, ids)
        height, width = ids.shape
        self._images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        self._annotations.append({"image_id": image_id, "file_name": f"{name}.png", "segments_info": segments})

    def close(self) -> None:
        """Writes the JSON, whole."""
        content = {
            "images": self._images,
            "annotations": self._annotations,
            "categories": self._categories.to_list(),
        }
        write_text(self._folder / ANNOTATION_FILE, json.dumps(content))

    def _segments(self, segmentation: PanopticSegmentation) -> tuple[NDArray[np.int32], list[dict[str, Any]]]:
        ids = segmentation.ids.numpy().astype(np.int32)
        kept = ~segmentation.crowd.numpy()
        ids = np.where(kept[ids], ids, 0).astype(np.int32)
        segments = []
        for segment in np.unique(ids[ids > 0]).tolist():
            rows, columns = np.nonzero(ids == segment)
            y0, x0, y1, x1 = int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1
            category = self._categories.classes[int(segmentation.classes[segment])]
            segments.append(
                {
                    "id": segment,
                    "category_id": category.original_id,
                    "area": len(rows),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "iscrowd": 0,
                    "score": round(float(segmentation.scores[segment]), 6),
                }
            )
        return ids, segments
