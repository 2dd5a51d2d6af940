"""Colors of classes, shades of instances, and colors of text on them."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from seamseg.structures.categories import VOID, Categories, Color

Colors = npt.NDArray[np.uint8]
"""Red, green and blue, N×3."""

PAPER: Color = (255, 255, 255)
INK: Color = (28, 32, 38)
GRAY: Color = (104, 112, 122)
"""Background, text, and less important text of all pictures with text beside the images."""
SHADE: Color = (240, 243, 246)
RULE: Color = (220, 224, 229)
"""Background and grid lines of charts."""
BLUE: Color = (34, 119, 204)
ORANGE: Color = (204, 88, 34)
"""Marks of charts: what is as it should be, and what is not."""

_LIGHTNESS_SPAN, _HUE_SPAN = 34.0, 36.0
_LIGHTNESS_RANGE = (30.0, 90.0)
# Steps of the R2 low-discrepancy sequence (powers of 1 / 1.3247…, the root of x³ = x + 1). For any number of instances,
# consecutive ones get clearly different shades.
_STEPS = np.array([0.7548776662466927, 0.5698402909980532])


def class_colors(categories: Categories) -> Colors:
    """Return the color of every class number, 256×3; black for void (255) and for numbers without a class."""
    palette = np.zeros((VOID + 1, 3), np.uint8)
    palette[: len(categories)] = np.array(categories.colors, np.uint8).reshape(-1, 3)
    return palette


def segment_colors(classes: npt.NDArray[np.int64], categories: Categories) -> Colors:
    """Return the colors of the segments of one image.

    Args:
        classes: Class of each segment id, K+1; 255 for void.
        categories: Categories of the classes.

    Returns:
        Colors, (K+1)×3. Stuff has its class color. Things have a shade of it that depends only on the class color and
        the segment id. Void is black.
    """
    colors = class_colors(categories)[classes]
    things = np.flatnonzero((classes >= categories.num_stuff) & (classes != VOID))
    colors[things] = instance_shades(colors[things], things)
    return colors


def instance_shades(colors: Colors, numbers: npt.NDArray[np.int64]) -> Colors:
    """Return shades of colors.

    Lightness changes by up to 17 of 100 (CIE Lab) and hue by up to 18 degrees. Very dark and very light colors are
    moved into the range where shades can be distinguished.

    Args:
        colors: Base colors, N×3.
        numbers: Number of each shade, N, such as the segment id.

    Returns:
        Shades, N×3.
    """
    if not len(colors):
        return colors.copy()
    offsets = (np.outer(numbers, _STEPS) + 0.5) % 1 - 0.5
    lab = cv2.cvtColor(colors[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    low, high = (limit - sign * _LIGHTNESS_SPAN / 2 for limit, sign in zip(_LIGHTNESS_RANGE, (-1, 1), strict=True))
    lightness = lab[:, 0].clip(low, high) + offsets[:, 0] * _LIGHTNESS_SPAN
    hue = np.arctan2(lab[:, 2], lab[:, 1]) + np.deg2rad(offsets[:, 1] * _HUE_SPAN)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    shifted = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1).astype(np.float32)
    rgb = cv2.cvtColor(shifted[None], cv2.COLOR_LAB2RGB)[0]
    return np.asarray(np.rint(rgb * 255).clip(0, 255), np.uint8)


def text_color(background: Color) -> Color:
    """Return white if its contrast ratio (WCAG 2) against the background is at least 3, otherwise nearly black.

    White is preferred because it is easier to read on medium tones than the ratio suggests.
    """
    channels = np.array(background, np.float64) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return (255, 255, 255) if 1.05 / (luminance + 0.05) >= 3 else (16, 18, 22)
