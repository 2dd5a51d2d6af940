"""Panoptic quality (Kirillov et al. 2019), summed exactly in any order and over any number of ranks.

A sum of floats depends on the order of its terms in the last digit; one of whole numbers does not. An IoU is a fraction
of numbers of pixels, so it is not smaller than 2⁻⁴³ and its bits end at 2⁻⁹⁶: three digits to the base 2³² hold it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seamseg.metrics.matching import FloatArray, Matching, match
from seamseg.metrics.overlaps import Overlaps
from seamseg.structures import PanopticSegmentation

NUM_DIGITS = 3
_BASE = 2.0**32


def to_digits(values: FloatArray) -> Tensor:
    """Numbers as they can be added without rounding.

    Args:
        values: N, each zero or in 2⁻⁴³ … 2³¹.

    Returns:
        3×N int64, the digits of each number after the binary point, the largest first; up to 2³¹ such tensors whose
        numbers are at most 1 add up without overflow.
    """
    digits = np.zeros((NUM_DIGITS, len(values)), np.int64)
    rest = values
    for digit in digits:
        rest = rest * _BASE  # exact, as is all that follows
        digit[:] = np.floor(rest)
        rest = rest - digit
    assert not rest.any(), "a number has digits behind the last one"
    return torch.from_numpy(digits)


def from_digits(digits: Tensor) -> Tensor:
    """N float64, the numbers that are nearest to sums of what :func:`to_digits` returned, 3×N."""
    base = int(_BASE)
    sums = [(high * base + middle) * base + low for high, middle, low in digits.T.tolist()]
    return torch.tensor([total / base**NUM_DIGITS for total in sums], dtype=torch.float64)


@dataclass(frozen=True)
class Quality:
    """Means over classes, in 0 … 1.

    Attributes:
        pq: panoptic quality.
        sq: segmentation quality, the mean IoU of matches.
        rq: recognition quality, the F1 score of matches.
        n: Number of classes in the means; without any, the three are NaN.
    """

    pq: float
    sq: float
    rq: float
    n: int


class PanopticQuality:
    """Counts matches between predicted and true segments, class by class; :class:`Matching` says what matches.

    Attributes:
        state: 6×C int64 on the CPU: per class the digits of the sum of the matches' IoUs, and the numbers of true
            positives, false positives and false negatives. Adding the states of several ranks gives the state over all
            images, bit by bit.

    Args:
        num_classes: C, stuff and things together.
        num_stuff: the first ``num_stuff`` classes are stuff.

    Example:
        The road is found with an IoU of 4/5 and the car is missed:

        >>> import torch
        >>> from seamseg.metrics import PanopticQuality
        >>> from seamseg.structures import PanopticSegmentation
        >>> def segmentation(ids, classes):
        ...     return PanopticSegmentation(
        ...         torch.tensor(ids), torch.tensor([255, *classes]), torch.zeros(len(classes) + 1, dtype=torch.bool)
        ...     )
        >>> truth = segmentation([[1, 1, 1], [1, 2, 0]], classes=[0, 1])
        >>> prediction = segmentation([[1, 1, 1], [1, 1, 0]], classes=[0])
        >>> quality = PanopticQuality(num_classes=2, num_stuff=1)
        >>> quality.update(prediction, truth)
        >>> quality.pq
        tensor([0.8000, 0.0000], dtype=torch.float64)
        >>> quality.over_all()
        Quality(pq=0.4, sq=0.4, rq=0.5, n=2)
    """

    def __init__(self, num_classes: int, num_stuff: int) -> None:
        self.num_stuff = num_stuff
        self.state = torch.zeros(NUM_DIGITS + 3, num_classes, dtype=torch.int64)

    def update(self, prediction: PanopticSegmentation, truth: PanopticSegmentation) -> None:
        """Counts one image. Predicted crowd segments, which no object stands behind, are taken for void.

        Raises:
            ValueError: the two differ in size, or a class is not one of the C.
        """
        overlaps = Overlaps.between(prediction, truth)
        overlaps.check_classes(self.state.shape[1])
        self.count(match(overlaps))

    def count(self, matching: Matching) -> None:
        """Counts one image whose segments are matched; their classes are among the C."""
        self.add(matching.counts(self.state.shape[1]))

    def add(self, counts: FloatArray) -> None:
        """Counts one image.

        Args:
            counts: 4×C, of :meth:`Matching.counts`.
        """
        self.merge(torch.cat([to_digits(counts[0]), torch.from_numpy(counts[1:]).long()]))

    def merge(self, state: Tensor) -> None:
        """Adds what another instance counted."""
        self.state += state

    @property
    def counts(self) -> Tensor:
        """4×C float64: per class the sum of the matches' IoUs, the numbers of TP, FP and FN."""
        return torch.cat([from_digits(self.state[:NUM_DIGITS])[None], self.state[NUM_DIGITS:].double()])

    @property
    def sq(self) -> Tensor:
        """C float64: mean IoU of the matches, 0 without a match, NaN where the class appears on neither side."""
        counts = self.counts
        iou_sum, hits = counts[0], counts[1]
        return (iou_sum / hits.clamp(min=1)).masked_fill(~self._appears, torch.nan)

    @property
    def rq(self) -> Tensor:
        """C float64: tp / (tp + fp/2 + fn/2), NaN where the class appears on neither side."""
        counts = self.counts
        tp, fp, fn = counts[1], counts[2], counts[3]
        return tp / (tp + fp / 2 + fn / 2)

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
        return self.state[NUM_DIGITS:].sum(0) > 0

    def _mean(self, classes: slice) -> Quality:
        count = int(self._appears[classes].sum())
        if count == 0:
            return Quality(math.nan, math.nan, math.nan, 0)
        pq, sq, rq = (float(values[classes].nansum()) / count for values in (self.pq, self.sq, self.rq))
        return Quality(pq, sq, rq, count)


class StuffOverlap:
    """The stuff of PQ† (Porzi et al. 2019, "Seamless Scene Segmentation", section 5): overlap without a threshold.

    PQ† takes things as PQ does; a class of stuff scores the sum of the IoUs of its pairs of segments, however small,
    over the number of its true segments, since a class that covers a region badly is not the same as one not found.

    Attributes:
        state: 4×C int64 on the CPU: per class the digits of the sum of IoUs, and the number of true segments; of stuff
            alone.

    Args:
        num_classes: C, stuff and things together.
        num_stuff: the first ``num_stuff`` classes are stuff.
    """

    def __init__(self, num_classes: int, num_stuff: int) -> None:
        self.num_stuff = num_stuff
        self.state = torch.zeros(NUM_DIGITS + 1, num_classes, dtype=torch.int64)

    def count(self, matching: Matching) -> None:
        """Counts one image whose segments are matched."""
        stuff = matching.classes < self.num_stuff
        iou_sum = np.zeros(self.num_stuff)
        np.add.at(iou_sum, matching.classes[stuff], matching.iou[stuff])
        num_true = np.bincount(matching.present[matching.present < self.num_stuff], minlength=self.num_stuff)
        self.state[:, : self.num_stuff] += torch.cat([to_digits(iou_sum), torch.from_numpy(num_true)[None]])

    def merge(self, state: Tensor) -> None:
        """Adds what another instance counted."""
        self.state += state

    def pq_dagger(self, quality: PanopticQuality) -> Tensor:
        """C float64: PQ† of every class, NaN where it is not there to be found.

        Args:
            quality: of the same images.
        """
        stuff = from_digits(self.state[:NUM_DIGITS]) / self.state[NUM_DIGITS]
        return torch.cat([stuff[: self.num_stuff], quality.pq[self.num_stuff :]])
