"""Panoptic quality (Kirillov et al. 2019, "Panoptic Segmentation", section 4), counted as the COCO benchmark does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.metrics.segments import Segments
from seamseg.structures import VOID


@dataclass(frozen=True)
class Quality:
    """Means over classes, in 0 … 1.

    Attributes:
        pq: panoptic quality.
        sq: segmentation quality, the mean IoU of matches.
        rq: recognition quality, the F1 score of matches.
        n: number of classes in the means; with none of them all three are 0.
    """

    pq: float
    sq: float
    rq: float
    n: int


class PanopticQuality:
    """Counts matches between predicted and true segments, class by class.

    A predicted and a true segment match when they have one class and an IoU over ½, pixels that are void in the truth
    left out of the union. A true segment that is crowd never matches and is never missed. A prediction without a match
    counts as false unless more than half of it lies on void or on crowd of its own class (on all crowd segments of
    the class together). Segments without pixels do not count. Predicted crowd segments, which no object stands
    behind, are taken for void.

    Attributes:
        state: 4×C float64 on the CPU: per class the sum of the matches' IoUs, and the numbers of true positives, false
            positives and false negatives. Adding the states of several ranks gives the state over all images.

    Args:
        num_classes: C, stuff and things together.
        num_stuff: the first ``num_stuff`` classes are stuff.
    """

    def __init__(self, num_classes: int, num_stuff: int) -> None:
        self.num_stuff = num_stuff
        self.state = torch.zeros(4, num_classes, dtype=torch.float64)

    def update(self, prediction: Segments, truth: Segments) -> None:
        """Counts one image.

        Raises:
            ValueError: the two differ in size, or a class is not one of the C.
        """
        overlaps = _overlaps(prediction, truth)
        for classes in (overlaps.predicted_classes, overlaps.true_classes):
            self._check(classes)
        iou, matches = _matches(overlaps)
        predicted, true = matches.any(0), matches.any(1)
        wrong = _countable(overlaps.predicted_areas, overlaps.predicted_classes) & ~predicted & ~_excused(overlaps)
        missed = _countable(overlaps.true_areas, overlaps.true_classes) & ~true & ~overlaps.crowd
        self.state[0].index_add_(0, overlaps.predicted_classes[predicted], (iou * matches).sum(0)[predicted])
        for row, classes in (
            (1, overlaps.predicted_classes[predicted]),
            (2, overlaps.predicted_classes[wrong]),
            (3, overlaps.true_classes[missed]),
        ):
            self.state[row] += torch.bincount(classes, minlength=self.state.shape[1])

    def merge(self, state: Tensor) -> None:
        """Adds what another instance counted."""
        self.state += state

    @property
    def sq(self) -> Tensor:
        """C float64: mean IoU of the matches, 0 without a match, NaN where the class appears on neither side."""
        iou_sum, hits = self.state[0], self.state[1]
        return (iou_sum / hits.clamp(min=1)).masked_fill(~self._appears, torch.nan)

    @property
    def rq(self) -> Tensor:
        """C float64: tp / (tp + fp/2 + fn/2), NaN where the class appears on neither side."""
        hits, wrong, missed = self.state[1], self.state[2], self.state[3]
        return hits / (hits + wrong / 2 + missed / 2)

    @property
    def pq(self) -> Tensor:
        """C float64: sq · rq, NaN where the class appears on neither side."""
        return self.sq * self.rq

    def over_all(self) -> Quality:
        return self._mean(slice(None))

    def over_things(self) -> Quality:
        return self._mean(slice(self.num_stuff, None))

    def over_stuff(self) -> Quality:
        return self._mean(slice(self.num_stuff))

    @property
    def _appears(self) -> Tensor:
        return self.state[1:].sum(0) > 0

    def _mean(self, classes: slice) -> Quality:
        count = int(self._appears[classes].sum())
        pq, sq, rq = (float(values[classes].nansum()) / max(count, 1) for values in (self.pq, self.sq, self.rq))
        return Quality(pq, sq, rq, count)

    def _check(self, classes: Tensor) -> None:
        num_classes = self.state.shape[1]
        foreign = classes[((classes < 0) | (classes >= num_classes)) & (classes != VOID)]
        if len(foreign):
            raise ValueError(f"a segment has the class {int(foreign[0])}, but the classes are 0 … {num_classes - 1}")


@dataclass(frozen=True)
class _Overlaps:
    """How T true and P predicted segments share the pixels of an image; all on the CPU.

    Attributes:
        counts: T×P float64, numbers of shared pixels.
        true_classes: T int64, 255 where void.
        predicted_classes: P int64, 255 where void or crowd.
        crowd: T bool, true segments that stand for many objects.
    """

    counts: Tensor
    true_classes: Tensor
    predicted_classes: Tensor
    crowd: Tensor

    @property
    def true_areas(self) -> Tensor:
        return self.counts.sum(1)

    @property
    def predicted_areas(self) -> Tensor:
        return self.counts.sum(0)

    @property
    def on_void(self) -> Tensor:
        """P float64: the pixels of each prediction that are void in the truth."""
        return self.counts[self.true_classes == VOID].sum(0)

    @property
    def alike(self) -> Tensor:
        """T×P bool: both sides have the same class, and it is not void."""
        return (self.true_classes[:, None] == self.predicted_classes) & (self.predicted_classes != VOID)


def _overlaps(prediction: Segments, truth: Segments) -> _Overlaps:
    if prediction.size != truth.size:
        raise ValueError(
            f"the prediction is {prediction.size[0]}×{prediction.size[1]} pixels, the truth {truth.size[0]}×"
            f"{truth.size[1]}; they must be of one size"
        )
    num_true, num_predicted = len(truth.classes), len(prediction.classes)
    pairs = truth.ids.long() * num_predicted + prediction.ids.long()
    counts = torch.bincount(pairs.flatten(), minlength=num_true * num_predicted).view(num_true, num_predicted)
    return _Overlaps(
        counts.double().cpu(), truth.classes.cpu(), prediction.without_crowd().classes.cpu(), truth.crowd.cpu()
    )


def _matches(overlaps: _Overlaps) -> tuple[Tensor, Tensor]:
    """T×P IoUs and which of them are matches: at most one per row and column, since IoU > ½."""
    counts = overlaps.counts
    union = overlaps.true_areas[:, None] + (overlaps.predicted_areas - overlaps.on_void) - counts
    iou = counts / union.clamp(min=1)
    return iou, overlaps.alike & ~overlaps.crowd[:, None] & (iou > 0.5)


def _excused(overlaps: _Overlaps) -> Tensor:
    """P bool: predictions with more than half of their pixels on void or on crowd of their class."""
    on_crowd = (overlaps.counts * (overlaps.alike & overlaps.crowd[:, None])).sum(0)
    return overlaps.on_void + on_crowd > overlaps.predicted_areas / 2


def _countable(areas: Tensor, classes: Tensor) -> Tensor:
    return (areas > 0) & (classes != VOID)
