"""Where a converted split of a COCO panoptic data set is written."""

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
from seamseg.data.png import MAX_SEGMENT_ID, write_panoptic_png
from seamseg.errors import OutputError
from seamseg.io.files import atomic_write_unsynced
from seamseg.io.journal import ItemOutput
from seamseg.structures import Categories, Color, ImageId, PanopticSegmentation

Placement = Literal["link", "copy"]
"""How images come into the new data set: as symbolic links, or as copies."""


@dataclass(frozen=True)
class PanopticTarget:
    """``OUT/images/SPLIT/``, ``OUT/annotations/panoptic_SPLIT/*.png`` and ``OUT/annotations/panoptic_SPLIT.json``.

    Attributes:
        folder: of the data set, OUT.
        split: its part.
        placement: of images.
    """

    folder: Path
    split: str
    placement: Placement = "link"

    @property
    def json_file(self) -> Path:
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
        """Writes what belongs to one image.

        Args:
            image_id: in the new data set.
            image_path: the source's.
            image_file: name of the image in the new data set, relative.
            annotation: the file that the segments come from, for errors.
            segmentation: of the image.
            categories: Categories of the new data set.
            png_ids: Ids of the segments 1 … K in the PNG; None chooses them with :func:`color_ids`.
            num_hidden: objects that the segmentation leaves out.
            png_file: Name of the PNG in the new data set, relative; None names it after the image.

        Raises:
            SeamsegError: the image is broken or of another size.
            OSError: a file cannot be written.
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
    """Replace the values of an H×W map, where 0 is void, by 0 … K.

    Returns:
        H×W int64, and the K values other than 0, ascending.
    """
    values, positions = distinct_values(ids)
    if values[0] == 0:
        return torch.from_numpy(positions), values[1:].tolist()
    return torch.from_numpy(positions + 1), values.tolist()


def color_ids(categories: Categories, classes: Iterable[int]) -> list[int]:
    """Choose a different id for each segment. As a color it is near that of the class, so that people can read the PNG.

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
    """Neighbors of a color as ids; all 2²⁴ of them come before one is repeated."""
    if step < 16**3:
        red, green, blue = ((part + 5 * digit) % 256 for part, digit in zip(color, _digits(step), strict=True))
        return red + 256 * green + 65536 * blue
    return (step * 0x9E3779 + color[0]) & MAX_SEGMENT_ID


def _digits(step: int) -> tuple[int, int, int]:
    return step % 16, step // 16 % 16, step // 256


def place_image(source: Path, target: Path, placement: Placement) -> None:
    """Makes an image appear at another place; a link goes to the absolute path.

    Raises:
        OSError: it cannot be written.
        SeamsegError: the two are the same file.
    """
    if target.exists() and not target.is_symlink() and target.samefile(source):
        raise OutputError(f"{target} would replace the image it is made from; write to another folder")
    if placement == "copy":
        atomic_write_unsynced(target, lambda path: shutil.copyfile(source, path))
    else:
        atomic_write_unsynced(target, lambda path: path.symlink_to(source.absolute()))
