"""Conversion of COCO detection annotations and stuff maps to COCO panoptic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as run_lengths

from seamseg.convert.detection_source import (
    WITHOUT_OUTLINE_HINT,
    DetectionImage,
    detection_categories,
    read_detection,
)
from seamseg.convert.job import Job
from seamseg.convert.panoptic_target import PanopticTarget, number_segments
from seamseg.data.formats.coco_writer import distinct_values
from seamseg.data.formats.detection_json import unpack_objects
from seamseg.data.formats.outlines import (
    OutlineError,
    WithoutOutline,
    annotation_text,
    read_outline,
    replace_outlines,
)
from seamseg.data.images import check_size, size_text
from seamseg.data.json_fields import flag_field
from seamseg.data.png import UNLABELED, color_text, read_label_map
from seamseg.errors import DataError, SeamsegError
from seamseg.io.journal import ItemOutput
from seamseg.structures import VOID, Categories, PanopticSegmentation, Size


@dataclass(frozen=True)
class DetectionSource:
    """Source files of one split.

    Attributes:
        annotations: JSON file with the annotated objects.
        images: Folder of the images.
        stuff_maps: Folder of PNG files with category ids as pixel values. None if stuff is part of the annotations.
        categories: JSON file that states which categories are things. None if the annotations state it.
        stuff_values: Category id (0 for void) of each pixel value in the stuff maps. None if the values are category
            ids.
        without_outline: Treatment of objects with a missing or invalid outline.
    """

    annotations: Path
    images: Path
    stuff_maps: Path | None = None
    categories: Path | None = None
    stuff_values: dict[int, int] | None = None
    without_outline: WithoutOutline = "error"


@dataclass(frozen=True)
class _Conversion:
    """Converter of single images; holds what all images of a split share."""

    annotations: Path
    target: PanopticTarget
    categories: Categories
    stuff_values: dict[int, int]
    without_outline: WithoutOutline

    def __call__(self, image: DetectionImage) -> ItemOutput:
        stuff = None if image.stuff_map is None else _stuff_classes(image, self.categories, self.stuff_values)
        try:
            objects, num_replaced = replace_outlines(unpack_objects(image.objects), image.size, self.without_outline)
            segmentation, num_hidden = segments_of_objects(objects, image.size, self.categories, stuff)
        except OutlineError as error:
            raise DataError(f"{self.annotations}: {error}; {WITHOUT_OUTLINE_HINT}") from error
        except SeamsegError as error:
            raise DataError(f"{self.annotations}: {error}") from error
        annotation = image.stuff_map or Path(image.image_file)
        written = self.target.write(
            image.image_id,
            image.image_path,
            image.image_file,
            annotation,
            segmentation,
            self.categories,
            num_hidden=num_hidden,
            png_file=image.png_file,
        )
        return replace(written, num_replaced=num_replaced)


def detection_job(source: DetectionSource, target: PanopticTarget) -> Job[DetectionImage]:
    """Create the job that converts one split.

    Raises:
        SeamsegError: A JSON file is invalid.
    """
    categories = detection_categories(source.annotations, source.categories)
    without_outline = source.without_outline
    images = read_detection(source.annotations, source.images, source.stuff_maps, without_outline != "error")
    stuff_values = source.stuff_values or {
        category.original_id: category.original_id for category in categories.classes
    }
    unknown = set(stuff_values.values()) - {0} - set(categories.class_of_original_id)
    if unknown:
        raise DataError(f"the stuff values refer to category {min(unknown)}, which does not exist")
    return Job(
        title=target.split,
        description="from objects and stuff",
        result=target.json_file,
        head={"categories": categories.to_list()},
        items=images,
        convert=_Conversion(source.annotations, target, categories, stuff_values, without_outline),
        # Default options are left out, so that conversions by earlier versions still count as complete.
        options={"placement": target.placement, "stuff": sorted(stuff_values.items())}
        | ({} if without_outline == "error" else {"without_outline": without_outline}),
    )


def _stuff_classes(image: DetectionImage, categories: Categories, values_to_ids: dict[int, int]) -> NDArray[np.int64]:
    """Read the stuff map of an image as H×W classes, with 255 for void and for things."""
    assert image.stuff_map is not None
    stuff_map = read_label_map(image.stuff_map)
    check_size(image.stuff_map, stuff_map.shape, image.size, f"the annotations state {size_text(image.size)}")
    values, positions = distinct_values(stuff_map)
    classes = []
    for value in values.tolist():
        if value not in values_to_ids and value not in (UNLABELED, 0, 255):
            shown = value if value < 2**16 else f"{value} (the color {color_text(value)})"
            raise DataError(
                f"{image.stuff_map} contains the value {shown}, which is neither a category id nor void (0 or 255)"
            )
        number = categories.class_of_original_id.get(values_to_ids.get(value, 0), VOID)
        classes.append(number if number < categories.num_stuff else VOID)
    return np.array(classes, np.int64)[positions]


def segments_of_objects(
    objects: list[dict[str, Any]], size: Size, categories: Categories, stuff: NDArray[np.int64] | None
) -> tuple[PanopticSegmentation, int]:
    """Combine overlapping objects and stuff into one segmentation.

    Painting goes from back to front: stuff map, annotated stuff, crowds, objects. Within each group, large segments
    are painted before small ones, because a small segment that overlaps a large one is more likely in front of it.

    Args:
        objects: COCO annotations with polygons or run lengths.
        size: Height and width of the image.
        categories: Categories of the data set.
        stuff: H×W stuff classes, with 255 for pixels without one. None if the image has no stuff map.

    Returns:
        The segmentation, and the number of objects that are completely hidden.

    Raises:
        SeamsegError: An annotation is invalid.
    """
    masks = [_read_mask(entry, size, categories) for entry in objects]
    return segments_of_masks(smaller_in_front(masks, categories), size, categories, stuff)


def segments_of_masks(
    masks: Sequence[ObjectMask], size: Size, categories: Categories, stuff: NDArray[np.int64] | None = None
) -> tuple[PanopticSegmentation, int]:
    """Paint masks over each other. Each thing is a segment, and the masks of a stuff class are one segment.

    Args:
        masks: Masks from back to front.
        size: Height and width of the image.
        categories: Categories of the data set.
        stuff: H×W stuff classes behind the masks, with 255 for pixels without one. None if the image has no stuff map.

    Returns:
        The segmentation, and the number of things that are completely hidden.
    """
    owners = np.zeros(size, np.int64) if stuff is None else np.where(stuff == VOID, 0, stuff + 1)
    things: list[ObjectMask] = []  # owners are 0 void, 1 … S stuff, then things
    for mask in masks:
        if mask.is_thing(categories):
            things.append(mask)
            mask.paint(owners, categories.num_stuff + len(things))
        else:
            mask.paint(owners, 0 if mask.number == VOID else mask.number + 1)
    numbers = [*range(categories.num_stuff), *(mask.number for mask in things)]
    ids, present = number_segments(owners)
    first_thing = categories.num_stuff + 1
    crowd = [owner >= first_thing and things[owner - first_thing].crowd for owner in present]
    shown = torch.tensor([VOID, *(numbers[owner - 1] for owner in present)])
    num_hidden = len(things) - sum(owner >= first_thing for owner in present)
    return PanopticSegmentation(ids, shown, torch.tensor([False, *crowd])), num_hidden


def smaller_in_front(masks: Iterable[ObjectMask], categories: Categories) -> list[ObjectMask]:
    """Sort masks from back to front: stuff, crowds, objects; within each group, large masks before small ones."""

    def depth(mask: ObjectMask) -> tuple[bool, bool, int]:
        is_thing = mask.is_thing(categories)
        return is_thing, is_thing and not mask.crowd, -mask.area

    return sorted(masks, key=depth)


@dataclass(frozen=True, eq=False)
class ObjectMask:
    """Pixels of one annotation, stored as run lengths and decoded when painted.

    Attributes:
        number: Class; 255 for pixels that become void.
        crowd: Whether it covers many objects.
        counts: COCO's compressed run lengths.
    """

    number: int
    crowd: bool
    counts: dict[str, Any]

    @cached_property
    def area(self) -> int:
        """Number of pixels."""
        return int(run_lengths.area(self.counts))

    def is_thing(self, categories: Categories) -> bool:
        """Return whether the class is a thing."""
        return categories.num_stuff <= self.number < VOID

    def paint(self, canvas: NDArray[np.int64], value: int) -> None:
        """Set the pixels of the mask."""
        canvas[run_lengths.decode(self.counts).astype(np.bool_)] = value


def _read_mask(entry: dict[str, Any], size: Size, categories: Categories) -> ObjectMask:
    where = annotation_text(entry)
    number = categories.class_of_original_id.get(entry["category_id"])
    if number is None:
        raise DataError(f"{where}: category_id {entry['category_id']} is not among the categories")
    crowd = "iscrowd" in entry and flag_field(entry, "iscrowd", where)
    return ObjectMask(number, crowd, read_outline(entry["segmentation"], size, where))
