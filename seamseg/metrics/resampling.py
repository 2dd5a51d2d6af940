"""Bootstrap intervals (Efron 1979): how much panoptic quality depends on the choice of images in the data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seamseg.metrics.matching import FloatArray, ImageCounts

NUM_DRAWS = 1000
LEVEL = 0.95
_BLOCK = 100  # number of draws at a time, which limits the memory


@dataclass(frozen=True)
class Interval:
    """Middle 95% of a number over resampled images.

    Attributes:
        low, high: Ends of the interval; NaN if the number is undefined in all draws.
    """

    low: float
    high: float

    @classmethod
    def of(cls, values: FloatArray) -> Interval:
        """Create from the values of all draws. NaN marks a draw with an undefined number, which is skipped."""
        defined = values[~np.isnan(values)]
        if not len(defined):
            return cls(math.nan, math.nan)
        low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return cls(float(low), float(high))


@dataclass(frozen=True)
class Intervals:
    """Intervals of panoptic quality.

    Attributes:
        all, things, stuff: Intervals of the means over the classes that appear.
    """

    all: Interval
    things: Interval
    stuff: Interval


def draw_images(num_images: int, generator: np.random.Generator, num_draws: int = NUM_DRAWS) -> NDArray[np.int64]:
    """Draw data sets of N images with replacement.

    Args:
        num_images: Number of images N.
        generator: Random generator.
        num_draws: Number of data sets B.

    Returns:
        How often each image is in each data set, B×N.
    """
    drawn = generator.integers(0, num_images, (num_draws, num_images))
    places = drawn + num_images * np.arange(num_draws)[:, None]
    return np.bincount(places.reshape(-1), minlength=num_draws * num_images).reshape(num_draws, num_images)


def resampled_pq(
    images: Sequence[ImageCounts], num_classes: int, draws: NDArray[np.int64], classes: slice = slice(None)
) -> FloatArray:
    """Compute PQ of every drawn data set.

    Args:
        images: Counts of the N images.
        num_classes: Number of classes C.
        draws: Draws from :func:`draw_images`, B×N. Use the same draws for two results to compare them pairwise.
        classes: Classes to average over.

    Returns:
        Mean PQ over the classes that appear in each data set, B; NaN if there are none.
    """
    return _mean(_drawn_sums(_sums(images, num_classes), draws), classes)


def pq_intervals(images: Sequence[ImageCounts], num_classes: int, num_stuff: int, seed: int = 0) -> Intervals:
    """Compute 95% bootstrap intervals of PQ, the uncertainty that comes from the choice of images.

    Args:
        images: Counts of one or more images. Their order must not depend on which rank counted an image.
        num_classes: Number of stuff and thing classes C.
        num_stuff: Number of stuff classes, which come first.
        seed: Seed of the draws.
    """
    sums, generator = _sums(images, num_classes), np.random.default_rng(seed)
    blocks = (draw_images(len(images), generator, _BLOCK) for _ in range(NUM_DRAWS // _BLOCK))
    drawn = np.concatenate([_drawn_sums(sums, draws) for draws in blocks])
    parts = (slice(None), slice(num_stuff, None), slice(num_stuff))
    return Intervals(*(Interval.of(_mean(drawn, part)) for part in parts))


def _sums(images: Sequence[ImageCounts], num_classes: int) -> FloatArray:
    """Return numerator and denominator of PQ for every image and class, N×2×C."""
    sums = np.zeros((len(images), 2, num_classes))
    for row, image in zip(sums, images, strict=True):
        iou_sum, tp, fp, fn = image.counts
        row[:, image.classes] = iou_sum, tp + fp / 2 + fn / 2
    return sums


def _drawn_sums(sums: FloatArray, draws: NDArray[np.int64]) -> FloatArray:
    """Return numerator and denominator of PQ for every draw and class, B×2×C."""
    return np.asarray((draws.astype(np.float64) @ sums.reshape(len(sums), -1)).reshape(-1, *sums.shape[1:]))


def _mean(drawn: FloatArray, classes: slice) -> FloatArray:
    """Return the mean PQ over the classes that appear in each draw, B; NaN without any."""
    iou_sum, weights = drawn[:, 0, classes], drawn[:, 1, classes]
    pq = np.divide(iou_sum, weights, out=np.zeros_like(iou_sum), where=weights > 0)
    num = (weights > 0).sum(1)
    return np.asarray(np.divide(pq.sum(1), num, out=np.full(len(pq), np.nan), where=num > 0))
