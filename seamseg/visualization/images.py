"""Pictures: RGB arrays, encoding them to files, and resizing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seamseg.errors import OutputError, SeamsegError
from seamseg.io.files import part_path
from seamseg.structures.images import Size
from seamseg.structures.panoptic_segmentation import PanopticSegmentation

Picture = npt.NDArray[np.uint8]
"""Red, green and blue, H×W×3 uint8."""

_OPTIONS = {
    ".png": [cv2.IMWRITE_PNG_COMPRESSION, 6],
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 92],
    ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 92],
}


def write_image(path: Path | str, rgb: Picture) -> None:
    """Write a picture atomically: an existing file is only replaced once the new one is complete.

    Args:
        path: Path that ends in .png, .jpg or .jpeg; its folder must exist.
        rgb: Pixels, H×W×3 uint8 RGB.

    Raises:
        SeamsegError: The suffix is not supported, the array is not a picture, or the file cannot be written.
    """
    path = Path(path)
    data = encode_image(path, rgb)
    temporary = part_path(path, unique=True)
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"the picture {path} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def denormalize(image: Tensor, mean: Sequence[float], std: Sequence[float]) -> Picture:
    """Convert the network's input back to a picture.

    Args:
        image: Normalized image (RGB - mean) / std, 3×H×W float.
        mean: Means of the three channels, for RGB in 0 … 1.
        std: Standard deviations of the three channels, for RGB in 0 … 1.

    Returns:
        Picture, H×W×3 uint8 RGB. Values outside 0 … 1 are clipped, and NaN becomes black.

    Raises:
        SeamsegError: The number of channels, means or standard deviations is not three.
    """
    if image.ndim != 3 or not image.shape[0] == len(mean) == len(std) == 3:
        raise OutputError(
            f"denormalize needs a 3×H×W image, three means and three standard deviations, not an image of shape "
            f"{tuple(image.shape)}, {len(mean)} means and {len(std)} standard deviations"
        )
    channels_last = image.detach().to("cpu", torch.float32).permute(1, 2, 0)
    rgb = channels_last * torch.tensor(std, dtype=torch.float32) + torch.tensor(mean, dtype=torch.float32)
    levels = (rgb * 255).round().nan_to_num(0.0).clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(levels.numpy())


def check_picture(array: Picture) -> None:
    """Check that an array is an H×W×3 uint8 picture with at least one pixel.

    Raises:
        SeamsegError: The array is not a picture.
    """
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise SeamsegError(f"a picture must be an H×W×3 array of type uint8, not {array.dtype} of shape {array.shape}")


def encode_image(path: Path, rgb: Picture) -> bytes:
    """Encode a picture in the format that the suffix of a path names.

    Args:
        path: Path that ends in .png, .jpg or .jpeg.
        rgb: Pixels, H×W×3 uint8 RGB.

    Returns:
        Content of the file.

    Raises:
        SeamsegError: The suffix is not supported, the array is not a picture, or it is too large for the format.
    """
    suffix = path.suffix.lower()
    if suffix not in _OPTIONS:
        raise OutputError(f"the name of the picture {path} must end in one of {', '.join(_OPTIONS)}")
    check_picture(rgb)
    try:
        done, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), _OPTIONS[suffix])
    except cv2.error as error:
        raise OutputError(f"the picture {path} of shape {rgb.shape} cannot be encoded: {error.err}") from error
    if not done:
        raise OutputError(f"the picture {path} of shape {rgb.shape} is too large for its format; try .png")
    return data.tobytes()


def resize_picture(image: Picture, size: Size) -> Picture:
    """Resize an H×W×3 picture to another height and width, with area (smaller) or cubic (larger) interpolation."""
    smaller = size[0] < image.shape[0] or size[1] < image.shape[1]
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size[::-1], interpolation=interpolation), np.uint8)


def resize_segmentation(segmentation: PanopticSegmentation, size: Size) -> PanopticSegmentation:
    """Resize a segmentation to another height and width; every pixel takes the id at its center."""
    rows, columns = (
        (torch.arange(new, device=segmentation.ids.device) * 2 + 1) * old // (2 * new)
        for new, old in zip(size, segmentation.ids.shape, strict=True)
    )
    ids = segmentation.ids[rows[:, None], columns]
    return replace(segmentation, ids=ids)
