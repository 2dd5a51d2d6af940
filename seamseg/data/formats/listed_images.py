"""Images that a COCO JSON file lists, whatever its annotations are."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from seamseg.errors import DataError
from seamseg.structures import Size


class ListedImage(Protocol):
    """Record of one image."""

    @property
    def image_file(self) -> str:
        """Name of the image, relative to the folder of images."""

    @property
    def size(self) -> Size:
        """Height and width as stated by the file."""


RecordT = TypeVar("RecordT", bound=ListedImage)
SplitT = TypeVar("SplitT", bound="ListedImages[Any]")


class ListedImages(Generic[RecordT]):
    """Images of one split.

    Attributes:
        annotation_file: Path of the JSON file.
        image_folder: Folder of the images.
        records: Records from the file, one per image.
    """

    annotation_file: Path
    image_folder: Path
    records: list[RecordT]

    def __len__(self) -> int:
        return len(self.records)

    @property
    def sizes(self) -> list[Size]:
        """Height and width of every image."""
        return [record.size for record in self.records]

    def image_path(self, index: int) -> Path:
        """Return the path of an image, which may not exist."""
        return self.image_folder / self.records[index].image_file

    def is_empty(self, index: int) -> bool:
        """Return whether the file lists no object or segment of an image."""
        raise NotImplementedError

    def without_empty_images(self: SplitT) -> SplitT:
        """Return the same split without its empty images.

        Raises:
            SeamsegError: No image is left.
        """
        left = copy(self)
        left.records = [record for index, record in enumerate(self.records) if not self.is_empty(index)]
        if not left.records:
            raise DataError(f"{self.annotation_file} lists no object in any image; set data.empty_images=keep")
        return left
