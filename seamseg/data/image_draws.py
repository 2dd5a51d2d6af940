"""Which images an epoch shows, and how often: each once, images of rare classes more often, or all classes equally.

All draws of an epoch come from one generator that depends on the seed and the epoch, so they are equal on all ranks and
in a resumed run. Every epoch has the same number of draws, because the learning rate schedule counts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seamseg.errors import DataError

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class EpochDraws:
    """Images of one epoch, before they are shuffled.

    Attributes:
        images: D indices of images, with repetitions.
        targets: D classes that the samples are to show; None if the samples have no target.
    """

    images: IntArray
    targets: IntArray | None = None

    @property
    def repeats(self) -> IntArray:
        """D, the number of earlier draws of the same image."""
        order = self.images.argsort(kind="stable")
        ranked = self.images[order]
        repeats = np.empty_like(self.images)
        repeats[order] = np.arange(len(ranked)) - np.searchsorted(ranked, ranked)
        return repeats


class ImageDraws(Protocol):
    """Rule that draws the images of an epoch."""

    @property
    def num_draws(self) -> int:
        """Number D of draws per epoch, the same for every epoch."""

    def draw(self, generator: np.random.Generator) -> EpochDraws:
        """Return the images of one epoch."""


class EveryImage:
    """Every image once, without any random draw.

    Args:
        num_images: Number of images N.
    """

    def __init__(self, num_images: int) -> None:
        self.num_draws = num_images

    def draw(self, generator: np.random.Generator) -> EpochDraws:
        """Return the images 0 … N − 1."""
        return EpochDraws(np.arange(self.num_draws))


class RepeatedImages:
    """Images of rare classes more often: repeat factor sampling (Gupta et al., "LVIS", CVPR 2019, section B).

    With the fraction f(c) of the images that show class c, the class has the factor r(c) = max(1, √(t/f(c))), and an
    image the largest factor of its classes; an image without classes has the factor 1. In every epoch, an image occurs
    ⌊r⌋ or ⌊r⌋ + 1 times, r times on average.

    Unlike in the paper, where the images are rounded independently, an epoch has a fixed number of draws: the sum of
    the factors, rounded down. The fractional parts are shrunk by the factor that makes their sum an integer, and images
    are chosen from a randomly ordered list by systematic sampling, which has exactly these probabilities.

    Args:
        classes: Classes of each image; repetitions do not matter.
        threshold: Fraction t of images, in (0, 1], below which a class is rare.

    Attributes:
        factors: N float64, the repeat factor r of each image.
        rarest: Fraction of images, in (0, 1], that show the rarest class; 1 without classes.
    """

    def __init__(self, classes: Sequence[Sequence[int]], threshold: float) -> None:
        self.threshold = threshold
        shown = [np.unique(np.asarray(one, np.int64)) for one in classes]
        counts = np.bincount(np.concatenate([*shown, np.empty(0, np.int64)]))
        self.rarest = counts[counts > 0].min(initial=len(shown)) / max(1, len(shown))
        factors = np.sqrt(threshold * len(shown) / counts.clip(min=1)).clip(min=1)
        self.factors = np.array([factors[one].max(initial=1) for one in shown])
        self._whole = np.floor(self.factors).astype(np.int64)
        self._fractions = self.factors - self._whole
        self._num_extra = int(self._fractions.sum())
        self.num_draws = int(self._whole.sum()) + self._num_extra

    def describe(self) -> str:
        """Say how many samples an epoch has, or why no image is repeated."""
        if self.num_draws > len(self.factors):
            return f"data.class_sampling=repeat: {self.num_draws:,} samples per epoch of {len(self.factors):,} images"
        return (
            f"data.class_sampling=repeat repeats no image: the rarest class is in {100 * self.rarest:.4g} % of the "
            f"images, and data.repeat_threshold is {100 * self.threshold:.4g} %"
        )

    def draw(self, generator: np.random.Generator) -> EpochDraws:
        """Return the images of one epoch, in ascending order."""
        counts = self._whole.copy()
        if self._num_extra:
            order = generator.permutation(len(counts))
            reached = (self._fractions[order] * (self._num_extra / self._fractions.sum())).cumsum()
            reached[-1] = self._num_extra  # despite rounding
            steps = np.floor(np.minimum(reached, self._num_extra) + generator.random()).clip(max=self._num_extra)
            counts[order] += np.diff(steps.astype(np.int64), prepend=0)
        return EpochDraws(np.repeat(np.arange(len(counts)), counts))


class UniformClasses:
    """A uniformly drawn class, and a uniformly drawn image that shows it, for every sample.

    An epoch has as many samples as there are images. Images of common classes only may be missing in it, and images
    without classes never occur.

    Args:
        classes: Classes of each image; repetitions do not matter.

    Raises:
        SeamsegError: No image has a class.
    """

    def __init__(self, classes: Sequence[Sequence[int]]) -> None:
        pairs = sorted({(klass, image) for image, shown in enumerate(classes) for klass in shown})
        if not pairs:
            raise DataError("the training annotation lists no segment; data.scale_sampling=uniform has nothing to draw")
        class_of_pair, self._images = np.array(pairs, np.int64).T
        self._classes, self._starts, self._counts = np.unique(class_of_pair, return_index=True, return_counts=True)
        self.num_draws = len(classes)

    def draw(self, generator: np.random.Generator) -> EpochDraws:
        """Return the images of one epoch and the class that each of them was drawn for."""
        drawn = generator.integers(len(self._classes), size=self.num_draws)
        images = self._images[self._starts[drawn] + generator.integers(self._counts[drawn])]
        return EpochDraws(images, self._classes[drawn])
