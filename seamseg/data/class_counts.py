"""Number of pixels and objects of each class in a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.data.formats.annotated_dataset import AnnotatedDataset
from seamseg.data.formats.coco import PanopticSplit
from seamseg.data.json_fields import load_object
from seamseg.io.workers import available_cores, ordered_map
from seamseg.ops.id_maps import layered_segment_boxes
from seamseg.structures import VOID


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Counts over all images of a split.

    Attributes:
        pixels: S+T float64, the number of pixels of each class, crowd included.
        objects: T float64, the number of objects of each thing class, without crowd.
    """

    pixels: NDArray[np.float64]
    objects: NDArray[np.float64]


def count_classes(
    source: AnnotatedDataset, advance: Callable[[int, str], None] = lambda done, remark: None
) -> ClassCounts:
    """Count the pixels and objects of each class.

    The areas in a panoptic JSON file are used if it states all of them. Otherwise, the annotation of every image is
    read, in as many threads as there are cores.

    Args:
        source: Split of a data set.
        advance: Function called with the number of images read so far and an empty remark.

    Raises:
        SeamsegError, OSError: A file of the data set is wrong or cannot be read.
    """
    num_classes, num_stuff = len(source.categories), source.categories.num_stuff
    pixels, objects = np.zeros(num_classes), np.zeros(num_classes)
    for done, (classes, crowd, areas) in enumerate(_stated_segments(source) or _read_segments(source), start=1):
        known = classes != VOID
        pixels += np.bincount(classes[known], areas[known], num_classes)
        objects += np.bincount(classes[known & ~crowd], minlength=num_classes)
        advance(done, "")
    return ClassCounts(pixels, objects[num_stuff:])


_Segments = tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[Any]]
"""Class, crowd flag and area in pixels of each segment of an image."""


def _stated_segments(source: AnnotatedDataset) -> list[_Segments] | None:
    """Return the segments that a panoptic JSON file lists; None if it does not state all areas."""
    if not isinstance(source, PanopticSplit):
        return None
    entries = load_object(source.annotation_file)["annotations"]
    areas_of_image = {
        entry["image_id"]: {segment["id"]: segment.get("area") for segment in entry["segments_info"]}
        for entry in entries
    }
    found = []
    for record in source.records:
        segments = record.segments
        stated = areas_of_image[segments.image_id]
        areas = [stated[number] for number in segments.ids[1:].tolist()]
        if not all(isinstance(area, int | float) and 0 < area < 2**53 for area in areas):
            return None
        found.append((segments.classes[1:], segments.crowd[1:], np.array(areas, np.float64)))
    return found


def _read_segments(source: AnnotatedDataset) -> Iterator[_Segments]:
    cores = available_cores()
    return ordered_map(partial(_segments_of_image, source), range(len(source)), threads=cores, ahead=2 * cores)


def _segments_of_image(source: AnnotatedDataset, index: int) -> _Segments:
    annotation = source.read_annotation(index).as_layers()
    _, areas = layered_segment_boxes(annotation.ids, len(annotation.classes))
    return annotation.classes[1:].numpy(), annotation.crowd[1:].numpy(), areas[1:].numpy()
