"""What single images contribute: small enough to keep for every image of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from seamseg.metrics.matching import FloatArray
from seamseg.metrics.overlaps import IntArray
from seamseg.structures import ImageId


@dataclass(frozen=True, eq=False)
class ImageCounts:
    """The panoptic quality of one image before it is divided.

    Attributes:
        image_id: the data set's own id.
        classes: K, those that appear in the image on either side, ascending.
        counts: 4×K, per class the sum of the matches' IoUs, the numbers of matched, false and missed segments.
    """

    image_id: ImageId
    classes: IntArray
    counts: FloatArray

    @classmethod
    def of_state(cls, image_id: ImageId, state: FloatArray) -> ImageCounts:
        """From the 4×C counts of one image."""
        classes = np.flatnonzero(state[1:].any(0))
        return cls(image_id, classes, state[:, classes])

    @property
    def pq(self) -> float:
        """Mean over the classes that appear; NaN if none does."""
        iou_sum, hits, false, missed = self.counts
        return float(np.mean(iou_sum / (hits + false / 2 + missed / 2))) if len(self.classes) else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: one list per quantity, an entry per class."""
        iou_sum, *numbers = self.counts
        plain: dict[str, Any] = {"image_id": self.image_id, "classes": self.classes.tolist(), "iou": iou_sum.tolist()}
        plain |= {key: row.astype(int).tolist() for key, row in zip(("tp", "fp", "fn"), numbers, strict=True)}
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> ImageCounts:
        """The inverse of :meth:`to_dict`.

        Raises:
            KeyError, TypeError, ValueError: it is not of that form.
        """
        counts = np.array([plain[key] for key in ("iou", "tp", "fp", "fn")], dtype=np.float64)
        classes = np.array(plain["classes"], dtype=np.int64)
        return cls(plain["image_id"], classes, counts.reshape(4, len(classes)))
