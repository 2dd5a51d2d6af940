"""Random brightness, contrast, saturation and hue."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seamseg.data.resizing import channels_first, channels_last
from seamseg.errors import SettingsError

LUMA = np.array([0.299, 0.587, 0.114])
"""How bright red, green and blue look (ITU-R BT.601)."""


@dataclass(frozen=True)
class ColorJitter:
    """How far colors may stray; 0 leaves them.

    Attributes:
        brightness, contrast, saturation: factors are drawn uniformly from 1 ± this, which is in 0 … 1.
        hue: parts of a full turn around the gray axis, drawn uniformly from ± this, which is in 0 … 0.5.

    Raises:
        SeamsegError: one of them is out of range.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        factors = self.brightness, self.contrast, self.saturation
        if not (all(0 <= factor <= 1 for factor in factors) and 0 <= self.hue <= 0.5):
            raise SettingsError(
                f"brightness, contrast and saturation vary by 0 … 1, the hue by 0 … 0.5, not by {factors}, {self.hue}"
            )

    def draw(self, numbers: Sequence[float]) -> ColorChange:
        """The change for four numbers drawn uniformly from [0, 1)."""
        spans = (self.brightness, self.contrast, self.saturation, self.hue)
        brightness, contrast, saturation, hue = (
            span * (2 * number - 1) for span, number in zip(spans, numbers, strict=True)
        )
        return ColorChange(1 + brightness, 1 + contrast, 1 + saturation, hue)


@dataclass(frozen=True)
class ColorChange:
    """One change of colors, in this order; all four are one matrix, so values are rounded and clipped only once.

    Attributes:
        brightness: factor on all values.
        contrast: factor on the distance from the mean gray of the image.
        saturation: factor on the distance of every pixel from its gray.
        hue: turn around the gray axis, in parts of a full one.
    """

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0

    def __call__(self, image: Tensor) -> Tensor:
        """3×H×W uint8, red first."""
        if self == ColorChange():
            return image
        pixels = channels_last(image)
        mean_gray = self.brightness * float(LUMA @ np.array(cv2.mean(pixels)[:3]))
        return channels_first(np.asarray(cv2.transform(pixels, self.matrix(mean_gray)), dtype=np.uint8))

    def matrix(self, mean_gray: float) -> NDArray[np.float64]:
        """3×4: what red, green, blue and 1 become, where the brightened image has this mean gray."""
        saturate = self.saturation * np.eye(3) + (1 - self.saturation) * np.ones((3, 1)) * LUMA
        colors = _turn(self.hue) @ saturate
        offset = colors @ np.full(3, (1 - self.contrast) * mean_gray)
        return np.column_stack([self.contrast * self.brightness * colors, offset])


def _turn(part: float) -> NDArray[np.float64]:
    """Rotation around the axis of the grays (Rodrigues)."""
    angle, third = 2 * math.pi * part, 1 / 3
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turned: NDArray[np.float64] = (
        math.cos(angle) * np.eye(3) + math.sin(angle) * across + (1 - math.cos(angle)) * np.full((3, 3), third)
    )
    return turned
