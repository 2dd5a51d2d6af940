"""Random changes of brightness, contrast, saturation and hue."""

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
"""Luma weights of red, green and blue (ITU-R BT.601)."""


@dataclass(frozen=True)
class ColorJitter:
    """Maximum strength of each random color change; 0 disables that change.

    Attributes:
        brightness, contrast, saturation: Maximum deviation of the factor from 1, in [0, 1]. Each factor is drawn
            uniformly from 1 ± this value.
        hue: Maximum rotation around the gray axis as a fraction of a full turn, in [0, 0.5]. The rotation is drawn
            uniformly from ± this value.

    Raises:
        SeamsegError: A value is out of range.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        factors = self.brightness, self.contrast, self.saturation
        if not (all(0 <= factor <= 1 for factor in factors) and 0 <= self.hue <= 0.5):
            raise SettingsError(
                "brightness, contrast and saturation must be in 0 … 1 and hue in 0 … 0.5, "
                f"but they are {factors} and {self.hue}"
            )

    def draw(self, numbers: Sequence[float]) -> ColorChange:
        """Return the color change for four numbers drawn uniformly from [0, 1)."""
        spans = (self.brightness, self.contrast, self.saturation, self.hue)
        brightness, contrast, saturation, hue = (
            span * (2 * number - 1) for span, number in zip(spans, numbers, strict=True)
        )
        return ColorChange(1 + brightness, 1 + contrast, 1 + saturation, hue)


@dataclass(frozen=True)
class ColorChange:
    """A color change, applied in the order of its attributes.

    The four steps are combined into one matrix, so values are rounded and clipped only once.

    Attributes:
        brightness: Factor applied to all values.
        contrast: Factor applied to the difference from the mean gray of the image.
        saturation: Factor applied to the difference of each pixel from its own gray.
        hue: Rotation around the gray axis as a fraction of a full turn.
    """

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0

    def __call__(self, image: Tensor) -> Tensor:
        """Apply the change to a 3×H×W uint8 RGB image."""
        if self == ColorChange():
            return image
        pixels = channels_last(image)
        mean_gray = self.brightness * float(LUMA @ np.array(cv2.mean(pixels)[:3]))
        return channels_first(np.asarray(cv2.transform(pixels, self.matrix(mean_gray)), dtype=np.uint8))

    def matrix(self, mean_gray: float) -> NDArray[np.float64]:
        """Return the 3×4 matrix that maps (red, green, blue, 1) to the new red, green and blue.

        Args:
            mean_gray: Mean gray of the image after the brightness change.
        """
        saturate = self.saturation * np.eye(3) + (1 - self.saturation) * np.ones((3, 1)) * LUMA
        colors = _hue_rotation(self.hue) @ saturate
        offset = colors @ np.full(3, (1 - self.contrast) * mean_gray)
        return np.column_stack([self.contrast * self.brightness * colors, offset])


def _hue_rotation(part: float) -> NDArray[np.float64]:
    """Return the 3×3 rotation around the gray axis (Rodrigues' formula).

    Args:
        part: Angle as a fraction of a full turn.
    """
    angle, third = 2 * math.pi * part, 1 / 3
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    rotation: NDArray[np.float64] = (
        math.cos(angle) * np.eye(3) + math.sin(angle) * across + (1 - math.cos(angle)) * np.full((3, 3), third)
    )
    return rotation
