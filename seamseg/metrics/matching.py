"""Segment matching (Kirillov et al. 2019, "Panoptic Segmentation", section 4.1), as the COCO benchmark does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.metrics.overlaps import BoolArray, IntArray, Overlaps
from seamseg.structures import VOID, ImageId

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Matching:
    """Matches, false positives and false negatives of one or several images.

    A predicted and a true segment match if they have the same class and an IoU over ½. Pixels that are void in the
    truth do not count in the union. A true crowd segment never matches and is not a false negative. A prediction
    without a match is a false positive unless more than half of it is on void or on crowd of its own class. If a class
    has several crowd segments, only the last one counts, as in COCO's own implementation. Segments without pixels do
    not count.

    Attributes:
        overlaps: Segments of the images and their overlaps.
        pairs: Indices of the M overlapping pairs of the same class, without crowd.
        iou: IoU of these pairs, M.
        matched: Which of these pairs are matches, M; at most one per segment.
        false: Indices of the false predictions, ascending.
        missed: Indices of the true segments without a match, ascending.
        present: Indices of the true segments that count (with pixels, not void, not crowd), ascending.
    """

    overlaps: Overlaps
    pairs: IntArray
    iou: FloatArray
    matched: BoolArray
    false: IntArray
    missed: IntArray
    present: IntArray

    def counts(self, num_classes: int) -> FloatArray:
        """Return the sum of the matches' IoUs and the numbers of TP, FP and FN of each image and class, 4×I×C."""
        true, predicted = self.overlaps.cells(num_classes)
        hits, num_cells = true[self.overlaps.true[self.pairs[self.matched]]], self.overlaps.num_images * num_classes
        rows = [np.bincount(hits, self.iou[self.matched], num_cells)]
        rows += [np.bincount(cells, minlength=num_cells) for cells in (hits, predicted[self.false], true[self.missed])]
        return np.stack(rows).astype(np.float64).reshape(4, -1, num_classes)


def match(overlaps: Overlaps, boundary: bool = False) -> Matching:
    """Match the segments of each image.

    Args:
        overlaps: Overlaps of true and predicted segments, with borders if ``boundary`` is set.
        boundary: Use the smaller of the IoUs of the masks and of their borders, for boundary PQ (Cheng et al. 2021,
            "Boundary IoU", section 6).
    """
    true_classes, predicted_classes = overlaps.class_pairs
    on_void = true_classes == VOID
    alike = (true_classes == predicted_classes) & ~on_void
    crowd = overlaps.true_crowd[overlaps.true]
    candidates = np.flatnonzero(alike & ~crowd)
    iou = pair_iou(overlaps, candidates)
    if boundary:
        counts = overlaps.true_border, overlaps.predicted_border, overlaps.both_borders
        iou = np.minimum(iou, _iou(overlaps, candidates, *counts))
    matched = iou > 0.5
    found_true, found_predicted = np.zeros(overlaps.num_true, np.bool_), np.zeros(overlaps.num_predicted, np.bool_)
    found_true[overlaps.true[candidates[matched]]] = True
    found_predicted[overlaps.predicted[candidates[matched]]] = True
    there = np.bincount(overlaps.true, minlength=overlaps.num_true) > 0
    excusing = on_void | (alike & _last_crowd(overlaps, there)[overlaps.true])
    areas = np.bincount(overlaps.predicted, overlaps.pixels, overlaps.num_predicted)
    excused = np.bincount(overlaps.predicted, overlaps.pixels * excusing, overlaps.num_predicted) > areas / 2
    false = (areas > 0) & (overlaps.predicted_classes != VOID) & ~found_predicted & ~excused
    present = there & (overlaps.true_classes != VOID) & ~overlaps.true_crowd
    chosen = (np.flatnonzero(segments) for segments in (false, present & ~found_true, present))
    return Matching(overlaps, candidates, iou, matched, *chosen)


def pair_iou(overlaps: Overlaps, pairs: IntArray) -> FloatArray:
    """Compute the IoU of pairs of segments. Pixels that are void in the truth do not count in the union.

    Args:
        overlaps: Overlaps of the segments.
        pairs: Indices into its list of pairs.
    """
    return _iou(overlaps, pairs, overlaps.pixels, overlaps.pixels, overlaps.pixels)


def _iou(
    overlaps: Overlaps, pairs: IntArray, in_true: IntArray, in_predicted: IntArray, in_both: IntArray
) -> FloatArray:
    """Compute the IoU of ``pairs`` from the pixels of every pair that count as true, as predicted, and as both."""
    on_void = overlaps.true_classes[overlaps.true] == VOID
    true, predicted = overlaps.true[pairs], overlaps.predicted[pairs]
    true_areas = np.bincount(overlaps.true, in_true, overlaps.num_true)
    predicted_areas = np.bincount(overlaps.predicted, in_predicted * ~on_void, overlaps.num_predicted)
    shared = in_both[pairs]
    union = true_areas[true] + predicted_areas[predicted] - shared
    return np.asarray(shared / np.maximum(union, 1))


def _last_crowd(overlaps: Overlaps, there: BoolArray) -> BoolArray:
    """Return a mask over the T true segments: the last crowd segment with pixels of each image and class."""
    backwards = np.flatnonzero(overlaps.true_crowd & there)[::-1]
    chosen = np.zeros(overlaps.num_true, np.bool_)
    chosen[backwards[np.unique(overlaps.cells(VOID + 1)[0][backwards], return_index=True)[1]]] = True
    return chosen


@dataclass(frozen=True, eq=False)
class ImageCounts:
    """Contribution of one image to panoptic quality.

    Attributes:
        image_id: Id of the image in the data set.
        classes: The K classes that appear in the truth or in the prediction, ascending.
        counts: Sum of the matches' IoUs and numbers of TP, FP and FN of each class, 4×K.
    """

    image_id: ImageId
    classes: IntArray
    counts: FloatArray

    @classmethod
    def of_state(cls, image_id: ImageId, state: FloatArray) -> ImageCounts:
        """Create from the 4×C counts of one image."""
        classes = np.flatnonzero(state[1:].any(0))
        return cls(image_id, classes, state[:, classes])

    @property
    def pq(self) -> float:
        """Mean PQ over the classes that appear; NaN if there are none."""
        iou_sum, tp, fp, fn = self.counts
        return float(np.mean(iou_sum / (tp + fp / 2 + fn / 2))) if len(self.classes) else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: one list per quantity, with one entry per class."""
        iou_sum, *numbers = self.counts
        plain: dict[str, Any] = {"image_id": self.image_id, "classes": self.classes.tolist(), "iou": iou_sum.tolist()}
        plain |= {key: row.astype(int).tolist() for key, row in zip(("tp", "fp", "fn"), numbers, strict=True)}
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> ImageCounts:
        """Create from the output of :meth:`to_dict`.

        Raises:
            KeyError, TypeError, ValueError: The dictionary does not have that form.
        """
        counts = np.array([plain[key] for key in ("iou", "tp", "fp", "fn")], dtype=np.float64)
        classes = np.array(plain["classes"], dtype=np.int64)
        return cls(plain["image_id"], classes, counts.reshape(4, len(classes)))
