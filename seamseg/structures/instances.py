"""Objects of one image, annotated or detected, with small masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from seamseg.structures.batch import ImageId
from seamseg.structures.images import Size


@dataclass(frozen=True)
class RunLengthMask:
    """Compressed mask; a few hundred bytes for a typical object.

    Attributes:
        size: Height and width of the image in pixels.
        counts: COCO's compressed run lengths, column by column.
    """

    size: Size
    counts: bytes

    def to_coco(self) -> dict[str, Any]:
        """Return the form that pycocotools reads."""
        return {"size": list(self.size), "counts": self.counts}

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``segmentation`` in COCO's JSON files."""
        return {"size": list(self.size), "counts": self.counts.decode("ascii")}

    def area(self) -> int:
        """Return the number of pixels."""
        return int(coco_mask.area(self.to_coco()))

    def box(self) -> tuple[float, float, float, float]:
        """Return the tight box (y0, x0, y1, x1), half-open; all 0 for an empty mask."""
        x, y, width, height = coco_mask.toBbox(self.to_coco()).tolist()
        return y, x, y + height, x + width

    def decoded(self) -> NDArray[np.bool_]:
        """Return the mask as H×W bool."""
        return np.asarray(coco_mask.decode(self.to_coco()), np.bool_)


@dataclass(frozen=True)
class Instance:
    """A true or detected object.

    Attributes:
        category: Class number, 0-based among the things.
        box: Box (y0, x0, y1, x1) in pixels of the original image.
        mask: Mask in pixels of the original image; None if the network or the annotation has no masks.
        score: Score in 0 … 1; 1 for true objects.
        crowd: Whether it is a crowd of many objects; False for detections.
        stated_area: Area that an annotation states, in pixels; None for the area of the mask or box.
    """

    category: int
    box: tuple[float, float, float, float]
    mask: RunLengthMask | None
    score: float = 1.0
    crowd: bool = False
    stated_area: float | None = None


@dataclass(frozen=True)
class ImageInstances:
    """True and detected objects of one image; small, and picklable for other ranks.

    Attributes:
        image_id: Id of the image in the data set.
        size: Height and width of the original image.
        true: True objects.
        detected: Detections.
    """

    image_id: ImageId
    size: Size
    true: list[Instance]
    detected: list[Instance]


@dataclass(frozen=True)
class DrawnObjects:
    """Objects of one image to draw.

    Attributes:
        size: Height and width of the image in pixels.
        instances: Objects; those with higher scores are drawn above the others.
    """

    size: Size
    instances: Sequence[Instance]

    def cpu(self) -> DrawnObjects:
        """Return the same objects; they are always on the CPU."""
        return self
