"""Mapillary Vistas from its PNGs of instances: 16 bits, the label's number times 256 plus that of the instance."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from seamseg.data.annotation import Annotation
from seamseg.data.image_size import png_size
from seamseg.data.images import BrokenImageError, decode_file
from seamseg.data.input_folder import existing_suffix, is_leftover
from seamseg.data.json_fields import check_file_names
from seamseg.data.labels.vistas import categories_of, read_labels
from seamseg.data.split_names import first_images
from seamseg.data.stated_size import check_size, read_sized_image, size_text
from seamseg.structures import VOID, Size

INSTANCES_PER_LABEL = 256
NUM_VALUES = 2**16


class VistasInstances:
    """Annotated images as :class:`seamseg.data.annotated_images.AnnotatedImages` describes them.

    The images are those with a file of instances, sorted by name, which is their id. All regions of a stuff class in
    an image are one segment.

    Args:
        config: the configuration of the labels.
        image_folder: of the photographs, ``NAME.jpg``.
        instance_folder: of the annotation, ``NAME.png``.
        limit: take only that many images, the first ones.

    Raises:
        ValueError: the configuration is wrong, there is no file of instances, one is no PNG, or the limit is not
            positive.
    """

    def __init__(self, config: Path, image_folder: Path, instance_folder: Path, limit: int | None = None) -> None:
        self.config = config
        self.labels = read_labels(config)
        self.categories = categories_of(self.labels, range(len(self.labels)))
        self.image_folder, self.instance_folder = image_folder, instance_folder
        files = (path for path in instance_folder.iterdir() if not is_leftover(path))
        self.names = first_images(sorted(path.stem for path in files if path.suffix.lower() == ".png"), limit)
        if not self.names:
            raise ValueError(f"{instance_folder} holds no PNG files of instances")
        check_file_names(self.names, str(instance_folder))
        self.sizes: list[Size] = [png_size(self.annotation_path(index)) for index in range(len(self.names))]

    def __len__(self) -> int:
        return len(self.names)

    def image_id(self, index: int) -> str:
        return self.names[index]

    def image_path(self, index: int) -> Path:
        return existing_suffix(self.image_folder / f"{self.names[index]}.jpg")

    def annotation_path(self, index: int) -> Path:
        return existing_suffix(self.instance_folder / f"{self.names[index]}.png")

    def read_image(self, index: int) -> NDArray[np.uint8]:
        return read_sized_image(self.image_path(index), self.sizes[index], str(self.annotation_path(index)))

    def read_annotation(self, index: int) -> Annotation:
        path = self.annotation_path(index)
        pixels = decode_file(path, cv2.IMREAD_UNCHANGED)
        if pixels.ndim != 2 or pixels.dtype != np.uint16:
            raise BrokenImageError(path, "is no grey image of 16 bits, which holds label and instance of each pixel")
        check_size(path, pixels.shape, self.sizes[index], f"its first bytes say {size_text(self.sizes[index])}")
        values = np.flatnonzero(np.bincount(pixels.ravel(), minlength=NUM_VALUES))
        segment_of_value, classes, crowd = self._segments(values.tolist(), path)
        return Annotation(segment_of_value[pixels], np.array(classes, np.int64), np.array(crowd, np.bool_))

    def _segments(self, values: list[int], path: Path) -> tuple[NDArray[np.int32], list[int], list[bool]]:
        """The segment of each possible value, and class and crowd of each segment."""
        segment_of_value = np.zeros(NUM_VALUES, np.int32)
        classes, crowd = [VOID], [False]
        for value in values:
            number = value // INSTANCES_PER_LABEL
            if number >= len(self.labels):
                raise ValueError(f"{path} holds the value {value}, of label {number}; {self.config} ends before it")
            label = self.labels[number]
            if not label.counts:
                continue
            category = self.categories.class_of_original_id[number]
            if label.is_thing or classes[-1] != category:
                classes.append(category)
                crowd.append(label.is_crowd)
            segment_of_value[value] = len(classes) - 1
        return segment_of_value, classes, crowd
