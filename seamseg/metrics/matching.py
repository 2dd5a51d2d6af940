"""Which segments match (Kirillov et al. 2019, "Panoptic Segmentation", section 4.1), as the COCO benchmark decides."""

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
    """Matches, false positives and false negatives of an image.

    A predicted and a true segment match when they have one class and an IoU over ½, pixels that are void in the truth
    left out of the union. A true segment that is crowd never matches and is no false negative. A prediction without a
    match is a false positive unless more than half of it lies on void or on crowd of its own class; of several crowd
    segments of a class the last one counts, as in the benchmark's own program. Segments without pixels do not count.

    Attributes:
        classes: M, of the pairs of one class and without crowd.
        iou: M, of these pairs.
        matched: M, which of them are matches; at most one per segment.
        fp: Classes of the false predictions, one entry each.
        fn: Classes of the true segments without a match, one entry each.
        present: classes of the true segments that count: with a pixel, not void, no crowd; one entry each.
        false_segments, present_segments: which segments of their side the entries of ``fp`` and ``present`` are,
            ascending.
    """

    classes: IntArray
    iou: FloatArray
    matched: BoolArray
    fp: IntArray
    fn: IntArray
    present: IntArray
    false_segments: IntArray
    present_segments: IntArray

    def counts(self, num_classes: int) -> FloatArray:
        """4×C: per class the sum of the matches' IoUs, the numbers of TP, FP and FN."""
        hits = self.classes[self.matched]
        rows = [np.bincount(hits, self.iou[self.matched], num_classes)]
        rows += [np.bincount(classes, minlength=num_classes) for classes in (hits, self.fp, self.fn)]
        return np.stack(rows).astype(np.float64)


def match(overlaps: Overlaps, boundary: bool = False) -> Matching:
    """Matches the segments of an image.

    Args:
        overlaps: of both sides; with borders if ``boundary``.
        boundary: takes for the IoU the smaller one of the masks and of their borders (Cheng et al. 2021, "Boundary
            IoU", section 6, boundary PQ).
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
    excusing = on_void | (alike & _last_crowd(overlaps.true_crowd & there, overlaps.true_classes)[overlaps.true])
    areas = np.bincount(overlaps.predicted, overlaps.pixels, overlaps.num_predicted)
    excused = np.bincount(overlaps.predicted, overlaps.pixels * excusing, overlaps.num_predicted) > areas / 2
    false = (areas > 0) & (overlaps.predicted_classes != VOID) & ~found_predicted & ~excused
    present = there & (overlaps.true_classes != VOID) & ~overlaps.true_crowd
    return Matching(
        classes=true_classes[candidates],
        iou=iou,
        matched=matched,
        fp=overlaps.predicted_classes[false],
        fn=overlaps.true_classes[present & ~found_true],
        present=overlaps.true_classes[present],
        false_segments=np.flatnonzero(false),
        present_segments=np.flatnonzero(present),
    )


def pair_iou(overlaps: Overlaps, pairs: IntArray) -> FloatArray:
    """The IoU of some pairs, pixels that are void in the truth left out of the union.

    Args:
        overlaps: of an image.
        pairs: positions in its list of pairs.
    """
    return _iou(overlaps, pairs, overlaps.pixels, overlaps.pixels, overlaps.pixels)


def _iou(
    overlaps: Overlaps, pairs: IntArray, in_true: IntArray, in_predicted: IntArray, in_both: IntArray
) -> FloatArray:
    """Of some pairs, from how many pixels of every pair belong to the true part, the predicted part, and both."""
    on_void = overlaps.true_classes[overlaps.true] == VOID
    true, predicted = overlaps.true[pairs], overlaps.predicted[pairs]
    true_areas = np.bincount(overlaps.true, in_true, overlaps.num_true)
    predicted_areas = np.bincount(overlaps.predicted, in_predicted * ~on_void, overlaps.num_predicted)
    shared = in_both[pairs]
    union = true_areas[true] + predicted_areas[predicted] - shared
    return np.asarray(shared / np.maximum(union, 1))


def _last_crowd(crowd: BoolArray, classes: IntArray) -> BoolArray:
    """T: the crowd segments that are the last of their class."""
    backwards = np.flatnonzero(crowd)[::-1]
    chosen = np.zeros(len(crowd), np.bool_)
    chosen[backwards[np.unique(classes[backwards], return_index=True)[1]]] = True
    return chosen


@dataclass(frozen=True, eq=False)
class ImageCounts:
    """The panoptic quality of one image before it is divided.

    Attributes:
        image_id: the data set's own id.
        classes: K, those that appear in the image on either side, ascending.
        counts: 4×K, per class the sum of the matches' IoUs, the numbers of TP, FP and FN.
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
        iou_sum, tp, fp, fn = self.counts
        return float(np.mean(iou_sum / (tp + fp / 2 + fn / 2))) if len(self.classes) else float("nan")

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
