"""Images and segment ids whose size the data set states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seamseg.data.images import read_image
from seamseg.structures import Size


def read_sized_image(path: Path, size: Size, stated_by: str) -> NDArray[np.uint8]:
    """Reads a photograph as :func:`seamseg.data.images.read_image` does.

    The pixels come as they are stored, unless the size shows that its annotation was made on the upright image, turned
    as the EXIF orientation says.

    Args:
        path: of the photograph.
        size: height and width that it must have.
        stated_by: what says so, for the error.

    Raises:
        BrokenImageError: the file is missing or cannot be decoded.
        ValueError: it has another size.
    """
    image = read_image(path)
    if image.shape[:2] != size and image.shape[1::-1] == size:
        image = read_image(path, upright=True)
    check_size(path, image.shape, size, f"{stated_by} says {size_text(size)}")
    return image


def check_size(path: Path, shape: tuple[int, ...], size: Size, expected: str) -> None:
    """Compares sizes.

    Raises:
        ValueError: they differ; ``expected`` ends its sentence.
    """
    if tuple(shape[:2]) != tuple(size):
        raise ValueError(f"{path} is {size_text(shape)} (height×width), but {expected}")


def size_text(size: tuple[int, ...]) -> str:
    """Height×width."""
    return f"{size[0]}×{size[1]}"
