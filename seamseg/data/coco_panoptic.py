"""Data sets in the COCO panoptic format (Kirillov et al. 2019, "Panoptic Segmentation")."""

from __future__ import annotations

from pathlib import Path

from seamseg.data.coco_index import read_index
from seamseg.data.coco_split import choose_folder, find_split, image_folders, png_folders
from seamseg.data.panoptic_split import PanopticSplit
from seamseg.data.split_names import first_images


class CocoPanoptic(PanopticSplit):
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
        annotation_file = find_split(root, split)
        categories, records = read_index(annotation_file)
        records = first_images(records, limit)
        image_folder = choose_folder(
            image_folders(root, annotation_file),
            (record.image_file for record in records),
            f"images of {annotation_file}",
        )
        png_folder = choose_folder(
            png_folders(annotation_file),
            (record.png_file for record in records),
            f"PNG files of {annotation_file}",
        )
        super().__init__(annotation_file, categories, records, image_folder, png_folder)
