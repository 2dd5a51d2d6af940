"""Panoptic quality (Kirillov et al. 2019), summed exactly in any order and over any number of ranks.

The last digit of a sum of floats depends on the order of the terms; a sum of integers does not. An IoU is a fraction of
pixel counts, so it is zero or at least 2⁻⁴³, and its last bit is at least 2⁻⁹⁶. Three digits to the base 2³² represent
it exactly.
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
    """Convert numbers to integer digits, which add without rounding.

    Args:
        values: Array of numbers, each zero or in 2⁻⁴³ … 2³¹.

    Returns:
        Digits of each number to the base 2³² after the binary point, 3×… int64, most significant first. Up to 2³¹
        tensors of numbers <= 1 add without overflow.
    """
    digits = np.zeros((NUM_DIGITS, *values.shape), np.int64)
    rest = values
    for digit in digits:
        rest = rest * _BASE  # exact, as are the next two lines
        digit[:] = np.floor(rest)
        rest = rest - digit
    assert not rest.any(), "a number has more digits than are stored"
    return torch.from_numpy(digits)


def from_digits(digits: Tensor) -> Tensor:
    """Convert a sum of tensors from :func:`to_digits`, 3×N, to the nearest numbers, N float64."""
    base = int(_BASE)
    sums = [(high * base + middle) * base + low for high, middle, low in digits.T.tolist()]
    return torch.tensor([total / base**NUM_DIGITS for total in sums], dtype=torch.float64)


@dataclass(frozen=True)
class Quality:
    """Means over classes, in 0 … 1.

    Attributes:
        pq: Panoptic quality.
        sq: Segmentation quality, the mean IoU of the matches.
        rq: Recognition quality, the F1 score of the matches.
        n: Number of classes in the means. The means are NaN if it is 0.
    """

    pq: float
    sq: float
    rq: float
    n: int


class PanopticQuality:
    """Panoptic quality per class, accumulated image by image. :class:`Matching` defines which segments match.

    Attributes:
        state: Digits of the sum of the matches' IoUs, and numbers of true positives, false positives and false
            negatives of each class, 6×C int64 on the CPU. Adding the states of several ranks gives the state of all
            images, bit for bit.

    Args:
        num_classes: Number of stuff and thing classes C.
        num_stuff: Number of stuff classes, which come first.

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
        """Add one image.

        Args:
            prediction: Predicted segmentation; its crowd segments count as void, because they are not detected objects.
            truth: Annotation of the same size.

        Raises:
            ValueError: The sizes differ, or a class is out of range.
        """
        overlaps = Overlaps.between(prediction, truth)
        overlaps.check_classes(self.state.shape[1])
        self.count(match(overlaps))

    def count(self, matching: Matching) -> None:
        """Add images from the matching of their segments, whose classes must be 0 … C-1."""
        self.add(matching.counts(self.state.shape[1]))

    def add(self, counts: FloatArray) -> None:
        """Add images from their counts.

        Args:
            counts: Counts of each image and class from :meth:`Matching.counts`, 4×I×C.
        """
        self.merge(torch.cat([to_digits(counts[0]), torch.from_numpy(counts[1:]).long()]).sum(1))

    def merge(self, state: Tensor) -> None:
        """Add the state of another instance."""
        self.state += state

    @property
    def counts(self) -> Tensor:
        """Sum of the matches' IoUs and numbers of TP, FP and FN of each class, 4×C float64."""
        return torch.cat([from_digits(self.state[:NUM_DIGITS])[None], self.state[NUM_DIGITS:].double()])

    @property
    def sq(self) -> Tensor:
        """Mean IoU of the matches of each class, C float64; 0 without matches, NaN for a class that does not appear."""
        counts = self.counts
        iou_sum, hits = counts[0], counts[1]
        return (iou_sum / hits.clamp(min=1)).masked_fill(~self._appears, torch.nan)

    @property
    def rq(self) -> Tensor:
        """Recognition quality tp / (tp + fp/2 + fn/2), C float64; NaN for a class that does not appear."""
        counts = self.counts
        tp, fp, fn = counts[1], counts[2], counts[3]
        return tp / (tp + fp / 2 + fn / 2)

    @property
    def pq(self) -> Tensor:
        """Panoptic quality sq · rq, C float64; NaN for a class that does not appear."""
        return self.sq * self.rq

    def over_all(self) -> Quality:
        """Return the means over all classes that appear."""
        return self._mean(slice(None))

    def over_things(self) -> Quality:
        """Return the means over the thing classes that appear."""
        return self._mean(slice(self.num_stuff, None))

    def over_stuff(self) -> Quality:
        """Return the means over the stuff classes that appear."""
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
    """Stuff score of PQ† (Porzi et al. 2019, "Seamless Scene Segmentation", section 5): overlap without a threshold.

    For things, PQ† is PQ. The score of a stuff class is the sum of the IoUs of its overlapping pairs of segments,
    however small, divided by the number of its true segments. A region that is covered badly therefore scores higher
    than a region that is not found.

    Attributes:
        state: Digits of the sum of IoUs, and number of true segments of each class, 4×C int64 on the CPU; zero for
            things.

    Args:
        num_classes: Number of stuff and thing classes C.
        num_stuff: Number of stuff classes, which come first.
    """

    def __init__(self, num_classes: int, num_stuff: int) -> None:
        self.num_stuff = num_stuff
        self.state = torch.zeros(NUM_DIGITS + 1, num_classes, dtype=torch.int64)

    def count(self, matching: Matching) -> None:
        """Add images from the matching of their segments."""
        overlaps, shape = matching.overlaps, (matching.overlaps.num_images, self.state.shape[1])
        true, num_cells = overlaps.cells(shape[1])[0], shape[0] * shape[1]
        iou_sum = np.bincount(true[overlaps.true[matching.pairs]], matching.iou, num_cells).astype(np.float64)
        num_true = np.bincount(true[matching.present], minlength=num_cells)
        sums = torch.cat([to_digits(iou_sum.reshape(shape)), torch.from_numpy(num_true.reshape(1, *shape))]).sum(1)
        self.state[:, : self.num_stuff] += sums[:, : self.num_stuff]

    def merge(self, state: Tensor) -> None:
        """Add the state of another instance."""
        self.state += state

    def pq_dagger(self, quality: PanopticQuality) -> Tensor:
        """Return PQ† of each class, C float64; NaN for a stuff class without true segments, and where PQ is NaN.

        Args:
            quality: Panoptic quality of the same images.
        """
        stuff = from_digits(self.state[:NUM_DIGITS]) / self.state[NUM_DIGITS]
        return torch.cat([stuff[: self.num_stuff], quality.pq[self.num_stuff :]])
