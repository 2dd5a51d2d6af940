"""Mapillary Vistas v1.2 and v2.0 as downloaded, from panoptic files or instance PNGs.

Instance PNGs have 16 bits: label number times 256 plus instance number.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.data.formats.annotated_dataset import PANOPTIC, PanopticDataset
from seamseg.data.formats.coco import PanopticSplit
from seamseg.data.formats.coco_files import choose_folder
from seamseg.data.formats.coco_json import read_index
from seamseg.data.formats.split_names import choose_split, first_images
from seamseg.data.image_size import png_size
from seamseg.data.images import check_size, decode_file, read_image, size_text
from seamseg.data.input_folder import existing_suffix, is_leftover, subfolders
from seamseg.data.json_fields import check_file_names
from seamseg.data.labels.vistas import categories_of, class_table, read_labels
from seamseg.errors import BrokenImageError, DataError
from seamseg.structures import VOID, PanopticSegmentation, Size

INSTANCES_PER_LABEL = 256
NUM_VALUES = 2**16


class VistasInstances:
    """Annotated images with the interface of :class:`seamseg.data.formats.annotated_dataset.PanopticDataset`.

    The images are those with an instance PNG, sorted by name, which is their id. All regions of a stuff class in an
    image form one segment.

    Args:
        config: Path of the label configuration.
        image_folder: Folder of the images ``NAME.jpg``.
        instance_folder: Folder of the instance PNGs ``NAME.png``.
        limit: Maximum number of images; only the first ones are used. None uses all.

    Raises:
        SeamsegError: The configuration is wrong, there is no instance PNG, one is not a PNG, or the limit is not
            positive.
    """

    title, content = "panoptic", PANOPTIC

    def __init__(self, config: Path, image_folder: Path, instance_folder: Path, limit: int | None = None) -> None:
        self.config = config
        self.labels = read_labels(config)
        self.categories = categories_of(self.labels, range(len(self.labels)))
        self.image_folder, self.instance_folder = image_folder, instance_folder
        files = (path for path in instance_folder.iterdir() if not is_leftover(path))
        self.names = first_images(sorted(path.stem for path in files if path.suffix.lower() == ".png"), limit)
        if not self.names:
            raise DataError(f"{instance_folder} contains no instance PNGs")
        check_file_names(self.names, str(instance_folder))
        self.sizes: list[Size] = [png_size(self.annotation_path(index)) for index in range(len(self.names))]

    def __len__(self) -> int:
        return len(self.names)

    def image_id(self, index: int) -> str:
        """Return the name of an image without suffix."""
        return self.names[index]

    def image_path(self, index: int) -> Path:
        """Return the path of an image, which may not exist."""
        return existing_suffix(self.image_folder / f"{self.names[index]}.jpg")

    def annotation_path(self, index: int) -> Path:
        """Return the path of an image's instance PNG."""
        return existing_suffix(self.instance_folder / f"{self.names[index]}.png")

    def read_image(self, index: int) -> NDArray[np.uint8]:
        """Read an image as H×W×3 uint8 RGB."""
        return read_image(self.image_path(index), "stored", self.sizes[index], f"{self.annotation_path(index)} says")

    def read_annotation(self, index: int) -> PanopticSegmentation:
        """Read the segments of an image, renumbered 0 … K."""
        path = self.annotation_path(index)
        pixels = decode_file(path, cv2.IMREAD_UNCHANGED)
        if pixels.ndim != 2 or pixels.dtype != np.uint16:
            raise BrokenImageError(path, "is not a 16-bit gray image of labels and instances")
        check_size(path, pixels.shape, self.sizes[index], f"its header says {size_text(self.sizes[index])}")
        values = np.flatnonzero(np.bincount(pixels.ravel(), minlength=NUM_VALUES))
        segment_of_value, classes, crowd = self._segments(values.tolist(), path)
        ids = torch.from_numpy(segment_of_value[pixels])
        return PanopticSegmentation(ids, torch.tensor(classes), torch.tensor(crowd))

    def _segments(self, values: list[int], path: Path) -> tuple[NDArray[np.int32], list[int], list[bool]]:
        """Return the segment of each possible pixel value, and class and crowd flag of each segment."""
        segment_of_value = np.zeros(NUM_VALUES, np.int32)
        classes, crowd = [VOID], [False]
        for value in values:
            number = value // INSTANCES_PER_LABEL
            if number >= len(self.labels):
                raise DataError(
                    f"{path} contains the value {value} of label {number}, "
                    f"but {self.config} has only {len(self.labels)} labels"
                )
            label = self.labels[number]
            if not label.counts:
                continue
            category = self.categories.class_of_original_id[number]
            if label.is_thing or classes[-1] != category:
                classes.append(category)
                crowd.append(label.is_crowd)
            segment_of_value[value] = len(classes) - 1
        return segment_of_value, classes, crowd


VistasVersion = Literal["v1.2", "v2.0"]
PANOPTIC_FILE = {"v1.2": "panoptic_2018.json", "v2.0": "panoptic_2020.json"}


@dataclass(frozen=True)
class VistasLayout:
    """Locations of the annotation in one version of Vistas.

    Attributes:
        config: Path of the label configuration.
        version: Version of the annotation, v1.2 or v2.0.
        subfolder: Subfolder of a split's folder that contains ``panoptic`` and ``instances``; empty in older downloads.
    """

    config: Path
    version: VistasVersion
    subfolder: str

    @property
    def root(self) -> Path:
        """Data set folder."""
        return self.config.parent

    def panoptic_file(self, split: str) -> Path:
        """Return the path of a split's panoptic JSON file, which may not exist."""
        return self.root / split / self.subfolder / "panoptic" / PANOPTIC_FILE[self.version]

    def instance_folder(self, split: str) -> Path:
        """Return the path of a split's folder of instance PNGs, which may not exist."""
        return self.root / split / self.subfolder / "instances"

    def splits(self) -> list[str]:
        """Return the folders that contain images and annotation, sorted; ``testing`` has no annotation."""
        return sorted(
            folder.name
            for folder in subfolders(self.root)
            if (folder / "images").is_dir()
            and (self.panoptic_file(folder.name).is_file() or self.instance_folder(folder.name).is_dir())
        )


def find_layout(root: Path, version: VistasVersion) -> VistasLayout | None:
    """Return the layout of a version of Vistas in a folder; None if the folder does not contain it.

    In downloads from 2018 and earlier, the annotation later called v1.2 is next to ``config.json``, without a folder
    named after the version.
    """
    layouts = [VistasLayout(root / f"config_{version}.json", version, version)]
    if version == "v1.2":
        layouts.append(VistasLayout(root / "config.json", version, ""))
    return next((layout for layout in layouts if layout.config.is_file() and layout.splits()), None)


def open_vistas(layout: VistasLayout, split: str, limit: int | None = None) -> PanopticDataset:
    """Open one split from its panoptic JSON and PNGs or, if these are missing, from its instance PNGs.

    Stuff classes come first, then things, both in the order of the configuration. Labels that are not evaluated are
    void. Things with "group" in their name, and segments marked as crowd in the panoptic file, are crowd.

    Args:
        layout: Layout of the data set.
        split: Folder of the split, such as ``training``, or a unique prefix of its name.
        limit: Maximum number of images; only the first ones are used. None uses all.

    Raises:
        SeamsegError: The split is missing or ambiguous, a file contradicts itself or another file, no image or no PNG
            is found, or the limit is not positive.
    """
    name = choose_split(layout.splits(), split, layout.root)
    image_folder = layout.root / name / "images"
    if not layout.panoptic_file(name).is_file():
        return VistasInstances(layout.config, image_folder, layout.instance_folder(name), limit)
    return _open_panoptic(layout.config, layout.panoptic_file(name), image_folder, limit)


def _open_panoptic(config: Path, panoptic_file: Path, image_folder: Path, limit: int | None) -> PanopticSplit:
    labels = read_labels(config)
    categories, records = read_index(
        panoptic_file, lambda entries, path: class_table(labels, entries, path, config=config), [panoptic_file.parent]
    )
    records = first_images(records, limit)
    choose_folder([image_folder], (record.image_file for record in records), f"images of {panoptic_file}")
    return PanopticSplit(panoptic_file, categories, records, image_folder)
