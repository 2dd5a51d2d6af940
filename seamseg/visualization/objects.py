"""Objects drawn over an image: boxes with names, and masks that may overlap."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from seamseg.structures.categories import Categories, Color
from seamseg.structures.images import Size
from seamseg.structures.instances import DrawnObjects, Instance, RunLengthMask
from seamseg.structures.panoptic_segmentation import PanopticSegmentation
from seamseg.visualization.colors import class_colors, instance_shades, text_color
from seamseg.visualization.images import Picture, check_picture, resize_segmentation
from seamseg.visualization.overlay import USUAL, Style, draw_overlay, font_size
from seamseg.visualization.shapes import blend, fill_rounded, line_thickness, stripes
from seamseg.visualization.text import BOLD, CAP_HEIGHT, draw_text, shorten, text_width

Drawn = PanopticSegmentation | DrawnObjects
"""What can be drawn over an image."""

_LINE, _CROWD_STRIPE = 1.6, 0.35


def draw(image: Picture, found: Drawn, categories: Categories, style: Style = USUAL) -> Picture:
    """Draw a segmentation or objects over an image; see :func:`draw_overlay` and :func:`draw_objects`."""
    if isinstance(found, DrawnObjects):
        return draw_objects(image, found, categories, style)
    return draw_overlay(image, found, categories, style)


def resize_drawn(found: Drawn, size: Size) -> Drawn:
    """Resize a segmentation to another height and width; objects are scaled when they are drawn."""
    return found if isinstance(found, DrawnObjects) else resize_segmentation(found, size)


def draw_objects(image: Picture, objects: DrawnObjects, categories: Categories, style: Style = USUAL) -> Picture:
    """Draw objects over an image: the box and name of each one, and its mask if it has one.

    Each object has a shade of the color of its class. Objects with higher scores are above the others. Masks of crowds
    have light diagonal stripes.

    Args:
        image: Pixels, H×W×3 uint8 RGB, of any size.
        objects: Objects of the image.
        categories: Categories of the classes.
        style: Opacity of the masks, and labels.

    Returns:
        Picture, H×W×3 uint8 RGB; ``image`` is not modified.

    Raises:
        ValueError: The image has another type or shape.
    """
    check_picture(image)
    canvas = image.copy()
    ordered = sorted(objects.instances, key=lambda one: one.score)
    colors = _object_colors(ordered, categories)
    for one, color in zip(ordered, colors, strict=True):
        if one.mask is not None:
            _paint_mask(canvas, one.mask, color, style.opacity, one.crowd)
    factors = np.array(image.shape[:2]) / objects.size
    boxes = [_pixels(one.box, factors) for one in ordered]
    thickness = max(1, round(_LINE * line_thickness(*image.shape[:2])))
    for box, color in zip(boxes, colors, strict=True):
        cv2.rectangle(canvas, (box[1], box[0]), (box[3], box[2]), color, thickness, cv2.LINE_AA)
    if style.labels:
        height, width = image.shape[:2]
        size = font_size(height, width, style.text_scale)
        for one, box, color in zip(ordered, boxes, colors, strict=True):
            _draw_label(canvas, _text(one, categories, style.scores), box, size, color)
    return canvas


def _object_colors(instances: Sequence[Instance], categories: Categories) -> list[Color]:
    classes = np.array([one.category + categories.num_stuff for one in instances], np.int64)
    shades = instance_shades(class_colors(categories)[classes], np.arange(1, len(instances) + 1))
    return [(int(red), int(green), int(blue)) for red, green, blue in shades]


def _paint_mask(canvas: Picture, mask: RunLengthMask, color: Color, opacity: float, crowd: bool) -> None:
    pixels = mask.decoded().astype(np.uint8)
    height, width = canvas.shape[:2]
    if mask.size != (height, width):
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
    inside = pixels > 0
    canvas[inside] = np.rint(canvas[inside] * (1 - opacity) + np.array(color, np.float32) * opacity)
    if crowd:
        blend(canvas, (inside & stripes(height, width)).astype(np.float32) * np.float32(_CROWD_STRIPE), 255)
    borders, _ = cv2.findContours(pixels, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, borders, -1, color, max(1, round(line_thickness(height, width))), cv2.LINE_AA)


def _pixels(box: tuple[float, float, float, float], factors: npt.NDArray[np.float64]) -> tuple[int, int, int, int]:
    """Return the first and last pixel of a box in a picture: y0, x0, y1, x1, inclusive."""
    y0, x0, y1, x1 = np.rint(np.array(box) * np.tile(factors, 2)).astype(int).tolist()
    return y0, x0, max(y0, y1 - 1), max(x0, x1 - 1)


def _text(one: Instance, categories: Categories, scores: bool) -> str:
    name = categories.classes[one.category + categories.num_stuff].name
    return f"{name} (crowd)" if one.crowd else f"{name} {one.score:.0%}" if scores else name


def _draw_label(canvas: Picture, text: str, box: tuple[int, int, int, int], size: int, color: Color) -> None:
    """Write a name on a plate above the box, or inside it where there is no room above."""
    height, width = canvas.shape[:2]
    plate, padding = round(1.6 * size), max(2, round(0.45 * size))
    text = shorten(text, width - 2 * padding, size, BOLD)
    length = text_width(text, size, BOLD) + 2 * padding
    if plate > height or length > width:
        return
    y0 = box[0] - plate if box[0] >= plate else min(max(box[0], 0), height - plate)
    x0 = min(max(box[1], 0), width - length)
    fill_rounded(canvas, (y0, x0, y0 + plate, x0 + length), plate // 5, color, 0.85)
    baseline = (2 * y0 + plate + round(CAP_HEIGHT * size)) // 2
    draw_text(canvas, text, x0 + padding, baseline, size, text_color(color), BOLD)
