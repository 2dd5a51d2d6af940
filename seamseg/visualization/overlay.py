"""Overlay: segments drawn over an image, with labels on them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from seamseg.structures.categories import VOID, Categories
from seamseg.structures.images import Size
from seamseg.structures.panoptic_segmentation import PanopticSegmentation
from seamseg.visualization.colors import Colors, segment_colors, text_color
from seamseg.visualization.images import Picture, check_picture
from seamseg.visualization.shapes import Rectangle, blend, fill_rounded, outlines, stripes
from seamseg.visualization.text import BOLD, CAP_HEIGHT, draw_text, text_width

_WORKING_PIXELS = 300_000
_SMALLEST_SIZE = 10
_EDGE = 3
# Font size relative to the regular one, and the fraction of the label that must be on its segment.
_ATTEMPTS = ((1.0, 0.98), (0.8, 0.98), (1.0, 0.7), (0.8, 0.55))
_LARGEST_COVER = 0.5
_PULL = 0.1


@dataclass(frozen=True)
class Label:
    """One line of text on a plate.

    Attributes:
        segment: Id of the labeled segment.
        text: Text of the label.
        size: Font size in pixels.
        rectangle: Rectangle of the plate in pixels.
    """

    segment: int
    text: str
    size: int
    rectangle: Rectangle


def font_size(height: int, width: int, scale: float = 1.0) -> int:
    """Return the font size in pixels for an image of that height and width, multiplied by ``scale``; at least 10."""
    return max(_SMALLEST_SIZE, round(0.026 * scale * math.sqrt(height * width)))


def place_labels(ids: npt.NDArray[np.int64], texts: Mapping[int, str], text_scale: float = 1.0) -> list[Label]:
    """Find a place for each text on its segment.

    Of the places where (nearly) all of a label is on its segment, the label takes one that is far from the border of
    the segment and near its center. On narrow segments, the label may be slightly smaller, or its ends may extend
    beyond the segment. Labels are inside the image, keep a distance from each other, and cover at most half of their
    segment. A segment without such a place has no label.

    Args:
        ids: Segment ids, H×W.
        texts: Text of each segment, by id.
        text_scale: Factor for the font size.

    Returns:
        Labels with a place, the smallest segments first.
    """
    height, width = ids.shape
    reduced, size = _reduce(ids), font_size(height, width, text_scale)
    placed: list[Label] = []
    # A plate needs a disc of its own height, whose area is more than half of the square of that height.
    least_area = (_plate_height(_SMALLEST_SIZE) ** 2 / 2) * reduced.size / ids.size
    for segment in _by_area(reduced, texts, least_area):
        label = _Room(reduced == segment, (height, width), placed).find(segment, texts[segment], size)
        if label is not None:
            placed.append(label)
    return placed


def draw_labels(canvas: npt.NDArray[np.uint8], labels: list[Label], colors: Colors) -> None:
    """Draw labels into a picture, in place.

    Args:
        canvas: Picture, H×W×3 uint8 RGB.
        labels: Labels from :func:`place_labels`.
        colors: Colors of the segments, (K+1)×3.
    """
    for label in labels:
        red, green, blue = (int(channel) for channel in colors[label.segment])
        color = (red, green, blue)
        y0, x0, y1, _ = label.rectangle
        fill_rounded(canvas, label.rectangle, (y1 - y0) // 4, color, 0.85)
        baseline = (y0 + y1 + round(CAP_HEIGHT * label.size)) // 2
        draw_text(canvas, label.text, x0 + _padding(label.size), baseline, label.size, text_color(color), BOLD)


class _Room:
    """Search for the place of a label on one segment, in a map of reduced size."""

    def __init__(self, mask: npt.NDArray[np.bool_], size: Size, placed: list[Label]) -> None:
        self._size, self._placed = size, placed
        self._scale = np.array(mask.shape) / size
        binary = mask.astype(np.uint8)
        x, y, width, height = cv2.boundingRect(binary)
        self._corner = np.array([y, x])
        self._mask = binary[y : y + height, x : x + width]
        rows, columns = np.nonzero(self._mask)
        # A long segment is equally wide along its middle line; a small pull moves the label to the center.
        away = np.hypot.outer(np.arange(height) - rows.mean(), np.arange(width) - columns.mean())
        self._pull = _PULL * away
        framed = cv2.copyMakeBorder(self._mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        self._distance = cv2.distanceTransform(framed, cv2.DIST_L2, 5)[1:-1, 1:-1]

    def find(self, segment: int, text: str, regular_size: int) -> Label | None:
        """Return the label of the segment, or None if there is no place for it."""
        for part, share in _ATTEMPTS:
            size = max(_SMALLEST_SIZE, round(regular_size * part))
            plate = _plate_height(size), text_width(text, size, BOLD) + 2 * _padding(size)
            rectangle = self._best(plate, share)
            if rectangle is not None:
                return Label(segment, text, size, rectangle)
        return None

    def _best(self, plate: Size, share: float) -> Rectangle | None:
        """Return the most central place where at least ``share`` of the plate is on the segment, or None."""
        if plate[0] > self._size[0] or plate[1] > self._size[1]:
            return None
        kernel = np.maximum(1, np.rint(np.array(plate) * self._scale)).astype(int).tolist()
        if kernel[0] * kernel[1] > _LARGEST_COVER * np.count_nonzero(self._mask):
            return None
        covered = cv2.boxFilter(self._mask, cv2.CV_32F, kernel[::-1], borderType=cv2.BORDER_CONSTANT)
        possible = (covered >= share) & (self._distance >= kernel[0] / 2) & self._allowed(plate)
        if not possible.any():
            return None
        room = np.where(possible, self._distance * covered - self._pull, -np.inf)
        row, column = np.unravel_index(int(room.argmax()), room.shape)
        center = (self._corner + (row, column) + 0.5) / self._scale
        y0, x0 = np.rint(center - np.array(plate) / 2).clip(0, np.subtract(self._size, plate)).astype(int).tolist()
        return y0, x0, y0 + plate[0], x0 + plate[1]

    def _allowed(self, plate: Size) -> npt.NDArray[np.bool_]:
        """Return a mask of the pixels where the plate can be centered away from the image border and other labels."""
        pixel = float((1 / self._scale).max())
        allowed = np.ones(self._mask.shape, np.bool_)
        for axis, centers in enumerate(self._centers()):
            distance = np.minimum(centers, self._size[axis] - centers)
            near = distance < plate[axis] / 2 + _EDGE - pixel
            allowed[(slice(None),) * axis + (near,)] = False
        for label in self._placed:
            gap = 2 + label.size / 4 + pixel
            spans = (label.rectangle[:2], label.rectangle[2:])
            near_rows, near_columns = (
                (centers > start - half - gap) & (centers < end + half + gap)
                for centers, start, end, half in zip(self._centers(), *spans, np.array(plate) / 2, strict=True)
            )
            allowed[np.ix_(near_rows, near_columns)] = False
        return allowed

    def _centers(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the positions of the rows and columns of the reduced mask in the image."""
        rows, columns = self._mask.shape
        return (
            (self._corner[0] + np.arange(rows) + 0.5) / self._scale[0],
            (self._corner[1] + np.arange(columns) + 0.5) / self._scale[1],
        )


def _reduce(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return an id map that is small enough for a fast search."""
    factor = min(1.0, (_WORKING_PIXELS / ids.size) ** 0.5)
    shape = [max(1, round(length * factor)) for length in ids.shape]
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(shape, ids.shape, strict=True))
    return ids[np.ix_(rows, columns)]


def _by_area(ids: npt.NDArray[np.int64], texts: Mapping[int, str], least_area: float) -> list[int]:
    """Return segments with a text and a minimum area, smallest first, since large ones have room around small ones."""
    areas = np.bincount(ids.ravel())
    order = np.argsort(areas, kind="stable").tolist()
    return [segment for segment in order if areas[segment] >= least_area and segment in texts]


def _plate_height(size: int) -> int:
    return round(1.6 * size)


def _padding(size: int) -> int:
    return max(2, round(0.45 * size))


VOID_BRIGHTNESS, VOID_STRIPE_BRIGHTNESS = 0.5, 0.62
"""Factors for the brightness of the image on void, and on the stripes there."""

_CROWD_STRIPE, _OUTLINE = 0.35, 0.85


@dataclass(frozen=True)
class Style:
    """How segments and objects are drawn over an image.

    Attributes:
        opacity: Opacity of the colors in 0 … 1.
        labels: Whether class names are written, on segments if they are large enough.
        scores: Whether the scores of things are appended to their names in percent; False for ground truth.
        text_scale: Factor for the font size, for example for pictures that will be scaled down.
        ids: Whether the ids of things are written after their names in place of the scores, for tracked things.

    Raises:
        ValueError: The opacity is out of range.
    """

    opacity: float = 0.5
    labels: bool = True
    scores: bool = True
    text_scale: float = 1.0
    ids: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.opacity <= 1:
            raise ValueError(f"the opacity of an overlay must be in 0 … 1, not {self.opacity}")


USUAL = Style()


def draw_overlay(
    image: Picture, segmentation: PanopticSegmentation, categories: Categories, style: Style = USUAL
) -> Picture:
    """Draw a segmentation over an image.

    Stuff has the color of its class. Instances of things have a shade of it and a light outline. Crowd segments have
    light diagonal stripes and no outline. On void, the image is darkened and striped.

    Args:
        image: Pixels, H×W×3 uint8 RGB, of any size.
        segmentation: Segmentation of the same height and width, on any device.
        categories: Categories of its classes.
        style: Opacity and labels.

    Returns:
        Overlay, H×W×3 uint8 RGB; ``image`` is not modified.

    Raises:
        ValueError: Sizes, types or class numbers do not match.
    """
    check_picture(image)
    ids, classes = _checked_arrays(image, segmentation, categories)
    colors = segment_colors(classes, categories)
    canvas = np.asarray(cv2.addWeighted(image, 1 - style.opacity, colors[ids], style.opacity, 0), np.uint8)
    things = (classes >= categories.num_stuff) & (classes != VOID)
    crowd = things & segmentation.crowd.cpu().numpy()
    _stripe(canvas, image, ids, classes == VOID, crowd)
    blend(canvas, outlines(ids, things & ~crowd) * np.float32(_OUTLINE), 255)
    if style.labels:
        texts = segment_texts(segmentation, categories, style.scores, style.ids)
        draw_labels(canvas, place_labels(ids, texts, style.text_scale), colors)
    return canvas


def segment_texts(
    segmentation: PanopticSegmentation, categories: Categories, scores: bool = True, ids: bool = False
) -> dict[int, str]:
    """Return the label texts of segments by id, such as "road", "car 98%" or "person (crowd)"; void has none.

    Args:
        segmentation: Segmentation of an image.
        categories: Categories of its classes.
        scores: Append the scores of things in percent.
        ids: Append the ids of things instead.
    """
    rows = zip(
        segmentation.classes.tolist(), segmentation.filled_scores.tolist(), segmentation.crowd.tolist(), strict=True
    )
    texts = {}
    for segment, (number, score, crowd) in enumerate(rows):
        if number != VOID:
            category = categories.classes[number]
            value = f" {segment}" if ids else f" {score:.0%}" if scores else ""
            value = value if category.is_thing else ""
            texts[segment] = category.name + (" (crowd)" if crowd and category.is_thing else value)
    return texts


def _stripe(
    canvas: Picture,
    image: Picture,
    ids: npt.NDArray[np.int64],
    void: npt.NDArray[np.bool_],
    crowd: npt.NDArray[np.bool_],
) -> None:
    striped = stripes(*ids.shape)
    for brightness, pixels in ((VOID_BRIGHTNESS, ~striped), (VOID_STRIPE_BRIGHTNESS, striped)):
        chosen = void[ids] & pixels
        canvas[chosen] = image[chosen] * np.float32(brightness)
    blend(canvas, (crowd[ids] & striped) * np.float32(_CROWD_STRIPE), 255)


def _checked_arrays(
    image: Picture, segmentation: PanopticSegmentation, categories: Categories
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the segment ids (H×W) and classes (K+1) after checking them."""
    ids, classes = segmentation.ids.cpu().numpy(), segmentation.classes.cpu().numpy()
    if ids.shape != image.shape[:2]:
        sizes = f"{_by(ids.shape)} pixels, but its image is {_by(image.shape[:2])}"
        raise ValueError(f"the segmentation is {sizes}; resize one of them")
    if ids.min() < 0 or ids.max() >= len(classes):
        raise ValueError(f"segment ids are {ids.min()} … {ids.max()}, but there are only {len(classes)} classes")
    unknown = sorted(set(classes[(classes < 0) | (classes >= len(categories))].tolist()) - {VOID})
    if unknown:
        raise ValueError(f"the segmentation has classes {unknown}, but there are only {len(categories)} categories")
    return ids, classes


def _by(shape: Sequence[int]) -> str:
    return "×".join(str(length) for length in shape)
