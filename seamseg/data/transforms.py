"""From pixels on disk to the network's input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seamseg.data.annotation import Annotation
from seamseg.data.color_jitter import ColorChange, ColorJitter
from seamseg.data.resizing import network_size, resize_image
from seamseg.data.view import View, make_view
from seamseg.structures import Size

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
        return self.normalize(self.pixels(image))

    def pixels(self, image: NDArray[np.uint8]) -> Tensor:
        """From H×W×3 uint8, red first, to 3×H'×W' uint8, which are normalised where they are needed."""
        size = network_size((image.shape[0], image.shape[1]), self.shortest_side, self.longest_side)
        return resize_image(image, size)


@dataclass(frozen=True)
class Variation:
    """What one training sample makes of one image.

    Attributes:
        view: what it shows.
        color: how its colours change.
        min_visible: the part of a segment that a crop must leave for it to stay an object.
    """

    view: View
    color: ColorChange
    min_visible: float

    def image(self, image: NDArray[np.uint8], factor: int = 1) -> Tensor:
        """From H×W×3 uint8, red first, or the image reduced by ``factor``, to 3×h×w uint8."""
        return self.color(self.view.image(image, factor))

    def annotation(self, annotation: Annotation) -> tuple[Annotation, Tensor]:
        """The segments that are left, renumbered, and their boxes."""
        return self.view.annotation(annotation, self.min_visible)


class TrainTransform:
    """Mirrors, scales and crops a photograph and its segments and changes its colours, all at random.

    A wide ``random_scale`` such as 0.1 … 2 with ``random_crop`` is the large-scale jitter of Ghiasi et al. 2021
    ("Simple Copy-Paste").

    Args:
        shortest_side: what the shorter side becomes before the random scale, in pixels.
        longest_side: what the longer side may not exceed before it is cropped (this wins).
        random_scale: bounds of the factor on ``shortest_side``, drawn uniformly; none for 1.
        random_flip: mirror left and right half of the time.
        random_crop: height and width that are left at most, in pixels after scaling, anywhere; none for whole images.
        crop_min_visible: a segment of which a crop leaves a smaller part, in 0 … 1, becomes crowd: its pixels keep
            their class, but it is no object any more.
        color_jitter: how far colours stray.

    Raises:
        ValueError: a side or a scale is not positive, the bounds are out of order, or the part is not in 0 … 1.
    """

    def __init__(
        self,
        shortest_side: int,
        longest_side: int,
        random_scale: tuple[float, float] | None,
        random_flip: bool,
        random_crop: Size | None = None,
        crop_min_visible: float = 0.0,
        color_jitter: ColorJitter | None = None,
    ) -> None:
        low, high = random_scale or (1.0, 1.0)
        if not 0 < low <= high or int(low * shortest_side) < 1 or longest_side < 1:
            raise ValueError(
                f"a shortest side of {shortest_side}, a longest of {longest_side} and a random scale of "
                f"{low} to {high} do not give images of at least 1 pixel"
            )
        if random_crop is not None and min(random_crop) < 1:
            raise ValueError(f"a crop has at least 1×1 pixels, not {random_crop[0]}×{random_crop[1]}")
        if not 0 <= crop_min_visible <= 1:
            raise ValueError(f"the visible part of a segment is a number in 0 … 1, not {crop_min_visible}")
        self.shortest_side, self.longest_side = shortest_side, longest_side
        self.random_scale, self.random_flip, self.random_crop = random_scale, random_flip, random_crop
        self.crop_min_visible = crop_min_visible
        self.color_jitter = color_jitter or ColorJitter()

    def draw(self, size: Size, generator: torch.Generator) -> Variation:
        """All that is random about one sample of an image of this height and width.

        Always takes the same numbers from the generator, so that one setting does not change the draws of another.
        """
        flip, scale, top, left, *colors = torch.rand(8, generator=generator, dtype=torch.float64).tolist()
        scaled = network_size(size, self._short_side(scale), self.longest_side)
        view = make_view(size, scaled, self.random_crop, (top, left), self.random_flip and flip < 0.5)
        return Variation(view, self.color_jitter.draw(colors), self.crop_min_visible)

    def __call__(
        self, image: NDArray[np.uint8], annotation: Annotation, generator: torch.Generator
    ) -> tuple[Tensor, Annotation]:
        """From H×W×3 uint8, red first, and its segments to 3×h×w uint8 and the segments that are left at that size."""
        variation = self.draw((image.shape[0], image.shape[1]), generator)
        return variation.image(image), variation.annotation(annotation)[0]

    def _short_side(self, draw: float) -> int:
        """The scaled shortest side for a number drawn from [0, 1)."""
        if self.random_scale is None:
            return self.shortest_side
        low, high = (bound * self.shortest_side for bound in self.random_scale)
        return int(low + (high - low) * draw)


class Normalize:
    """From 3×H×W uint8 to float32: values in 0 … 1, minus the mean, over the standard deviation.

    Raises:
        ValueError: a deviation is not positive.
    """

    def __init__(self, mean: Channels, std: Channels) -> None:
        if min(std) <= 0:
            raise ValueError(f"the standard deviations of red, green, blue are {std}; they must be positive")
        self.mean = torch.tensor(mean, dtype=torch.float32)[:, None, None]
        self.std = torch.tensor(std, dtype=torch.float32)[:, None, None]

    def __call__(self, image: Tensor) -> Tensor:
        """On the device of the image."""
        values = image.to(torch.float32)
        return values.div_(255.0).sub_(self.mean.to(image.device)).div_(self.std.to(image.device))
