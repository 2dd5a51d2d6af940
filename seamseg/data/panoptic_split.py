"""One split of a data set that is annotated by a panoptic JSON file and PNGs of segment ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.data.annotation import Annotation, compact
from seamseg.data.coco_index import ImageRecord
from seamseg.data.panoptic_png import read_panoptic_png
from seamseg.data.stated_size import check_size, read_sized_image, size_text
from seamseg.ops.id_maps import find_ids
from seamseg.structures import VOID, Categories, ImageId, Size


class PanopticSplit:
    """Annotated images as :class:`seamseg.data.annotated_images.AnnotatedImages` describes them.

    Args:
        annotation_file: the JSON file, for errors.
        categories: of the data set.
        records: one per image, from that file; at least one.
        image_folder, png_folder: where the files lie that the records name.
    """

    def __init__(
        self,
        annotation_file: Path,
        categories: Categories,
        records: list[ImageRecord],
        image_folder: Path,
        png_folder: Path,
    ) -> None:
        self.annotation_file, self.categories, self.records = annotation_file, categories, records
        self.image_folder, self.png_folder = image_folder, png_folder

    def __len__(self) -> int:
        return len(self.records)

    @property
    def sizes(self) -> list[Size]:
        return [record.size for record in self.records]

    def image_id(self, index: int) -> ImageId:
        return self.records[index].image_id

    def image_path(self, index: int) -> Path:
        return self.image_folder / self.records[index].image_file

    def annotation_path(self, index: int) -> Path:
        return self.png_folder / self.records[index].png_file

    def read_image(self, index: int) -> NDArray[np.uint8]:
        return read_sized_image(self.image_path(index), self.records[index].size, str(self.annotation_file))

    def read_annotation(self, index: int) -> Annotation:
        record, path = self.records[index], self.annotation_path(index)
        original_ids = read_panoptic_png(path)
        expected = f"its image {self.image_path(index)} is {size_text(record.size)}"
        check_size(path, original_ids.shape, record.size, expected)
        known = np.concatenate([np.zeros(1, np.int32), record.segment_ids])
        classes = np.concatenate([np.array([VOID]), record.classes])
        crowd = np.concatenate([np.zeros(1, np.bool_), record.crowd])
        ids, unknown = positions(original_ids, known)
        if len(unknown):
            raise ValueError(
                f"{path} of image {record.image_id} holds segment id(s) {_some(unknown)} "
                f"that {self.annotation_file} does not describe"
            )
        if (record.classes == VOID).any():
            ids = np.take(np.where(classes == VOID, 0, np.arange(len(classes), dtype=np.int32)), ids)
        return compact(Annotation(ids, classes, crowd))


def positions(original_ids: NDArray[np.int32], known: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Where each id stands among the known ones.

    Args:
        original_ids: H×W, at least one pixel.
        known: K ids, ascending; at least one.

    Returns:
        H×W positions 0 … K−1 (−1 where an id is not known), and the ids that are not known, with repetitions.
    """
    found: NDArray[np.int32] = find_ids(torch.from_numpy(original_ids), torch.from_numpy(known)).numpy()
    return found, original_ids[found < 0] if found.min() < 0 else original_ids[:0, 0]


def _some(ids: NDArray[np.int32], at_most: int = 5) -> str:
    distinct = np.unique(ids)
    return ", ".join(str(value) for value in distinct[:at_most]) + (", …" if len(distinct) > at_most else "")
