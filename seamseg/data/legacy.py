"""Data sets in the format of the published seamseg, as its converters of Vistas and Cityscapes write them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from seamseg.data.annotation import Annotation, compact
from seamseg.data.coco_index import check_both_kinds
from seamseg.data.images import BrokenImageError, decode_file
from seamseg.data.input_folder import existing_suffix, is_leftover
from seamseg.data.metadata_bin import LegacyRecord, load_metadata, metadata_categories, metadata_images
from seamseg.data.split_names import choose_split, first_images
from seamseg.data.stated_size import check_size, read_sized_image, size_text
from seamseg.structures import VOID, Size

METADATA_FILE = "metadata.bin"
LIST_FOLDER = "lst"
_SUFFIXES = (".png", ".jpeg", ".jpg")


def legacy_splits(root: Path) -> list[str]:
    """The splits of a data set, sorted: the names of its lists."""
    return sorted(path.stem for path in (root / LIST_FOLDER).glob("*.txt") if not is_leftover(path))


class LegacyImages:
    """Annotated images as :class:`seamseg.data.annotated_images.AnnotatedImages` describes them.

    Expected in the folder ``root``: ``metadata.bin``, ``lst/SPLIT.txt`` with the ids of a split's images, photographs
    ``img/ID.png`` or ``.jpg``, and ``msk/ID.png`` with the ids of the segments. Images come in the order of
    ``metadata.bin``.

    Args:
        root: the data set folder.
        split: the name of a list, or an unmistakable beginning of it.
        limit: take only that many images, the first ones.

    Raises:
        ValueError: the split is not there or not unique, its list names no image or an unknown one, ``metadata.bin`` is
            wrong, there is no thing or no stuff class, or the limit is not positive.
    """

    def __init__(self, root: Path, split: str, limit: int | None = None) -> None:
        self.root, self.metadata_file = root, root / METADATA_FILE
        self.list_file = root / LIST_FOLDER / f"{choose_split(legacy_splits(root), split, root)}.txt"
        content = load_metadata(self.metadata_file)
        self.categories = metadata_categories(content, self.metadata_file)
        check_both_kinds(self.categories, f"{self.metadata_file} has no {{}} class", "num_thing 1", "num_stuff 1")
        images = metadata_images(content, len(self.categories), self.metadata_file)
        self.records = first_images(self._listed(images), limit)

    def _listed(self, images: list[LegacyRecord]) -> list[LegacyRecord]:
        try:
            wanted = set(self.list_file.read_text(encoding="utf-8").split("\n")) - {""}
        except UnicodeDecodeError as error:
            raise ValueError(f"the list {self.list_file} is not a text file in UTF-8") from error
        wanted = {line.strip() for line in wanted}
        unknown = sorted(wanted - {image.image_id for image in images})
        if unknown or not wanted:
            problem = f"names {unknown[0]}, which {self.metadata_file} does not describe" if unknown else "is empty"
            raise ValueError(f"the list {self.list_file} {problem}")
        return [image for image in images if image.image_id in wanted]

    def __len__(self) -> int:
        return len(self.records)

    @property
    def sizes(self) -> list[Size]:
        return [record.size for record in self.records]

    def image_id(self, index: int) -> str:
        return self.records[index].image_id

    def image_path(self, index: int) -> Path:
        places = [self.root / "img" / f"{self.image_id(index)}{suffix}" for suffix in _SUFFIXES]
        return next((path for path in map(existing_suffix, places) if path.is_file()), places[-1])

    def annotation_path(self, index: int) -> Path:
        return existing_suffix(self.root / "msk" / f"{self.image_id(index)}.png")

    def read_image(self, index: int) -> NDArray[np.uint8]:
        return read_sized_image(self.image_path(index), self.records[index].size, str(self.metadata_file))

    def read_annotation(self, index: int) -> Annotation:
        record, path = self.records[index], self.annotation_path(index)
        ids = decode_file(path, cv2.IMREAD_UNCHANGED)
        if ids.ndim != 2 or ids.dtype not in (np.uint8, np.uint16):
            raise BrokenImageError(path, "is no grey image of 8 or 16 bits, which holds the ids of the segments")
        if path.with_name(f"{path.name}.1").exists():
            raise ValueError(f"{path} has a second layer, {path.name}.1: its objects overlap, so it is not panoptic")
        check_size(path, ids.shape, record.size, f"{self.metadata_file} says {size_text(record.size)}")
        if int(ids.max()) >= len(record.classes):
            raise ValueError(
                f"{path} holds segment {ids.max()}; {self.metadata_file} ends at {len(record.classes) - 1}"
            )
        segments = np.where(record.classes == VOID, 0, np.arange(len(record.classes), dtype=np.int32))
        return compact(Annotation(segments[ids].astype(np.int32), record.classes, record.crowd))
