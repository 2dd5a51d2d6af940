"""Data sets in the COCO panoptic format (Kirillov et al. 2019, "Panoptic Segmentation")."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.data.formats.annotated_dataset import PANOPTIC
from seamseg.data.formats.coco_files import choose_folder, find_split, image_folders
from seamseg.data.formats.coco_json import ImageRecord, read_index
from seamseg.data.formats.listed_images import ListedImages
from seamseg.data.formats.split_names import first_images
from seamseg.data.image_size import has_swapped_size
from seamseg.data.images import check_size, read_image, size_text
from seamseg.data.png import read_panoptic_png
from seamseg.errors import DataError
from seamseg.ops.id_maps import drop_empty_segments, lookup_ids
from seamseg.structures import VOID, Categories, ImageId, PanopticSegmentation, Size

NUM_PROBED = 8
"""Maximum number of images whose stated size is checked when a split is opened."""


class DataWarning(UserWarning):
    """A data set contradicts itself in a way that can be resolved."""


class PanopticSplit(ListedImages[ImageRecord]):
    """Annotated images with the interface of :class:`seamseg.data.formats.annotated_dataset.PanopticDataset`.

    If the JSON file swaps width and height of an image and the image and PNG agree with each other, the size of the
    files is used. Some images are checked when the split is opened; if one is swapped, a single :class:`DataWarning` is
    issued.

    Args:
        annotation_file: Path of the JSON file, for error messages.
        categories: Categories of the data set.
        records: Records from the JSON file, one per image; at least one.
        image_folder: Folder of the images that the records name.
    """

    title, content = "panoptic", PANOPTIC

    def __init__(
        self,
        annotation_file: Path,
        categories: Categories,
        records: list[ImageRecord],
        image_folder: Path,
    ) -> None:
        self.annotation_file, self.categories, self.records = annotation_file, categories, records
        self.image_folder = image_folder
        self._fix_swapped_sizes()

    def image_id(self, index: int) -> ImageId:
        """Return the id of an image from the JSON file."""
        return self.records[index].segments.image_id

    def is_empty(self, index: int) -> bool:
        """Return whether the file lists no segment of an image."""
        return len(self.records[index].segments.ids) == 1

    def listed_classes(self, index: int) -> list[int]:
        """Return the classes of the segments of an image that are not crowd."""
        segments = self.records[index].segments
        return list(segments.classes[~segments.crowd & (segments.classes != VOID)].tolist())

    def annotation_path(self, index: int) -> Path:
        """Return the path of an image's segment PNG, which may not exist."""
        return self.records[index].segments.png

    def read_image(self, index: int) -> NDArray[np.uint8]:
        """Read an image as H×W×3 uint8 RGB."""
        return read_image(self.image_path(index), "stored", self._file_size(index), f"{self.annotation_file} says")

    def read_annotation(self, index: int) -> PanopticSegmentation:
        """Read the segments of an image, renumbered 0 … K."""
        record, path = self.records[index], self.annotation_path(index)
        original_ids = read_panoptic_png(path)
        expected = f"its image {self.image_path(index)} is {size_text(record.size)}"
        check_size(path, original_ids.shape, self._file_size(index), expected)
        order = np.argsort(record.segments.ids)  # void stays first
        classes, crowd = record.segments.classes[order], record.segments.crowd[order]
        ids, unknown = positions(original_ids, record.segments.ids[order].astype(np.int32))
        if len(unknown):
            raise DataError(
                f"{path} of image {self.image_id(index)} contains segment id(s) {_distinct_ids_text(unknown)} "
                f"that {self.annotation_file} does not describe"
            )
        if (classes[1:] == VOID).any():
            ids = np.take(np.where(classes == VOID, 0, np.arange(len(classes), dtype=np.int32)), ids)
        parts = torch.from_numpy(ids), torch.from_numpy(classes), torch.from_numpy(crowd)
        return drop_empty_segments(PanopticSegmentation(*parts))[0]

    def _file_size(self, index: int) -> Size:
        size = self.records[index].size
        return size[::-1] if self._is_swapped(index) else size

    def _is_swapped(self, index: int) -> bool:
        return has_swapped_size(self.image_path(index), self.annotation_path(index), self.records[index].size)

    def _fix_swapped_sizes(self) -> None:
        """Swap all sizes if those of all probed images are swapped.

        If only some are swapped, each size is checked when its image is read.
        """
        oblong = [index for index, (height, width) in enumerate(self.sizes) if height != width]
        probed = oblong[:: max(1, -(-len(oblong) // NUM_PROBED))]
        swapped = [index for index in probed if self._is_swapped(index)]
        if not swapped:
            return
        if swapped == probed:
            self.records = [replace(record, size=record.size[::-1]) for record in self.records]
        warnings.warn(
            f"{self.annotation_file} swaps the width and height of images, such as "
            f"{self.records[swapped[0]].image_file}: the sizes of the image and PNG files are used instead",
            DataWarning,
            stacklevel=2,
        )


def positions(original_ids: NDArray[np.int32], known: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the position of each id among the known ids.

    Args:
        original_ids: H×W ids, at least one pixel.
        known: K ids in ascending order; at least one.

    Returns:
        H×W positions from 0 to K − 1, −1 where an id is unknown; and the unknown ids, with repetitions.
    """
    found: NDArray[np.int32] = lookup_ids(torch.from_numpy(original_ids), torch.from_numpy(known)).numpy()
    return found, original_ids[found < 0] if found.min() < 0 else original_ids[:0, 0]


def _distinct_ids_text(ids: NDArray[np.int32], at_most: int = 5) -> str:
    """Return the distinct ids as comma-separated text, cut after ``at_most`` ids."""
    distinct = np.unique(ids)
    return ", ".join(str(value) for value in distinct[:at_most]) + (", …" if len(distinct) > at_most else "")


class CocoPanoptic(PanopticSplit):
    """Annotated images of one split, in the order of the annotations in its file.

    The folder ``root`` must contain ``annotations/panoptic_SPLIT.json``, its PNGs in the folder of the same name
    without ``.json``, and the images in ``images/SPLIT``, ``SPLIT`` or ``images``. Images without annotation are left
    out.

    Args:
        root: Data set folder.
        split: Name of the split, or a unique prefix of it: ``train`` finds ``panoptic_train2017.json``.
        limit: Maximum number of images; only the first ones are used. None uses all.

    Raises:
        FileNotFoundError: The folder does not exist.
        SeamsegError: The split is missing or ambiguous, its JSON file is wrong, no image or no PNG is found, there
            is no category, or the limit is not positive.
    """

    def __init__(self, root: Path, split: str, limit: int | None = None) -> None:
        annotation_file = find_split(root, split)
        categories, records = read_index(annotation_file)
        records = first_images(records, limit)
        image_folder = choose_folder(
            image_folders(root, annotation_file),
            (record.image_file for record in records),
            f"images of {annotation_file}",
        )
        super().__init__(annotation_file, categories, records, image_folder)
