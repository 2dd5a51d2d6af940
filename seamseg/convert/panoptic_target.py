"""Where a converted split of a COCO panoptic data set is written."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seamseg.convert.segmentation import Segmentation
from seamseg.data.image_size import size_beside
from seamseg.data.images import check_size, size_text
from seamseg.data.png import write_panoptic_png
from seamseg.io.files import atomic_write_unsynced
from seamseg.io.journal import ItemOutput
from seamseg.structures import ImageId

Placement = Literal["link", "copy"]
"""How photographs come into the new data set: as symbolic links, or as copies."""


@dataclass(frozen=True)
class PanopticTarget:
    """``OUT/images/SPLIT/``, ``OUT/annotations/panoptic_SPLIT/*.png`` and ``OUT/annotations/panoptic_SPLIT.json``.

    Attributes:
        folder: of the data set, OUT.
        split: its part.
        placement: of photographs.
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
        photograph: Path,
        image_file: str,
        annotation: Path,
        segmentation: Segmentation,
        num_hidden: int = 0,
        png_file: str | None = None,
    ) -> ItemOutput:
        """Writes what belongs to one image.

        Args:
            image_id: in the new data set.
            photograph: the source's.
            image_file: name of the photograph in the new data set, relative.
            annotation: the file that the segments come from, for errors.
            segmentation: of the image.
            num_hidden: objects that the segmentation leaves out.
            png_file: Name of the PNG in the new data set, relative; None names it after the photograph.

        Raises:
            ValueError: the photograph is broken or of another size.
            OSError: a file cannot be written.
        """
        height, width = segmentation.ids.shape
        size = size_beside(photograph, (height, width))
        check_size(annotation, segmentation.ids.shape, size, f"its image {photograph} is {size_text(size)}")
        png_file = png_file or Path(image_file).with_suffix(".png").as_posix()
        image_path = self.folder / "images" / self.split / image_file
        png_path = self.json_file.with_suffix("") / png_file
        place_photograph(photograph, image_path, self.placement)
        atomic_write_unsynced(png_path, lambda path: write_panoptic_png(path, segmentation.ids))
        image = {"id": image_id, "file_name": image_file, "height": size[0], "width": size[1]}
        segments = {"image_id": image_id, "file_name": png_file, "segments_info": segmentation.segments_info()}
        return ItemOutput((image_path, png_path), {"images": [image], "annotations": [segments]}, num_hidden)


def place_photograph(source: Path, target: Path, placement: Placement) -> None:
    """Makes a photograph appear at another place; a link goes to the absolute path.

    Raises:
        OSError: it cannot be written.
        ValueError: the two are the same file.
    """
    if target.exists() and not target.is_symlink() and target.samefile(source):
        raise ValueError(f"{target} would replace the photograph it is made from; write to another folder")
    if placement == "copy":
        atomic_write_unsynced(target, lambda path: shutil.copyfile(source, path))
    else:
        atomic_write_unsynced(target, lambda path: path.symlink_to(source.absolute()))
