"""Canvas with the drawn picture and the owner of each pixel."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from seamseg.scenes.drawing.camera import Points
from seamseg.scenes.drawing.light import Rgb

Picture = npt.NDArray[np.uint8]
"""H×W×3 RGB."""

Window = tuple[int, int, int, int]
"""First column, end column, first row and end row; the ends are exclusive."""

_FRACTION_BITS = 4


class Canvas:
    """A picture and the owner number of each pixel; later drawing covers earlier drawing in both.

    Attributes:
        picture: H×W×3 uint8 RGB.
        owners: H×W uint16 owner numbers; 0 means no owner.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.picture: Picture = np.zeros((*size, 3), np.uint8)
        self.owners: npt.NDArray[np.uint16] = np.zeros(size, np.uint16)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.owners.shape[0], self.owners.shape[1]

    def window(self, pixels: Points) -> Window | None:
        """Return the bounds of M×2 (column, row) pixels within the canvas, or None if they are outside."""
        if len(pixels) < 3:
            return None
        height, width = self.size
        low, high = np.floor(pixels.min(0)).astype(int), np.ceil(pixels.max(0)).astype(int) + 1
        left, right = max(0, int(low[0])), min(width, int(high[0]))
        top, bottom = max(0, int(low[1])), min(height, int(high[1]))
        return (left, right, top, bottom) if left < right and top < bottom else None

    def polygon(self, pixels: Points, color: Rgb, owner: int) -> None:
        """Fill a polygon with M×2 (column, row) corners."""
        if len(pixels) >= 3:
            self.fill(fixed_point(pixels), color, owner)

    def fill(self, corners: npt.NDArray[np.int32], color: Rgb, owner: int) -> None:
        """Fill a polygon with corners in the format of :func:`fixed_point`."""
        cv2.fillPoly(self.picture, [corners], _channels(color), cv2.LINE_8, _FRACTION_BITS)
        cv2.fillPoly(self.owners, [corners], (owner,), cv2.LINE_8, _FRACTION_BITS)

    def line(self, pixels: Points, color: Rgb) -> None:
        """Draw a thin open line through M×2 pixels on the picture without changing the owners."""
        if len(pixels) >= 2:
            corners = fixed_point(pixels)
            cv2.polylines(self.picture, [corners], False, _channels(color), 1, cv2.LINE_AA, _FRACTION_BITS)

    def texture(self, texture: Picture, corners: Points, owner: int) -> None:
        """Fill a quadrangle with a texture.

        Args:
            texture: H×W×3 texture.
            corners: 4×2 (column, row) positions of the texture's corners: top left, top right, bottom right, bottom
                left.
            owner: Owner number of the quadrangle.
        """
        window = self.window(corners)
        if window is None:
            return
        left, right, top, bottom = window
        mask = np.zeros((bottom - top, right - left), np.uint8)
        cv2.fillPoly(mask, [fixed_point(corners - (left, top))], (255,), cv2.LINE_8, _FRACTION_BITS)
        self._put(self._warp(texture, corners, window, cv2.BORDER_REPLICATE), mask, window, owner)

    def sprite(self, texture: Picture, mask: npt.NDArray[np.uint8], pixels: Points, owner: int) -> None:
        """Draw the part of a texture where its mask is above one half.

        Args:
            texture: H×W×3 texture.
            mask: H×W mask, 0 … 255.
            pixels: 4×2 corners as in :meth:`texture`.
            owner: Owner number of the drawn part.
        """
        window = self.window(pixels)
        if window is None:
            return
        shape = self._warp(mask, pixels, window, cv2.BORDER_CONSTANT)
        self._put(
            self._warp(texture, pixels, window, cv2.BORDER_REPLICATE), (shape > 127).astype(np.uint8), window, owner
        )

    def _warp(self, source: npt.NDArray[np.uint8], pixels: Points, window: Window, border: int) -> Picture:
        left, right, top, bottom = window
        height, width = source.shape[:2]
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) - np.float32(0.5)
        target = (pixels - (left, top) - 0.5).astype(np.float32)
        matrix = cv2.getPerspectiveTransform(corners, target)
        size = (right - left, bottom - top)
        warped = cv2.warpPerspective(source, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)
        return np.asarray(warped, dtype=np.uint8)

    def _put(self, part: Picture, mask: npt.NDArray[np.uint8], window: Window, owner: int) -> None:
        left, right, top, bottom = window
        cv2.copyTo(part, mask, self.picture[top:bottom, left:right])
        self.owners[top:bottom, left:right][mask > 0] = owner


def fixed_point(pixels: Points) -> npt.NDArray[np.int32]:
    """Convert M×2 pixels (edges at integers) to OpenCV's fixed-point format with 4 fraction bits."""
    scaled = np.rint((pixels - 0.5) * (1 << _FRACTION_BITS))
    return np.minimum(np.maximum(scaled, -(2**21)), 2**21).astype(np.int32)


def _channels(color: Rgb) -> tuple[float, float, float]:
    red, green, blue = color.tolist()
    return min(max(red, 0.0), 255.0), min(max(green, 0.0), 255.0), min(max(blue, 0.0), 255.0)
