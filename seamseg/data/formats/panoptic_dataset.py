"""Interface of all data sets on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seamseg.structures import Categories, ImageId, PanopticSegmentation, Size


class PanopticDataset(Protocol):
    """Annotated images of one split, by index 0 … N − 1; :mod:`seamseg.data.formats.open` opens them."""

    @property
    def categories(self) -> Categories:
        """Categories, the same for all splits of a data set."""

    @property
    def sizes(self) -> list[Size]:
        """Height and width of every image, as stated by the data set."""

    def __len__(self) -> int: ...

    def image_id(self, index: int) -> ImageId:
        """Return the data set's own id of an image, which is unique."""

    def image_path(self, index: int) -> Path:
        """Return the path of an image; whether the file exists is not checked."""

    def annotation_path(self, index: int) -> Path:
        """Return the path of an image's file of segment ids."""

    def read_image(self, index: int) -> NDArray[np.uint8]:
        """Read an image as H×W×3 uint8 RGB, as stored, or upright if only that fits the annotation.

        Raises:
            BrokenImageError: The file is missing or cannot be decoded.
            SeamsegError: Its size is not the one that the data set states.
        """

    def read_annotation(self, index: int) -> PanopticSegmentation:
        """Read the segments of an image, with int32 ids renumbered 0 … K; every segment except void has a pixel.

        Raises:
            BrokenImageError: The file of segment ids is missing or cannot be decoded.
            SeamsegError: Its size is not that of the image, or it contains ids that the data set does not describe.
        """
