"""Colors of classes, shades of instances, and text that stands out against them."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from seamseg.structures.categories import VOID, Categories, Color

Colors = npt.NDArray[np.uint8]
"""N×3 red, green, blue."""

_LIGHTNESS_SPAN, _HUE_SPAN = 34.0, 36.0
_LIGHTNESS_RANGE = (30.0, 90.0)
# The plane's most even sequence of steps (powers of 1 / 1.3247…, the root of x³ = x + 1): however many instances there
# are, those numbered one after the other get shades far apart.
_STEPS = np.array([0.7548776662466927, 0.5698402909980532])


def class_colors(categories: Categories) -> Colors:
    """256×3: the color of every class number; black for void (255) and for numbers without a class."""
    palette = np.zeros((VOID + 1, 3), np.uint8)
    palette[: len(categories)] = np.array(categories.colors, np.uint8).reshape(-1, 3)
    return palette


def segment_colors(classes: npt.NDArray[np.int64], categories: Categories) -> Colors:
    """The colors in which the segments of one image are painted.

    Args:
        classes: K+1, the class of each segment id, 255 for void.
        categories: what the classes mean.

    Returns:
        K+1×3: for stuff the class color, for things a shade of it that depends on class color and segment id alone,
        black for void.
    """
    colors = class_colors(categories)[classes]
    things = np.flatnonzero((classes >= categories.num_stuff) & (classes != VOID))
    colors[things] = instance_shades(colors[things], things)
    return colors


def instance_shades(colors: Colors, numbers: npt.NDArray[np.int64]) -> Colors:
    """Lighter and darker relatives of colors: N colors and N numbers give N shades.

    Lightness moves by up to 17 of 100 (CIE Lab) and hue by up to 18 degrees; very dark and very light colors are
    brought into the range where shades can be told apart.
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
    """White where its contrast ratio (WCAG 2) against the background is at least 3, else nearly black.

    White is preferred because it reads better on medium tones than the ratio says.
    """
    channels = np.array(background, np.float64) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return (255, 255, 255) if 1.05 / (luminance + 0.05) >= 3 else (16, 18, 22)
