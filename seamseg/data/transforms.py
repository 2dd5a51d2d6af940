"""What a training sample shows of an image: which part, how large, mirrored or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seamseg.data.annotation import Annotation, compact_with_boxes
from seamseg.data.color_jitter import ColorChange, ColorJitter
from seamseg.data.images import reduction
from seamseg.data.resizing import nearest, network_size, resize_image
from seamseg.ops.id_maps import index_grid
from seamseg.structures import Size

Window = tuple[int, int, int, int]
"""(y0, x0, y1, x1) in pixels, half-open."""


@dataclass(frozen=True)
class View:
    """Cuts a window out of an image and its segments, resizes it and mirrors it.

    Attributes:
        whole: height and width of the image on disk.
        window: part of it that is shown.
        size: height and width at which it is shown.
        mirrored: whether left and right change places.
        factor: 1, 2, 4 or 8: the image may be read smaller by this much. Edges of the window are multiples of it, but
            for those at the edge of the image.
    """

    whole: Size
    window: Window
    size: Size
    mirrored: bool
    factor: int

    def image(self, pixels: NDArray[np.uint8], factor: int = 1) -> Tensor:
        """From H×W×3 uint8, or an image reduced by ``factor``, to 3×h×w uint8 of the view's size.

        Where the factor does not divide the image, the last pixels of the reduced one reach beyond its edge; they are
        shown if more than half of them lies inside, so nothing is displaced by more than half a pixel.
        """
        y0, x0 = self.window[0] // factor, self.window[1] // factor
        y1, x1 = (
            max(start + 1, (end + factor // 2) // factor) for start, end in ((y0, self.window[2]), (x0, self.window[3]))
        )
        shown = resize_image(pixels[y0:y1, x0:x1], self.size)
        return shown.flip(2) if self.mirrored else shown

    def ids(self, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """From H×W segment ids to h×w, each that of the pixel under the centre."""
        y0, x0, y1, x1 = self.window
        rows = y0 + nearest(y1 - y0, self.size[0])
        columns = nearest(x1 - x0, self.size[1])
        columns = x1 - 1 - columns if self.mirrored else x0 + columns
        taken = index_grid(torch.from_numpy(ids), torch.from_numpy(rows), torch.from_numpy(columns))
        shown: NDArray[np.int32] = taken.numpy()
        return shown

    def annotation(self, annotation: Annotation, min_visible: float) -> tuple[Annotation, Tensor]:
        """The segments that are shown, renumbered, and their boxes.

        Args:
            annotation: of the whole image.
            min_visible: segments of which the window holds a smaller part, in 0 … 1 of their pixels on disk, become
                crowd: they keep their class, but no object is sought there and none is denied.

        Returns:
            The annotation at the view's size, and K+1×4 float32 boxes.
        """
        crowd = annotation.crowd
        if self.window != (0, 0, *self.whole):
            crowd = crowd | self._leftovers(annotation, min_visible)
        return compact_with_boxes(Annotation(self.ids(annotation.ids), annotation.classes, crowd))

    def _leftovers(self, annotation: Annotation, min_visible: float) -> NDArray[np.bool_]:
        y0, x0, y1, x1 = self.window
        seen = Annotation(annotation.ids[y0:y1, x0:x1], annotation.classes, annotation.crowd)
        (_, whole), (_, visible) = annotation.measure(), seen.measure()
        few: NDArray[np.bool_] = (visible < min_visible * whole).numpy()
        few[0] = False  # void
        return few


def make_view(whole: Size, scaled: Size, crop: Size | None, place: tuple[float, float], mirrored: bool) -> View:
    """The view of an image that is first scaled and then cropped; its pixels are cut first, which is less work.

    Args:
        whole: height and width of the image on disk.
        scaled: those that the whole image would be shown at.
        crop: height and width that the view has at most; None for the whole image.
        place: numbers in [0, 1): where the window lies between top and bottom, left and right.
        mirrored: whether left and right change places.
    """
    factor = reduction(whole, scaled)
    if crop is None:
        return View(whole, (0, 0, *whole), scaled, mirrored, factor)
    size = min(scaled[0], crop[0]), min(scaled[1], crop[1])
    rows, columns = (
        _range(old, new, shown, where, factor)
        for old, new, shown, where in zip(whole, scaled, size, place, strict=True)
    )
    return View(whole, (rows[0], columns[0], rows[1], columns[1]), size, mirrored, factor)


def _range(whole: int, scaled: int, shown: int, place: float, factor: int) -> tuple[int, int]:
    """First and last + 1 of the pixels on disk, of which the scaled image would show ``shown``."""
    if shown == scaled:
        return 0, whole
    length = max(1, round(whole * shown / scaled))
    start = int(place * (whole - length + 1))
    end = -(-(start + length) // factor) * factor
    return start - start % factor, min(whole, end)


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
