"""Output files of a converted split in the COCO panoptic format."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.data.formats.coco_writer import distinct_values, panoptic_entries, segments_info
from seamseg.data.image_size import size_beside
from seamseg.data.images import check_size, size_text
from seamseg.data.json_fields import short_text
from seamseg.data.png import MAX_SEGMENT_ID, write_panoptic_png
from seamseg.errors import OutputError, SettingsError
from seamseg.io.files import atomic_write_unsynced
from seamseg.io.journal import ItemOutput
from seamseg.structures import Categories, Color, ImageId, PanopticSegmentation

Placement = Literal["link", "copy"]
"""Whether images are symbolic links or copies in the new data set."""


@dataclass(frozen=True)
class PanopticTarget:
    """Writer of one split of a COCO panoptic data set.

    It writes ``OUT/images/SPLIT/`` and ``OUT/annotations/panoptic_SPLIT/*.png``, and states the path of
    ``OUT/annotations/panoptic_SPLIT.json``.

    Attributes:
        folder: Folder of the data set, OUT.
        split: Name of the split.
        placement: Whether images are linked or copied.

    Raises:
        SeamsegError: The name of the split is not the name of a folder.
    """

    folder: Path
    split: str
    placement: Placement = "link"

    def __post_init__(self) -> None:
        if self.split in ("", ".", "..") or set(self.split) & set("/\\\0"):
            raise SettingsError(
                f"{short_text(self.split)} cannot be the name of a split, because folders are named after it; choose a "
                "name without slashes"
            )

    @property
    def json_file(self) -> Path:
        """Path of the JSON file."""
        return self.folder / "annotations" / f"panoptic_{self.split}.json"

    def write(
        self,
        image_id: ImageId,
        image_path: Path,
        image_file: str,
        annotation: Path,
        segmentation: PanopticSegmentation,
        categories: Categories,
        *,
        png_ids: Sequence[int] | None = None,
        num_hidden: int = 0,
        png_file: str | None = None,
    ) -> ItemOutput:
        """Write the image and its PNG, and return the entries for the JSON file.

        Args:
            image_id: Id of the image in the new data set.
            image_path: Path of the source image.
            image_file: Path of the image in the new data set, relative to ``OUT/images/SPLIT``.
            annotation: Path of the file that the segments come from, used in error messages.
            segmentation: Segments of the image.
            categories: Categories of the new data set.
            png_ids: Ids of the segments 1 … K in the PNG. None chooses them with :func:`color_ids`.
            num_hidden: Number of objects that the segmentation leaves out.
            png_file: Path of the PNG in the new data set, relative to ``OUT/annotations/panoptic_SPLIT``. None names it
                after the image.

        Raises:
            SeamsegError: The image is broken, or its size differs from that of the segmentation.
            OSError: A file cannot be written.
        """
        size = size_beside(image_path, segmentation.size)
        check_size(annotation, segmentation.size, size, f"its image {image_path} is {size_text(size)}")
        png_file = png_file or Path(image_file).with_suffix(".png").as_posix()
        target_path = self.folder / "images" / self.split / image_file
        png_path = self.json_file.with_suffix("") / png_file
        place_image(image_path, target_path, self.placement)
        all_ids = [0, *(color_ids(categories, segmentation.classes[1:].tolist()) if png_ids is None else png_ids)]
        id_map = np.array(all_ids, np.int32)[segmentation.ids.numpy()]
        atomic_write_unsynced(png_path, lambda path: write_panoptic_png(path, id_map))
        classes = zip(all_ids[1:], segmentation.classes[1:].tolist(), strict=True)
        category_ids = {png_id: categories.classes[number].original_id for png_id, number in classes}
        crowd = {all_ids[segment] for segment in segmentation.crowd.nonzero()[:, 0].tolist()}
        entries = panoptic_entries(image_file, png_file, size, segments_info(id_map, category_ids, crowd), image_id)
        return ItemOutput((target_path, png_path), entries, num_hidden)


def number_segments(ids: NDArray[np.integer]) -> tuple[torch.Tensor, list[int]]:
    """Renumber the values of an H×W map to 0 … K, where 0 is void.

    Returns:
        The H×W int64 map, and the K original values other than 0 in ascending order.
    """
    values, positions = distinct_values(ids)
    if values[0] == 0:
        return torch.from_numpy(positions), values[1:].tolist()
    return torch.from_numpy(positions + 1), values.tolist()


def color_ids(categories: Categories, classes: Iterable[int]) -> list[int]:
    """Choose a unique id for each segment.

    Seen as a color, the id is close to the color of the class, so that the PNG is readable for people.

    Args:
        categories: Categories of the data set.
        classes: Class of each segment.
    """
    used, steps, ids = {0}, Counter[Color](), []
    for number in classes:
        color = categories.classes[number].color
        while (candidate := _shade(color, steps[color])) in used:
            steps[color] += 1
        used.add(candidate)
        ids.append(candidate)
    return ids


def _shade(color: Color, step: int) -> int:
    """Id of a color near the given one; the steps reach all 2²⁴ colors before repeating one."""
    if step < 16**3:
        red, green, blue = ((part + 5 * digit) % 256 for part, digit in zip(color, _digits(step), strict=True))
        return red + 256 * green + 65536 * blue
    return (step * 0x9E3779 + color[0]) & MAX_SEGMENT_ID


def _digits(step: int) -> tuple[int, int, int]:
    return step % 16, step // 16 % 16, step // 256


def place_image(source: Path, target: Path, placement: Placement) -> None:
    """Link or copy an image to a new location; a link points to the absolute path.

    Raises:
        OSError: The link or copy cannot be written.
        SeamsegError: Both paths are the same file.
    """
    if target.exists() and not target.is_symlink() and target.samefile(source):
        raise OutputError(f"{target} would overwrite its own source image; write to another folder")
    if placement == "copy":
        atomic_write_unsynced(target, lambda path: shutil.copyfile(source, path))
    else:
        atomic_write_unsynced(target, lambda path: path.symlink_to(source.absolute()))
