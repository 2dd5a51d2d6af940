"""How much a panoptic quality depends on which images happen to be in the data set (Efron 1979, the bootstrap)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seamseg.metrics.matching import FloatArray, ImageCounts

NUM_DRAWS = 1000
LEVEL = 0.95
_BLOCK = 100  # draws at a time, so that they take little memory beside the images


@dataclass(frozen=True)
class Interval:
    """The middle 95 % of a number over resampled images.

    Attributes:
        low, high: Ends of the interval; NaN if the number is undefined in all draws.
    """

    low: float
    high: float

    @classmethod
    def of(cls, values: FloatArray) -> Interval:
        """From the values of all draws; NaN marks a draw in which the number is undefined, and is left out."""
        defined = values[~np.isnan(values)]
        if not len(defined):
            return cls(math.nan, math.nan)
        low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return cls(float(low), float(high))


@dataclass(frozen=True)
class Intervals:
    """Of the panoptic quality.

    Attributes:
        all, things, stuff: over the classes that appear.
    """

    all: Interval
    things: Interval
    stuff: Interval


def draw_images(num_images: int, generator: np.random.Generator, num_draws: int = NUM_DRAWS) -> NDArray[np.int64]:
    """B×N: how often each image is in a data set of N that are drawn with replacement."""
    drawn = generator.integers(0, num_images, (num_draws, num_images))
    places = drawn + num_images * np.arange(num_draws)[:, None]
    return np.bincount(places.reshape(-1), minlength=num_draws * num_images).reshape(num_draws, num_images)


def resampled_pq(
    images: Sequence[ImageCounts], num_classes: int, draws: NDArray[np.int64], classes: slice = slice(None)
) -> FloatArray:
    """B: PQ of every drawn data set, the mean over the classes that appear in it; NaN where none does.

    Args:
        images: N of them.
        num_classes: C.
        draws: B×N, of :func:`draw_images`; the same draws for two results make their difference comparable.
        classes: which of the C are averaged.
    """
    return _mean(_drawn_sums(_sums(images, num_classes), draws), classes)


def pq_intervals(images: Sequence[ImageCounts], num_classes: int, num_stuff: int, seed: int = 0) -> Intervals:
    """How far PQ may be off because these images were taken and not others like them.

    Args:
        images: at least one, in an order that does not depend on how they were counted.
        num_classes: C, stuff and things together.
        num_stuff: the first ``num_stuff`` classes are stuff.
        seed: of the draws.
    """
    sums, generator = _sums(images, num_classes), np.random.default_rng(seed)
    blocks = (draw_images(len(images), generator, _BLOCK) for _ in range(NUM_DRAWS // _BLOCK))
    drawn = np.concatenate([_drawn_sums(sums, draws) for draws in blocks])
    parts = (slice(None), slice(num_stuff, None), slice(num_stuff))
    return Intervals(*(Interval.of(_mean(drawn, part)) for part in parts))


def _sums(images: Sequence[ImageCounts], num_classes: int) -> FloatArray:
    """N×2×C: numerator and denominator of PQ, for every image and class."""
    sums = np.zeros((len(images), 2, num_classes))
    for row, image in zip(sums, images, strict=True):
        iou_sum, tp, fp, fn = image.counts
        row[:, image.classes] = iou_sum, tp + fp / 2 + fn / 2
    return sums


def _drawn_sums(sums: FloatArray, draws: NDArray[np.int64]) -> FloatArray:
    """B×2×C."""
    return np.asarray((draws.astype(np.float64) @ sums.reshape(len(sums), -1)).reshape(-1, *sums.shape[1:]))


def _mean(drawn: FloatArray, classes: slice) -> FloatArray:
    """B: mean PQ over the classes that appear; NaN without any."""
    iou_sum, weights = drawn[:, 0, classes], drawn[:, 1, classes]
    pq = np.divide(iou_sum, weights, out=np.zeros_like(iou_sum), where=weights > 0)
    num = (weights > 0).sum(1)
    return np.asarray(np.divide(pq.sum(1), num, out=np.full(len(pq), np.nan), where=num > 0))
