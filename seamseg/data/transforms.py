"""From images and annotation on disk to the network's input: resizing, and random changes in training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seamseg.data.color_jitter import ColorChange, ColorJitter
from seamseg.data.images import reduction
from seamseg.data.resizing import nearest, network_size, resize_image
from seamseg.errors import SettingsError
from seamseg.ops.id_maps import drop_empty_segments, index_grid, segment_boxes
from seamseg.structures import PanopticSegmentation, Size

Window = tuple[int, int, int, int]
"""(y0, x0, y1, x1) in pixels, half-open."""


@dataclass(frozen=True)
class AugmentationPlan:
    """Everything that is random about one training sample: how its image is decoded, cut, resized, mirrored, recolored.

    Attributes:
        whole: Height and width of the image on disk.
        window: Part of the image that the sample shows.
        size: Height and width of the sample.
        mirrored: Whether left and right are swapped.
        decode_scale: 1, 2, 4 or 8: the file may be decoded smaller by this factor. Edges of the window are multiples
            of it, except at the edge of the image.
        color: Change of the colors.
        min_visible: Fraction of a segment's pixels, in 0 … 1, that must lie in the window. Segments with less become
            crowd: they keep their class and are ignored by the detection losses.
    """

    whole: Size
    window: Window
    size: Size
    mirrored: bool
    decode_scale: int
    color: ColorChange = field(default_factory=ColorChange)
    min_visible: float = 0.0

    def apply_image(self, pixels: NDArray[np.uint8], decode_scale: int = 1) -> Tensor:
        """Cut, resize, mirror and recolor an image.

        Where ``decode_scale`` does not divide the image, the last pixels of the decoded one reach beyond its edge. They
        are shown if more than half of each lies inside, so nothing is displaced by more than half a pixel.

        Args:
            pixels: H×W×3 uint8, red first, of the whole image.
            decode_scale: Factor by which the image was decoded smaller.

        Returns:
            3×h×w uint8.
        """
        y0, x0 = self.window[0] // decode_scale, self.window[1] // decode_scale
        y1, x1 = (
            max(start + 1, (end + decode_scale // 2) // decode_scale)
            for start, end in ((y0, self.window[2]), (x0, self.window[3]))
        )
        shown = resize_image(pixels[y0:y1, x0:x1], self.size)
        return self.color(shown.flip(2) if self.mirrored else shown)

    def apply_ids(self, ids: Tensor) -> Tensor:
        """From H×W int32 segment ids to h×w; each pixel takes the id under its center."""
        y0, x0, y1, x1 = self.window
        rows = y0 + nearest(y1 - y0, self.size[0])
        columns = nearest(x1 - x0, self.size[1])
        columns = x1 - 1 - columns if self.mirrored else x0 + columns
        return index_grid(ids, torch.from_numpy(rows), torch.from_numpy(columns))

    def apply_annotation(self, annotation: PanopticSegmentation) -> tuple[PanopticSegmentation, Tensor]:
        """Cut, resize and mirror the annotation of the whole image.

        Returns:
            The K segments that the sample shows, renumbered, and their K+1×4 float32 boxes.
        """
        crowd = annotation.crowd
        if self.window != (0, 0, *self.whole):
            crowd = crowd | self._mostly_cut_off(annotation)
        return drop_empty_segments(PanopticSegmentation(self.apply_ids(annotation.ids), annotation.classes, crowd))

    def _mostly_cut_off(self, annotation: PanopticSegmentation) -> Tensor:
        """K+1 bool: segments with too few of their pixels in the window."""
        y0, x0, y1, x1 = self.window
        num_segments = len(annotation.classes)
        (_, whole), (_, visible) = (
            segment_boxes(ids, num_segments) for ids in (annotation.ids, annotation.ids[y0:y1, x0:x1])
        )
        cut_off = visible < self.min_visible * whole
        cut_off[0] = False  # void
        return cut_off


def make_plan(
    whole: Size, scaled: Size, crop: Size | None, place: tuple[float, float], mirrored: bool
) -> AugmentationPlan:
    """Plan to scale an image and then crop it, in its own colors. The plan crops first, which is less work.

    Args:
        whole: Height and width of the image on disk.
        scaled: Height and width of the whole image after scaling.
        crop: Maximum height and width of the sample; None for the whole image.
        place: Numbers in [0, 1): where the window lies between top and bottom, left and right.
        mirrored: Whether left and right are swapped.
    """
    scale = reduction(whole, scaled)
    if crop is None:
        return AugmentationPlan(whole, (0, 0, *whole), scaled, mirrored, scale)
    size = min(scaled[0], crop[0]), min(scaled[1], crop[1])
    rows, columns = (
        _range(old, new, shown, where, scale) for old, new, shown, where in zip(whole, scaled, size, place, strict=True)
    )
    window = rows[0], columns[0], rows[1], columns[1]
    return AugmentationPlan(whole, window, size, mirrored, scale)


def _range(whole: int, scaled: int, shown: int, place: float, decode_scale: int) -> tuple[int, int]:
    """First and last + 1 of the pixels on disk of which the scaled image would show ``shown``."""
    if shown == scaled:
        return 0, whole
    length = max(1, round(whole * shown / scaled))
    start = int(place * (whole - length + 1))
    end = -(-(start + length) // decode_scale) * decode_scale
    return start - start % decode_scale, min(whole, end)


Channels = tuple[float, float, float]
"""One number each for red, green, blue."""


class InputTransform:
    """Resizes and normalizes an image; the same in evaluation and prediction, without randomness.

    Args:
        shortest_side: what the shorter side becomes, in pixels.
        longest_side: what the longer side may not exceed (this wins).
        mean, std: of red, green, blue in 0 … 1.

    Raises:
        SeamsegError: a side or a deviation is not positive.
    """

    def __init__(self, shortest_side: int, longest_side: int, mean: Channels, std: Channels) -> None:
        if shortest_side < 1 or longest_side < 1:
            raise SettingsError(
                f"sides of images are at least 1 pixel, not {shortest_side} (short) and {longest_side} (long)"
            )
        self.shortest_side = shortest_side
        self.longest_side = longest_side
        self.normalize = Normalize(mean, std)

    def __call__(self, image: NDArray[np.uint8]) -> Tensor:
        """From H×W×3 uint8, red first, to 3×H'×W' float32."""
        return self.normalize(self.pixels(image))

    def pixels(self, image: NDArray[np.uint8]) -> Tensor:
        """From H×W×3 uint8, red first, to 3×H'×W' uint8, which are normalized where they are needed."""
        size = network_size((image.shape[0], image.shape[1]), self.shortest_side, self.longest_side)
        return resize_image(image, size)


class TrainTransform:
    """Mirrors, scales and crops an image and its segments and changes its colors, all at random.

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
        color_jitter: how far colors stray.

    Raises:
        SeamsegError: a side or a scale is not positive, the bounds are out of order, or the part is not in 0 … 1.
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
            raise SettingsError(
                f"a shortest side of {shortest_side}, a longest of {longest_side} and a random scale of "
                f"{low} to {high} do not give images of at least 1 pixel"
            )
        if random_crop is not None and min(random_crop) < 1:
            raise SettingsError(f"a crop has at least 1×1 pixels, not {random_crop[0]}×{random_crop[1]}")
        if not 0 <= crop_min_visible <= 1:
            raise SettingsError(f"the visible part of a segment is a number in 0 … 1, not {crop_min_visible}")
        self.shortest_side, self.longest_side = shortest_side, longest_side
        self.random_scale, self.random_flip, self.random_crop = random_scale, random_flip, random_crop
        self.crop_min_visible = crop_min_visible
        self.color_jitter = color_jitter or ColorJitter()

    def sample_plan(self, size: Size, generator: torch.Generator) -> AugmentationPlan:
        """Draw everything that is random about one sample of an image of this height and width.

        Always takes the same number of values from the generator, so that one setting does not change what is drawn
        for another.
        """
        flip, scale, top, left, *colors = torch.rand(8, generator=generator, dtype=torch.float64).tolist()
        scaled = network_size(size, self._short_side(scale), self.longest_side)
        plan = make_plan(size, scaled, self.random_crop, (top, left), self.random_flip and flip < 0.5)
        return replace(plan, color=self.color_jitter.draw(colors), min_visible=self.crop_min_visible)

    def _short_side(self, draw: float) -> int:
        """The scaled shortest side for a number drawn from [0, 1)."""
        if self.random_scale is None:
            return self.shortest_side
        low, high = (bound * self.shortest_side for bound in self.random_scale)
        return int(low + (high - low) * draw)


class Normalize:
    """From 3×H×W uint8 to float32: values in 0 … 1, minus the mean, over the standard deviation.

    Raises:
        SeamsegError: a deviation is not positive.
    """

    def __init__(self, mean: Channels, std: Channels) -> None:
        if min(std) <= 0:
            raise SettingsError(f"the standard deviations of red, green, blue are {std}; they must be positive")
        self.mean = torch.tensor(mean, dtype=torch.float32)[:, None, None]
        self.std = torch.tensor(std, dtype=torch.float32)[:, None, None]

    def __call__(self, image: Tensor) -> Tensor:
        """On the device of the image."""
        values = image.to(torch.float32)
        return values.div_(255.0).sub_(self.mean.to(image.device)).div_(self.std.to(image.device))
