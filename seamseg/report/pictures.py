"""The pictures of a report: every photograph at two sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2

from seamseg.structures import Categories, PanopticSegmentation, Size
from seamseg.visualization.images import Picture, resize_picture, resize_segmentation
from seamseg.visualization.overlay import draw_overlay

THUMBNAIL_SIDE = 384
"""The longer side of the small pictures in pixels: sharp on dense screens too."""
_JPEG_QUALITY, _THUMBNAIL_QUALITY = 86, 80


@dataclass(frozen=True)
class PictureFiles:
    """Where the pictures of one image go.

    Attributes:
        photograph: without anything drawn on it, re-encoded, so that nothing that a camera notes in it is passed on.
        thumbnail: with the prediction drawn over it.
    """

    photograph: Path
    thumbnail: Path


def fit(size: Size, longest: int) -> Size:
    """The size, made smaller if its longer side is longer than allowed; at least 1×1."""
    height, width = size
    scale = min(1.0, longest / max(size))
    return max(1, round(height * scale)), max(1, round(width * scale))


def write_pictures(
    files: PictureFiles, image: Picture, segmentation: PanopticSegmentation, categories: Categories, longest: int
) -> None:
    """Writes both.

    Args:
        files: where to.
        image: H×W×3, at full size.
        segmentation: the prediction, H×W.
        categories: of its segments.
        longest: of the photograph's sides in pixels; it is never made larger.
    """
    size = fit((image.shape[0], image.shape[1]), longest)
    _write_jpeg(files.photograph, _resized(image, size), _JPEG_QUALITY)
    small = fit(size, THUMBNAIL_SIDE)
    drawn = draw_overlay(
        _resized(image, small), resize_segmentation(segmentation, small), categories, opacity=0.45, labels=False
    )
    _write_jpeg(files.thumbnail, drawn, _THUMBNAIL_QUALITY)


def _resized(image: Picture, size: Size) -> Picture:
    return image if image.shape[:2] == size else resize_picture(image, size)


def _write_jpeg(path: Path, rgb: Picture, quality: int) -> None:
    written, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert written, path
    path.write_bytes(data.tobytes())
