"""Analysis of where panoptic quality is lost: by segment size, by outcome, between classes, and by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.metrics.matching import ImageCounts
from seamseg.metrics.outcomes import FALSE_ERRORS, TRUE_ERRORS, SegmentOutcome
from seamseg.metrics.overlaps import IntArray
from seamseg.metrics.panoptic_quality import PanopticQuality, Quality
from seamseg.metrics.resampling import PQIntervals, pq_intervals
from seamseg.structures import VOID, ImageId

SIZES = ("small", "medium", "large")
SIZE_LIMITS = (32**2, 96**2)
"""Minimum areas of medium and of large segments in pixels, as in COCO."""

NUM_WORST = 10
BARELY = 0.6
"""Maximum IoU of a match that counts as barely matched."""


@dataclass(frozen=True)
class SizeQuality:
    """Panoptic quality of the segments of one size.

    The area of the true segment decides, and the predicted area for false predictions. Crowd is excluded.

    Attributes:
        all, things, stuff: Panoptic quality over the classes with segments of this size.
        tp, fp, fn: Numbers of true positives, false positives and false negatives.
        per_class: PQ by class name; NaN for a class without segments of this size.
    """

    all: Quality
    things: Quality
    stuff: Quality
    tp: int
    fp: int
    fn: int
    per_class: dict[str, float]


@dataclass(frozen=True)
class ClassOutcomes:
    """Numbers of segments of one class by outcome, as :class:`~seamseg.metrics.outcomes.SegmentOutcome` defines them.

    All true segments of the class are ``matched + classification + localization + missed``; all its false positives are
    the last four fields.

    Attributes:
        matched: Matches.
        barely_matched: Matches with an IoU of at most 0.6.
        classification: True segments with a prediction of another class in their place.
        localization: True segments with a prediction of the right class and the wrong shape.
        missed: True segments without a similar prediction.
        false_classification: Predictions in the place of a true segment of another class.
        false_localization: Predictions of the right class and the wrong shape.
        duplicate: Predictions on a true segment that another prediction matches.
        background: Predictions without a similar true segment.
    """

    matched: int
    barely_matched: int
    classification: int
    localization: int
    missed: int
    false_classification: int
    false_localization: int
    duplicate: int
    background: int

    @property
    def num_lost(self) -> int:
        """Number of true segments without a match, the false negatives."""
        return self.classification + self.localization + self.missed

    @property
    def num_false(self) -> int:
        """Number of false positives."""
        return self.false_classification + self.false_localization + self.duplicate + self.background


@dataclass(frozen=True, eq=False)
class Confusion:
    """Confusion between classes.

    Attributes:
        classes: Names of the C classes.
        segments: (C+1)×(C+1) numbers of true segments by their class (row) and the class of their partner (column).
            Matches and localization errors are on the diagonal. The last column counts ``MISSED``, the last row
            ``BACKGROUND``.
        pixels: C×(C+1) numbers of pixels by true class (row) and predicted class (column), including crowd. The last
            column is void.
    """

    classes: tuple[str, ...]
    segments: IntArray
    pixels: IntArray

    def largest(self, at_most: int) -> list[tuple[str, str, int]]:
        """Return the most frequent confusions of segments, the most frequent first.

        Args:
            at_most: Maximum number of confusions.

        Returns:
            Tuples of true class, predicted class and number of segments.
        """
        num = len(self.classes)
        between = self.segments[:num, :num] * ~np.eye(num, dtype=np.bool_)
        order = np.argsort(-between, axis=None, kind="stable")[:at_most]
        pairs = [divmod(int(place), num) for place in order if between.flat[place] > 0]
        return [(self.classes[true], self.classes[other], int(between[true, other])) for true, other in pairs]


@dataclass(frozen=True)
class WorstImage:
    """One of the images with the lowest PQ.

    Attributes:
        image_id: Id of the image in the data set.
        pq: Mean PQ over the classes that appear in the image.
        tp, fp, fn: Numbers of true positives, false positives and false negatives.
    """

    image_id: ImageId
    pq: float
    tp: int
    fp: int
    fn: int


@dataclass(frozen=True, eq=False)
class Analysis:
    """Analysis of all images of a data set.

    Attributes:
        intervals: 95% intervals of PQ over resampled images; None with fewer than two images.
        by_size: Panoptic quality of small, medium and large segments, by the name of the size.
        outcomes: Numbers of segments by outcome, by class name.
        confusion: Confusion between classes.
        worst: Up to 10 images with the lowest PQ, the lowest first; of images with equal PQ, the one with more errors
            first.
    """

    intervals: PQIntervals | None
    by_size: dict[str, SizeQuality]
    outcomes: dict[str, ClassOutcomes]
    confusion: Confusion
    worst: tuple[WorstImage, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values under the same names; matrices become lists of rows."""
        return {
            "intervals": None if self.intervals is None else asdict(self.intervals),
            "by_size": {size: asdict(quality) for size, quality in self.by_size.items()},
            "outcomes": {name: asdict(counts) for name, counts in self.outcomes.items()},
            "confusion": {
                "classes": list(self.confusion.classes),
                "segments": self.confusion.segments.tolist(),
                "pixels": self.confusion.pixels.tolist(),
            },
            "worst": [asdict(image) for image in self.worst],
        }


def analyze(
    images: Sequence[ImageCounts],
    cases: NDArray[Any],
    pixels: torch.Tensor,
    names: Sequence[str],
    num_stuff: int,
) -> Analysis:
    """Analyze the images of a data set.

    Args:
        images: Counts of each image. The order must not depend on which rank counted an image.
        cases: Segments of the images from :func:`~seamseg.metrics.outcomes.segment_cases`, in the same order.
        pixels: Confusion matrix of the fused output, C×(C+1).
        names: Names of the C classes.
        num_stuff: Number of stuff classes, which come first.
    """
    return Analysis(
        intervals=pq_intervals(images, len(names), num_stuff) if len(images) > 1 else None,
        by_size=_by_size(cases, names, num_stuff),
        outcomes=_by_outcome(cases, names),
        confusion=Confusion(tuple(names), _confusion(cases, len(names)), pixels.numpy().copy()),
        worst=_worst(images),
    )


def _by_size(cases: NDArray[Any], names: Sequence[str], num_stuff: int) -> dict[str, SizeQuality]:
    matched = cases["outcome"] == SegmentOutcome.MATCHED
    kinds = (matched, ~cases["is_true"], cases["is_true"] & ~matched)
    size_of_case, qualities = np.digitize(cases["area"], SIZE_LIMITS), {}
    for number, size in enumerate(SIZES):
        chosen = [kind & (size_of_case == number) for kind in kinds]
        rows = [np.bincount(cases["class"][chosen[0]], cases["iou"][chosen[0]], len(names))]
        rows += [np.bincount(cases["class"][kind], minlength=len(names)) for kind in chosen]
        quality = PanopticQuality(len(names), num_stuff)
        quality.add(np.stack(rows).astype(np.float64)[:, None])
        tp, fp, fn = (int(kind.sum()) for kind in chosen)
        per_class = dict(zip(names, quality.pq.tolist(), strict=True))
        means = quality.over_all(), quality.over_things(), quality.over_stuff()
        qualities[size] = SizeQuality(*means, tp, fp, fn, per_class)
    return qualities


def _by_outcome(cases: NDArray[Any], names: Sequence[str]) -> dict[str, ClassOutcomes]:
    true, outcome = cases["is_true"], cases["outcome"]
    matched = outcome == SegmentOutcome.MATCHED
    columns = [matched, matched & (cases["iou"] <= BARELY)]
    columns += [true & (outcome == one) for one in TRUE_ERRORS]
    columns += [~true & (outcome == one) for one in FALSE_ERRORS]
    counts = np.stack([np.bincount(cases["class"][chosen], minlength=len(names)) for chosen in columns], axis=1)
    return {name: ClassOutcomes(*row) for name, row in zip(names, counts.tolist(), strict=True)}


def _confusion(cases: NDArray[Any], num_classes: int) -> IntArray:
    """Return the (C+1)×(C+1) numbers of segments by true and predicted class."""
    matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    own = cases["class"].astype(np.int64)
    other = np.where(cases["other"] == VOID, num_classes, cases["other"])
    true, background = cases["is_true"], cases["outcome"] == SegmentOutcome.BACKGROUND
    np.add.at(matrix, (own[true], other[true]), 1)
    np.add.at(matrix[num_classes], own[background], 1)
    return matrix


def _worst(images: Sequence[ImageCounts]) -> tuple[WorstImage, ...]:
    known = [(image.pq, -int(image.counts[2:].sum()), image) for image in images if len(image.classes)]
    worst = sorted(known, key=lambda entry: entry[:2])[:NUM_WORST]
    return tuple(
        WorstImage(image.image_id, pq, *(int(number) for number in image.counts[1:].sum(1))) for pq, _, image in worst
    )
