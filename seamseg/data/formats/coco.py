"""Data sets in the COCO panoptic format (Kirillov et al. 2019, "Panoptic Segmentation")."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.data.formats.coco_files import choose_folder, find_split, image_folders
from seamseg.data.formats.coco_json import ImageRecord, read_index
from seamseg.data.formats.split_names import first_images
from seamseg.data.image_size import has_swapped_size
from seamseg.data.images import check_size, read_image, size_text
from seamseg.data.png import read_panoptic_png
from seamseg.errors import DataError
from seamseg.ops.id_maps import drop_empty_segments, lookup_ids
from seamseg.structures import VOID, Categories, ImageId, PanopticSegmentation, Size

NUM_PROBED = 8


class DataWarning(UserWarning):
    """A data set contradicts itself in a way that can be resolved."""


class PanopticSplit:
    """Annotated images as :class:`seamseg.data.formats.panoptic_dataset.PanopticDataset` describes them.

    Where the JSON file has width and height of an image swapped and its two files agree, the size of the files counts.
    Some images are looked at when the split is opened; if one is swapped, a single :class:`DataWarning` says so.

    Args:
        annotation_file: the JSON file, for errors.
        categories: of the data set.
        records: one per image, from that file; at least one.
        image_folder: Folder of the images that the records name.
    """

    def __init__(
        self,
        annotation_file: Path,
        categories: Categories,
        records: list[ImageRecord],
        image_folder: Path,
    ) -> None:
        self.annotation_file, self.categories, self.records = annotation_file, categories, records
        self.image_folder = image_folder
        self._settle_sizes()

    def __len__(self) -> int:
        return len(self.records)

    @property
    def sizes(self) -> list[Size]:
        return [record.size for record in self.records]

    def image_id(self, index: int) -> ImageId:
        return self.records[index].segments.image_id

    def image_path(self, index: int) -> Path:
        return self.image_folder / self.records[index].image_file

    def annotation_path(self, index: int) -> Path:
        return self.records[index].segments.png

    def read_image(self, index: int) -> NDArray[np.uint8]:
        return read_image(self.image_path(index), "stored", self._file_size(index), f"{self.annotation_file} says")

    def read_annotation(self, index: int) -> PanopticSegmentation:
        record, path = self.records[index], self.annotation_path(index)
        original_ids = read_panoptic_png(path)
        expected = f"its image {self.image_path(index)} is {size_text(record.size)}"
        check_size(path, original_ids.shape, self._file_size(index), expected)
        order = np.argsort(record.segments.ids)  # void stays first
        classes, crowd = record.segments.classes[order], record.segments.crowd[order]
        ids, unknown = positions(original_ids, record.segments.ids[order].astype(np.int32))
        if len(unknown):
            raise DataError(
                f"{path} of image {self.image_id(index)} holds segment id(s) {_some(unknown)} "
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

    def _settle_sizes(self) -> None:
        """Swaps all sizes if those of all probed images are swapped; otherwise each is settled when it is read."""
        oblong = [index for index, (height, width) in enumerate(self.sizes) if height != width]
        probed = oblong[:: max(1, -(-len(oblong) // NUM_PROBED))]
        swapped = [index for index in probed if self._is_swapped(index)]
        if not swapped:
            return
        if swapped == probed:
            self.records = [replace(record, size=record.size[::-1]) for record in self.records]
        warnings.warn(
            f"{self.annotation_file} has width and height of images swapped, such as those of "
            f"{self.records[swapped[0]].image_file}: the sizes of the image files and PNGs count",
            DataWarning,
            stacklevel=2,
        )


def positions(original_ids: NDArray[np.int32], known: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Where each id stands among the known ones.

    Args:
        original_ids: H×W, at least one pixel.
        known: K ids, ascending; at least one.

    Returns:
        H×W positions 0 … K−1 (−1 where an id is not known), and the ids that are not known, with repetitions.
    """
    found: NDArray[np.int32] = lookup_ids(torch.from_numpy(original_ids), torch.from_numpy(known)).numpy()
    return found, original_ids[found < 0] if found.min() < 0 else original_ids[:0, 0]


def _some(ids: NDArray[np.int32], at_most: int = 5) -> str:
    distinct = np.unique(ids)
    return ", ".join(str(value) for value in distinct[:at_most]) + (", …" if len(distinct) > at_most else "")


class CocoPanoptic(PanopticSplit):
    """The annotated images of one split, in the order of the annotations in its file.

    Expected in the folder ``root``: ``annotations/panoptic_SPLIT.json`` (any ending of SPLIT that makes it unique:
    ``train`` finds ``panoptic_train2017.json``), its PNGs in the folder of the same name without ``.json``, and the
    images in ``images/SPLIT``, ``SPLIT`` or ``images``. Images without annotation are left out.

    Args:
        root: the data set folder.
        split: which part, as above.
        limit: take only that many images, the first ones.

    Raises:
        FileNotFoundError: the folder does not exist.
        SeamsegError: the split is missing or ambiguous, its JSON file is wrong, no image or no PNG is found, there
            is no thing or no stuff category, or the limit is not positive.
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
