"""From pixels on disk to the network's input."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seamseg.data.annotation import Annotation, compact
from seamseg.data.resizing import network_size, resize_ids, resize_image

Channels = tuple[float, float, float]
"""One number each for red, green, blue."""


class InputTransform:
    """Resizes and normalises a photograph; the same in evaluation and prediction, without randomness.

    Args:
        shortest_side: what the shorter side becomes, in pixels.
        longest_side: what the longer side may not exceed (this wins).
        mean, std: of red, green, blue in 0 … 1.

    Raises:
        ValueError: a side or a deviation is not positive.
    """

    def __init__(self, shortest_side: int, longest_side: int, mean: Channels, std: Channels) -> None:
        if shortest_side < 1 or longest_side < 1:
            raise ValueError(
                f"sides of images are at least 1 pixel, not {shortest_side} (short) and {longest_side} (long)"
            )
        self.shortest_side = shortest_side
        self.longest_side = longest_side
        self.normalize = Normalize(mean, std)

    def __call__(self, image: NDArray[np.uint8]) -> Tensor:
        """From H×W×3 uint8, red first, to 3×H'×W' float32."""
        size = network_size((image.shape[0], image.shape[1]), self.shortest_side, self.longest_side)
        return self.normalize(resize_image(image, size))


class TrainTransform:
    """Flips, resizes by a random scale and normalises a photograph and its segments.

    Args:
        shortest_side: what the shorter side becomes before the random scale, in pixels.
        longest_side: what the longer side may not exceed (this wins).
        random_scale: bounds of the factor on ``shortest_side``, drawn uniformly; none for 1.
        random_flip: mirror left and right half of the time.
        mean, std: of red, green, blue in 0 … 1.

    Raises:
        ValueError: a side, a scale or a deviation is not positive, or the bounds are out of order.
    """

    def __init__(
        self,
        shortest_side: int,
        longest_side: int,
        random_scale: tuple[float, float] | None,
        random_flip: bool,
        mean: Channels,
        std: Channels,
    ) -> None:
        low, high = random_scale or (1.0, 1.0)
        if not 0 < low <= high or int(low * shortest_side) < 1 or longest_side < 1:
            raise ValueError(
                f"a shortest side of {shortest_side}, a longest of {longest_side} and a random scale of "
                f"{low} to {high} do not give images of at least 1 pixel"
            )
        self.shortest_side = shortest_side
        self.longest_side = longest_side
        self.random_scale = random_scale
        self.random_flip = random_flip
        self.normalize = Normalize(mean, std)

    def __call__(
        self, image: NDArray[np.uint8], annotation: Annotation, generator: torch.Generator
    ) -> tuple[Tensor, Annotation]:
        """From H×W×3 uint8 and its segments to 3×H'×W' float32 and the segments that are left at that size."""
        flip_draw, scale_draw = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        if self.random_flip and flip_draw < 0.5:
            image, annotation = flip(image, annotation)
        size = network_size((image.shape[0], image.shape[1]), self._short_side(scale_draw), self.longest_side)
        resized = Annotation(resize_ids(annotation.ids, size), annotation.classes, annotation.crowd)
        return self.normalize(resize_image(image, size)), compact(resized)

    def _short_side(self, draw: float) -> int:
        """The scaled shortest side for a number drawn from [0, 1)."""
        if self.random_scale is None:
            return self.shortest_side
        low, high = (bound * self.shortest_side for bound in self.random_scale)
        return int(low + (high - low) * draw)


def flip(image: NDArray[np.uint8], annotation: Annotation) -> tuple[NDArray[np.uint8], Annotation]:
    """Mirrors left and right."""
    flipped = Annotation(annotation.ids[:, ::-1].copy(), annotation.classes, annotation.crowd)
    return image[:, ::-1].copy(), flipped


class Normalize:
    """From H×W×3 uint8 to 3×H×W float32: values in 0 … 1, minus the mean, over the standard deviation.

    Raises:
        ValueError: a deviation is not positive.
    """

    def __init__(self, mean: Channels, std: Channels) -> None:
        if min(std) <= 0:
            raise ValueError(f"the standard deviations of red, green, blue are {std}; they must be positive")
        self.mean = torch.tensor(mean, dtype=torch.float32)[:, None, None]
        self.std = torch.tensor(std, dtype=torch.float32)[:, None, None]

    def __call__(self, image: NDArray[np.uint8]) -> Tensor:
        channels_first = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
        values = channels_first.to(torch.float32, memory_format=torch.contiguous_format)
        return values.div_(255.0).sub_(self.mean).div_(self.std)
