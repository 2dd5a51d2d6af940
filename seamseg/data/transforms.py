"""Transforms from images and annotations on disk to the network's input, with random changes for training."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seamseg.data.color_jitter import ColorChange, ColorJitter
from seamseg.data.focus import Focus
from seamseg.data.images import reduction
from seamseg.data.resizing import nearest, network_size, resize_image
from seamseg.errors import SettingsError
from seamseg.ops.boxes import edge_sides
from seamseg.ops.id_maps import drop_empty_layers, index_grid, layered_segment_boxes
from seamseg.structures import LayeredSegmentation, Size

Window = tuple[int, int, int, int]
"""Window (y0, x0, y1, x1) in pixels, half-open."""


@dataclass(frozen=True)
class AugmentationPlan:
    """All random choices for one training sample: how to decode, crop, resize, mirror and recolor its image.

    Attributes:
        whole: Height and width of the image on disk.
        window: Part of the image shown by the sample.
        size: Height and width of the sample.
        mirrored: Whether left and right are swapped.
        decode_scale: Factor, 1, 2, 4 or 8, by which the file may be decoded smaller. The edges of the window are
            multiples of it, except at the edge of the image.
        color: Color change.
        min_visible: Minimum fraction of a segment's pixels in the window, in [0, 1]. Segments with less become crowd:
            they keep their class and are ignored by the detection losses.
    """

    whole: Size
    window: Window
    size: Size
    mirrored: bool
    decode_scale: int
    color: ColorChange = field(default_factory=ColorChange)
    min_visible: float = 0.0

    def apply_image(self, pixels: NDArray[np.uint8], decode_scale: int = 1) -> Tensor:
        """Crop, resize, mirror and recolor an image.

        If ``decode_scale`` does not divide the size of the image, the last row and column of the decoded image reach
        beyond its edge. They are kept if more than half of each pixel is inside, so nothing moves by more than half a
        pixel.

        Args:
            pixels: H×W×3 uint8 RGB pixels of the whole image.
            decode_scale: Factor by which the image was decoded smaller.

        Returns:
            3×h×w uint8 image.
        """
        y0, x0 = self.window[0] // decode_scale, self.window[1] // decode_scale
        y1, x1 = (
            max(start + 1, (end + decode_scale // 2) // decode_scale)
            for start, end in ((y0, self.window[2]), (x0, self.window[3]))
        )
        shown = resize_image(pixels[y0:y1, x0:x1], self.size)
        return self.color(shown.flip(2) if self.mirrored else shown)

    def apply_ids(self, ids: Tensor) -> Tensor:
        """Crop, resize and mirror H×W int32 segment ids to h×w; each pixel takes the id under its center."""
        y0, x0, y1, x1 = self.window
        rows = y0 + nearest(y1 - y0, self.size[0])
        columns = nearest(x1 - x0, self.size[1])
        columns = x1 - 1 - columns if self.mirrored else x0 + columns
        return index_grid(ids, torch.from_numpy(rows), torch.from_numpy(columns))

    def apply_annotation(self, annotation: LayeredSegmentation) -> tuple[LayeredSegmentation, Tensor, Tensor | None]:
        """Crop, resize and mirror the annotation of the whole image, layer by layer.

        Returns:
            The K segments visible in the sample, renumbered; their (K + 1)×4 float32 boxes; and the sides of the boxes
            at which the window cut the segments, (K + 1)×4 bool, or None if the window is the whole image.
        """
        crowd, full_boxes = annotation.crowd, None
        if self.window != (0, 0, *self.whole):
            full_boxes, mostly_cut_off = self._measure_cuts(annotation)
            crowd = crowd | mostly_cut_off
        layers = [self.apply_ids(layer) for layer in annotation.ids]
        ids = torch.stack(layers) if len(layers) > 1 else layers[0][None]  # without a copy
        visible, boxes, shown = drop_empty_layers(LayeredSegmentation(ids, annotation.classes, crowd))
        return visible, boxes, None if full_boxes is None else self._cut_sides(full_boxes[shown], boxes)

    def _measure_cuts(self, annotation: LayeredSegmentation) -> tuple[Tensor, Tensor]:
        """Return K + 1×4 boxes of the uncropped segments, and K + 1 bool: those with too few pixels in the window."""
        y0, x0, y1, x1 = self.window
        num_segments = len(annotation.classes)
        (boxes, whole), (_, visible) = (
            layered_segment_boxes(ids, num_segments) for ids in (annotation.ids, annotation.ids[:, y0:y1, x0:x1])
        )
        cut_off = visible < self.min_visible * whole
        cut_off[0] = False  # void
        return boxes, cut_off

    def _cut_sides(self, full_boxes: Tensor, boxes: Tensor) -> Tensor:
        """Return K + 1×4 bool: sides at which the window cut segments.

        The segment continues beyond the window, and its box in the sample ends at this edge. Both are necessary: a
        segment in several parts may continue beyond an edge that its visible part does not reach.

        Args:
            full_boxes: K + 1×4 boxes in the image on disk.
            boxes: K + 1×4 boxes in the sample.
        """
        window = torch.tensor(self.window)
        beyond = torch.cat([full_boxes[:, :2] < window[:2], full_boxes[:, 2:] > window[2:]], dim=1)
        if self.mirrored:
            beyond = beyond[:, [0, 3, 2, 1]]
        return beyond & edge_sides(boxes, self.size)


def make_plan(
    whole: Size,
    scaled: Size,
    crop: Size | None,
    place: tuple[float, float],
    mirrored: bool,
    focus: Window | None = None,
) -> AugmentationPlan:
    """Plan scaling an image and then cropping it, without a color change.

    The plan crops before scaling, which is less work.

    Args:
        whole: Height and width of the image on disk.
        scaled: Height and width of the whole image after scaling.
        crop: Maximum height and width of the sample; None keeps the whole image.
        place: Vertical and horizontal position of the window, each in [0, 1); 0 is top or left.
        mirrored: Whether left and right are swapped.
        focus: Box that the window contains or, along an axis where the box is longer, that contains the window; None
            for windows anywhere in the image.
    """
    scale = reduction(whole, scaled)
    if crop is None:
        return AugmentationPlan(whole, (0, 0, *whole), scaled, mirrored, scale)
    size = _cropped(scaled, crop)
    rows, columns = (
        _range(whole[axis], scaled[axis], size[axis], place[axis], scale, focus and focus[axis::2]) for axis in (0, 1)
    )
    window = rows[0], columns[0], rows[1], columns[1]
    return AugmentationPlan(whole, window, size, mirrored, scale)


def _cropped(size: Size, crop: Size) -> Size:
    return min(size[0], crop[0]), min(size[1], crop[1])


def _range(
    whole: int, scaled: int, shown: int, place: float, decode_scale: int, focus: tuple[int, ...] | None
) -> tuple[int, int]:
    """Return start and end (half-open) of the pixels on disk that become ``shown`` pixels of the scaled image."""
    if shown == scaled:
        return 0, whole
    length = max(1, round(whole * shown / scaled))
    first, last = 0, whole - length
    if focus is not None:
        first, last = (min(max(start, 0), whole - length) for start in sorted((focus[1] - length, focus[0])))
    start = first + int(place * (last - first + 1))
    end = -(-(start + length) // decode_scale) * decode_scale
    return start - start % decode_scale, min(whole, end)


Channels = tuple[float, float, float]
"""One value each for red, green and blue."""


class InputTransform:
    """Resize and normalize an image without randomness, for evaluation and prediction.

    Args:
        shortest_side: Length of the shorter side after resizing, in pixels.
        longest_side: Maximum length of the longer side, in pixels; takes precedence over ``shortest_side``.
        mean: Mean of red, green and blue, for values in [0, 1].
        std: Standard deviation of red, green and blue, for values in [0, 1].

    Raises:
        SeamsegError: A side or a standard deviation is not positive.
    """

    def __init__(self, shortest_side: int, longest_side: int, mean: Channels, std: Channels) -> None:
        if shortest_side < 1 or longest_side < 1:
            raise SettingsError(
                "shortest_side and longest_side must be at least 1 pixel, "
                f"but they are {shortest_side} and {longest_side}"
            )
        self.shortest_side = shortest_side
        self.longest_side = longest_side
        self.normalize = Normalize(mean, std)

    def __call__(self, image: NDArray[np.uint8]) -> Tensor:
        """Resize and normalize an H×W×3 uint8 RGB image to 3×H'×W' float32."""
        return self.normalize(self.pixels(image))

    def pixels(self, image: NDArray[np.uint8]) -> Tensor:
        """Resize an H×W×3 uint8 RGB image to 3×H'×W' uint8; normalization is left to the caller."""
        size = network_size((image.shape[0], image.shape[1]), self.shortest_side, self.longest_side)
        return resize_image(image, size)


class TrainTransform:
    """Mirror, scale and crop an image and its segments, and change the colors of the image, all at random.

    A wide ``random_scale`` such as (0.1, 2) with ``random_crop`` is the large-scale jitter of Ghiasi et al. 2021
    ("Simple Copy-Paste").

    Args:
        shortest_side: Length of the shorter side before the random scale, in pixels.
        longest_side: Maximum length of the longer side, in pixels; takes precedence over ``shortest_side`` and, without
            ``random_crop``, over ``random_scale``.
        random_scale: Lower and upper bound of a factor, drawn uniformly; None means 1. With ``random_crop``, it
            multiplies the size of the image in prediction, otherwise ``shortest_side``.
        random_flip: Whether to mirror left and right with probability 0.5.
        random_crop: Maximum height and width after scaling, in pixels; the crop is placed at random. None disables
            cropping.
        crop_min_visible: Minimum fraction of a segment's pixels left after cropping, in [0, 1]. Segments with less
            become crowd: they keep their class and are ignored by the detection losses.
        color_jitter: Strength of the random color changes; None disables them.

    Raises:
        SeamsegError: A side or a scale is not positive, the bounds of the scale are out of order, or
            ``crop_min_visible`` is not in [0, 1].
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
                f"shortest_side {shortest_side}, longest_side {longest_side} and random_scale {low} to {high} "
                "do not yield images of at least 1 pixel"
            )
        if random_crop is not None and min(random_crop) < 1:
            raise SettingsError(f"random_crop must be at least 1×1 pixels, but is {random_crop[0]}×{random_crop[1]}")
        if not 0 <= crop_min_visible <= 1:
            raise SettingsError(f"crop_min_visible must be in 0 … 1, but is {crop_min_visible}")
        self.shortest_side, self.longest_side = shortest_side, longest_side
        self.random_scale, self.random_flip, self.random_crop = random_scale, random_flip, random_crop
        self.crop_min_visible = crop_min_visible
        self.color_jitter = color_jitter or ColorJitter()

    def sample_plan(self, size: Size, generator: torch.Generator, focus: Focus | None = None) -> AugmentationPlan:
        """Draw all random choices for one sample of an image.

        Each call draws the same number of values, so one setting does not change the draws of another.

        Args:
            size: Height and width of the image on disk.
            generator: CPU random generator.
            focus: Part of the image that the sample shows, and its size; None for any part.
        """
        flip, scale, top, left, *colors = torch.rand(8, generator=generator, dtype=torch.float64).tolist()
        low, high = self._short_sides(size)
        short_side = low + (high - low) * scale
        if focus is not None and focus.side is not None:
            y0, x0, y1, x1 = focus.box
            wanted = min(size) * focus.side / ((y1 - y0) * (x1 - x0)) ** 0.5
            short_side = min(max(wanted, low), high)
        scaled = self._scaled(size, short_side)
        mirrored, box = self.random_flip and flip < 0.5, None if focus is None else focus.box
        plan = make_plan(size, scaled, self.random_crop, (top, left), mirrored, box)
        return replace(plan, color=self.color_jitter.draw(colors), min_visible=self.crop_min_visible)

    def largest_size(self, size: Size) -> Size:
        """Return the largest height and width that a sample of an image with this height and width can have."""
        scaled = self._scaled(size, self._short_sides(size)[1])
        return scaled if self.random_crop is None else _cropped(scaled, self.random_crop)

    def _short_sides(self, size: Size) -> tuple[float, float]:
        """Return the smallest and the largest length of the shorter side after scaling."""
        if self.random_scale is None:
            return self.shortest_side, self.shortest_side
        low, high = self.random_scale
        side = self.shortest_side if self.random_crop is None else self._short_side_in_prediction(size)
        return low * side, high * side

    def _short_side_in_prediction(self, size: Size) -> float:
        return min(self.shortest_side, self.longest_side * min(size) / max(size))

    def _scaled(self, size: Size, short_side: float) -> Size:
        """Return height and width of an image scaled to a shorter side, which the crop may leave without a limit."""
        unlimited = self.random_crop is not None and self.random_scale is not None
        return network_size(size, max(1, int(short_side)), sys.maxsize if unlimited else self.longest_side)


class Normalize:
    """Convert 3×H×W uint8 to float32: scale to [0, 1], subtract the mean, divide by the standard deviation.

    Args:
        mean: Mean of red, green and blue, for values in [0, 1].
        std: Standard deviation of red, green and blue, for values in [0, 1].

    Raises:
        SeamsegError: A standard deviation is not positive.
    """

    def __init__(self, mean: Channels, std: Channels) -> None:
        if min(std) <= 0:
            raise SettingsError(f"the standard deviations of red, green and blue must be positive, but are {std}")
        self.mean = torch.tensor(mean, dtype=torch.float32)[:, None, None]
        self.std = torch.tensor(std, dtype=torch.float32)[:, None, None]

    def __call__(self, image: Tensor) -> Tensor:
        """Normalize an image on its own device."""
        values = image.to(torch.float32)
        return values.div_(255.0).sub_(self.mean.to(image.device)).div_(self.std.to(image.device))
