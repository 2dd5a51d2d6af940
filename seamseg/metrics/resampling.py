"""How much a panoptic quality depends on which images happen to be in the data set (Efron 1979, the bootstrap)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seamseg.metrics.image_counts import ImageCounts
from seamseg.metrics.matching import FloatArray

NUM_DRAWS = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """The middle 95 % of a number over resampled images.

    Attributes:
        low, high: its ends.
    """

    low: float
    high: float

    @classmethod
    def of(cls, values: FloatArray) -> Interval:
        low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return cls(float(low), float(high))


def draw_images(num_images: int, generator: np.random.Generator, num_draws: int = NUM_DRAWS) -> NDArray[np.int64]:
    """B×N: how often each image is in a data set of N that are drawn with replacement."""
    return generator.multinomial(num_images, np.full(num_images, 1 / num_images), size=num_draws)


def resampled_pq(images: Sequence[ImageCounts], num_classes: int, draws: NDArray[np.int64]) -> FloatArray:
    """B: PQ of every drawn data set, the mean over the classes that appear in it; 0 where none does.

    Args:
        images: N of them.
        num_classes: C.
        draws: B×N, of :func:`draw_images`; the same draws for two results make their difference comparable.
    """
    counts = np.zeros((len(images), 4, num_classes))
    for row, image in zip(counts, images, strict=True):
        row[:, image.classes] = image.counts
    drawn = (draws.astype(np.float64) @ counts.reshape(len(images), -1)).reshape(-1, 4, num_classes)
    iou_sum, hits, false, missed = drawn.transpose(1, 0, 2)
    weights = hits + false / 2 + missed / 2
    pq = np.divide(iou_sum, weights, out=np.zeros_like(iou_sum), where=weights > 0)
    return np.asarray(pq.sum(1) / np.maximum((weights > 0).sum(1), 1))
