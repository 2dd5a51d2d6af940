"""Pictures as arrays and as files."""

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
"""H×W×3, red, green, blue."""

_OPTIONS = {
    ".png": [cv2.IMWRITE_PNG_COMPRESSION, 6],
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 92],
    ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 92],
}


def write_image(path: Path | str, rgb: Picture) -> None:
    """Writes a picture whole or not at all: a file of that name is replaced at the very end.

    Args:
        path: ends in .png, .jpg or .jpeg; its folder exists.
        rgb: H×W×3 uint8.

    Raises:
        SeamsegError: the suffix is another, the array is no picture, or the file cannot be written.
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
    """Turns the network's input back into a picture.

    Args:
        image: 3×H×W float, (RGB − mean) / std.
        mean, std: three numbers each, for RGB in 0 … 1.

    Returns:
        H×W×3 uint8; what lies outside 0 … 1 is clipped, what is not a number becomes black.

    Raises:
        SeamsegError: there are not three channels, means and standard deviations.
    """
    if image.ndim != 3 or not image.shape[0] == len(mean) == len(std) == 3:
        raise OutputError(
            f"a 3×H×W image, three means and three deviations make a picture; these are an image of shape "
            f"{tuple(image.shape)}, {len(mean)} means and {len(std)} deviations"
        )
    channels_last = image.detach().to("cpu", torch.float32).permute(1, 2, 0)
    rgb = channels_last * torch.tensor(std, dtype=torch.float32) + torch.tensor(mean, dtype=torch.float32)
    levels = (rgb * 255).round().nan_to_num(0.0).clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(levels.numpy())


def check_picture(array: Picture) -> None:
    """Raises a SeamsegError unless the array is an H×W×3 uint8 picture with at least one pixel."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise SeamsegError(f"a picture is an H×W×3 array of type uint8, not {array.dtype} of shape {array.shape}")


def encode_image(path: Path, rgb: Picture) -> bytes:
    """The bytes of a picture file of that name.

    Raises:
        SeamsegError: the suffix is not .png, .jpg or .jpeg, the array is no picture, or the format does not hold it.
    """
    suffix = path.suffix.lower()
    if suffix not in _OPTIONS:
        raise OutputError(f"the picture {path} must end in one of {', '.join(_OPTIONS)}")
    check_picture(rgb)
    try:
        done, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), _OPTIONS[suffix])
    except cv2.error as error:
        raise OutputError(f"the picture {path} of shape {rgb.shape} cannot be encoded: {error.err}") from error
    if not done:
        raise OutputError(f"the picture {path} of shape {rgb.shape} is too large for its format; try .png")
    return data.tobytes()


def resize_picture(image: Picture, size: Size) -> Picture:
    """H×W×3 at another height and width, smooth in both directions."""
    smaller = size[0] < image.shape[0] or size[1] < image.shape[1]
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size[::-1], interpolation=interpolation), np.uint8)


def resize_segmentation(segmentation: PanopticSegmentation, size: Size) -> PanopticSegmentation:
    """The same segments at another height and width: every pixel takes the id at its center."""
    rows, columns = (
        (torch.arange(new, device=segmentation.ids.device) * 2 + 1) * old // (2 * new)
        for new, old in zip(size, segmentation.ids.shape, strict=True)
    )
    ids = segmentation.ids[rows[:, None], columns]
    return replace(segmentation, ids=ids)
