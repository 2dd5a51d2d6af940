"""What every data set on disk can do."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seamseg.structures import Categories, ImageId, PanopticSegmentation, Size


class PanopticDataset(Protocol):
    """The annotated images of one split, by index 0 … N−1; :mod:`seamseg.data.formats.open` opens them."""

    @property
    def categories(self) -> Categories:
        """The classes, the same for all splits of a data set."""

    @property
    def sizes(self) -> list[Size]:
        """Height and width of every image, as the data set states them."""

    def __len__(self) -> int: ...

    def image_id(self, index: int) -> ImageId:
        """The data set's own id of an image; each has its own."""

    def image_path(self, index: int) -> Path:
        """The image; whether it is there shows when it is read."""

    def annotation_path(self, index: int) -> Path:
        """The file of segment ids that belongs to it."""

    def read_image(self, index: int) -> NDArray[np.uint8]:
        """H×W×3 uint8, red first, as stored, or upright where only that fits the annotation.

        Raises:
            BrokenImageError: the file is missing or cannot be decoded.
            SeamsegError: its size is not the one that the data set states.
        """

    def read_annotation(self, index: int) -> PanopticSegmentation:
        """The segments of an image, renumbered 0 … K; each but void has a pixel. The ids are int32.

        Raises:
            BrokenImageError: the file of segment ids is missing or cannot be decoded.
            SeamsegError: its size is not the image's, or it holds ids that the data set does not describe.
        """
