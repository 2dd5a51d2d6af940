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
class PQIntervals:
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


def pq_intervals(images: Sequence[ImageCounts], num_classes: int, num_stuff: int, seed: int = 0) -> PQIntervals:
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
    return PQIntervals(*(Interval.of(_mean(drawn, part)) for part in parts))


@dataclass(frozen=True)
class Comparison:
    """PQ of two results A and B on the same images, and their difference.

    Attributes:
        first: PQ of A, the mean over the classes that appear, and over the runs of A; NaN if no class appears.
        second: PQ of B.
        difference: PQ of B minus PQ of A.
        first_interval: Interval of the PQ of A over resampled images, and over resampled runs if there are several.
        second_interval: Interval of the PQ of B.
        difference_interval: Interval of the difference; both results use the same images in each draw. If it contains
            0, the difference may be chance.
    """

    first: float
    second: float
    difference: float
    first_interval: Interval
    second_interval: Interval
    difference_interval: Interval


def compare(first: Sequence[ImageCounts], second: Sequence[ImageCounts], num_classes: int, seed: int = 0) -> Comparison:
    """Compare two results on the same images, as ``seamseg compare`` does.

    Args:
        first: Counts of N images for result A, at least one; :attr:`seamseg.metrics.scores.Scores.images` has them.
        second: Counts of the same images for result B, in the same order.
        num_classes: C, stuff and things together.
        seed: Seed of the 1000 draws.

    Example:
        Two results on four images with one class. A misses one object that B finds:

        >>> import numpy as np
        >>> from seamseg.metrics import compare
        >>> from seamseg.metrics.matching import ImageCounts
        >>> def image(number, iou_sum, tp, fp, fn):
        ...     return ImageCounts(number, np.array([0]), np.array([[iou_sum], [tp], [fp], [fn]]))
        >>> a = [image(1, 0.8, 1, 0, 0), image(2, 0.8, 1, 0, 0), image(3, 0.8, 1, 0, 0), image(4, 0.0, 0, 0, 1)]
        >>> b = [image(number, 0.8, 1, 0, 0) for number in (1, 2, 3, 4)]
        >>> result = compare(a, b, num_classes=1)
        >>> print(f"{result.first:.3f} {result.second:.3f} {result.difference:+.3f}")
        0.686 0.800 +0.114
        >>> result.difference_interval.low > 0  # the interval contains 0: the difference may be chance
        False
    """
    return compare_runs([first], [second], num_classes, seed)


def compare_runs(
    first: Sequence[Sequence[ImageCounts]],
    second: Sequence[Sequence[ImageCounts]],
    num_classes: int,
    seed: int = 0,
) -> Comparison:
    """Compare two configurations that were each trained several times, for example with different seeds.

    The PQ of a configuration is the mean over its runs. Each draw resamples the images, which are the same for all
    runs, and the runs of each configuration, so that the intervals include the randomness of training. With few runs,
    they are too narrow: three runs have only ten different resamples.

    Args:
        first: For each run of A, at least one, the counts of the same N images.
        second: For each run of B, the counts of these images, in the same order.
        num_classes: C, stuff and things together.
        seed: Seed of the 1000 draws.
    """
    generator = np.random.default_rng(seed)
    draws = draw_images(len(first[0]), generator)
    once = np.ones((1, len(first[0])), np.int64)
    pq_first, pq_second = (
        float(np.mean([resampled_pq(run, num_classes, once) for run in runs])) for runs in (first, second)
    )
    drawn_first, drawn_second = (_resampled_runs(runs, num_classes, draws, generator) for runs in (first, second))
    return Comparison(
        first=pq_first,
        second=pq_second,
        difference=pq_second - pq_first,
        first_interval=Interval.of(drawn_first),
        second_interval=Interval.of(drawn_second),
        difference_interval=Interval.of(drawn_second - drawn_first),
    )


def _resampled_runs(
    runs: Sequence[Sequence[ImageCounts]], num_classes: int, draws: NDArray[np.int64], generator: np.random.Generator
) -> FloatArray:
    """Return the mean PQ of as many runs, drawn with replacement, for every drawn data set, B."""
    drawn = np.stack([resampled_pq(run, num_classes, draws) for run in runs], axis=1)
    shares = draw_images(len(runs), generator, len(draws)) / len(runs)
    return np.asarray((drawn * shares).sum(1))


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
