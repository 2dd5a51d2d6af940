"""Data sets in the COCO panoptic format (Kirillov et al. 2019, "Panoptic Segmentation")."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seamseg.data.annotation import Annotation, compact
from seamseg.data.coco_index import read_index
from seamseg.data.coco_split import choose_folder, find_split, image_folders, png_folders
from seamseg.data.images import read_image
from seamseg.data.panoptic_png import read_panoptic_png
from seamseg.structures import VOID, Size


class CocoPanoptic:
    """The annotated images of one split, in the order of the annotations in its file.

    Expected in the folder ``root``: ``annotations/panoptic_SPLIT.json`` (any ending of SPLIT that makes it unique:
    ``train`` finds ``panoptic_train2017.json``), its PNGs in the folder of the same name without ``.json``, and the
    photographs in ``images/SPLIT``, ``SPLIT`` or ``images``. Images without annotation are left out.

    Args:
        root: the data set folder.
        split: which part, as above.
        limit: take only that many images, the first ones.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: the split is not there or not unique, its JSON file is wrong, no image or no PNG is found, there is
            no thing or no stuff category, or the limit is not positive.
    """

    def __init__(self, root: Path, split: str, limit: int | None = None) -> None:
        if limit is not None and limit < 1:
            raise ValueError(f"the limit on the number of images is {limit}; it must be at least 1")
        self.annotation_file = find_split(root, split)
        self.categories, records = read_index(self.annotation_file)
        self.records = records[:limit]
        self.image_folder = choose_folder(
            image_folders(root, self.annotation_file),
            (record.image_file for record in self.records),
            f"images of {self.annotation_file}",
        )
        self.png_folder = choose_folder(
            png_folders(self.annotation_file),
            (record.png_file for record in self.records),
            f"PNG files of {self.annotation_file}",
        )

    def __len__(self) -> int:
        return len(self.records)

    @property
    def sizes(self) -> list[Size]:
        """Height and width of every image."""
        return [record.size for record in self.records]

    def image_id(self, index: int) -> int:
        """The data set's own id of an image."""
        return self.records[index].image_id

    def image_path(self, index: int) -> Path:
        return self.image_folder / self.records[index].image_file

    def read_image(self, index: int) -> NDArray[np.uint8]:
        """H×W×3 uint8, red first, as stored (an EXIF orientation is not applied).

        Raises:
            BrokenImageError: the file is missing or cannot be decoded.
            ValueError: its size is not the one in the JSON file.
        """
        path = self.image_path(index)
        image = read_image(path)
        if image.shape[:2] != self.records[index].size:
            expected = f"{self.annotation_file} says {_text(self.records[index].size)}"
            raise ValueError(f"{path} is {_text(image.shape)} (height×width), but {expected}")
        return image

    def read_annotation(self, index: int) -> Annotation:
        """The segments of an image that have a pixel.

        Raises:
            BrokenImageError: the PNG is missing or cannot be decoded.
            ValueError: its size is not the image's, or it holds ids that the JSON file does not describe.
        """
        record = self.records[index]
        path = self.png_folder / record.png_file
        original_ids = read_panoptic_png(path)
        if original_ids.shape != record.size:
            expected = f"its image {self.image_path(index)} is {_text(record.size)}"
            raise ValueError(f"{path} is {_text(original_ids.shape)} (height×width), but {expected}")
        known = np.concatenate([np.zeros(1, np.int32), record.segment_ids])
        ids = np.minimum(np.searchsorted(known, original_ids), len(known) - 1).astype(np.int32)
        unknown = original_ids[known[ids] != original_ids]
        if len(unknown):
            raise ValueError(
                f"{path} of image {record.image_id} holds segment id(s) {_some(unknown)} "
                f"that {self.annotation_file} does not describe"
            )
        classes = np.concatenate([np.array([VOID]), record.classes])
        crowd = np.concatenate([np.zeros(1, np.bool_), record.crowd])
        return compact(Annotation(ids, classes, crowd))


def _text(size: tuple[int, ...]) -> str:
    return f"{size[0]}×{size[1]}"


def _some(ids: NDArray[np.int32], at_most: int = 5) -> str:
    distinct = np.unique(ids)
    return ", ".join(str(value) for value in distinct[:at_most]) + (", …" if len(distinct) > at_most else "")
