"""Which images an epoch shows, and how often: each once, or all classes equally.

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
