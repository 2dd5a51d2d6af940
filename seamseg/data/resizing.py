"""Network input sizes, and resizing of images and label maps."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from seamseg.structures import Size


def network_size(size: Size, shortest_side: int, longest_side: int) -> Size:
    """Return height and width of an image scaled so that its shorter side becomes ``shortest_side``.

    The aspect ratio is kept. If the longer side would exceed ``longest_side``, it becomes ``longest_side`` instead.
    Both products are truncated to integers (a side can come out one pixel short), but never to 0.

    Args:
        size: Height and width of the image.
        shortest_side: Length of the shorter side after scaling, in pixels.
        longest_side: Maximum length of the longer side, in pixels.
    """
    scale = shortest_side / min(size)
    if int(max(size) * scale) > longest_side:
        scale = longest_side / max(size)
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))


def resize_image(image: NDArray[np.uint8], size: Size) -> Tensor:
    """Resize an H×W×3 uint8 image bilinearly to a contiguous 3×h×w uint8 tensor.

    When shrinking, the filter widens with the scale, so fine patterns average out instead of causing aliasing.
    (OpenCV's bilinear filter reads four pixels at any scale; the published networks were trained with the wide filter.)

    Args:
        image: H×W×3 uint8 pixels.
        size: Height h and width w of the result.
    """
    if image.shape[:2] == size:
        return channels_first(image)
    batch = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    return functional.interpolate(batch, size=list(size), mode="bilinear", antialias=True)[0].contiguous()


def channels_first(image: NDArray[np.uint8]) -> Tensor:
    """Copy H×W×3 pixels to a contiguous 3×H×W tensor."""
    planes = np.empty((3, *image.shape[:2]), np.uint8)
    cv2.split(image, list(planes))
    return torch.from_numpy(planes)


def channels_last(planes: Tensor) -> NDArray[np.uint8]:
    """Copy a 3×H×W tensor to contiguous H×W×3 pixels."""
    return np.asarray(cv2.merge(list(planes.numpy())), dtype=np.uint8)


def nearest(old: int, new: int) -> NDArray[np.int64]:
    """Return the index of the nearest old pixel for each new pixel.

    New pixel ``i`` takes the old pixel that contains its center ``(i + 0.5)·old/new``. Integer arithmetic keeps the
    result exact.

    Args:
        old: Number of pixels along one side before resizing.
        new: Number of pixels after resizing.

    Returns:
        Indices into the old pixels, one per new pixel.
    """
    return (2 * np.arange(new, dtype=np.int64) + 1) * old // (2 * new)
