"""Interface of all data sets on disk, and what their annotation must contain for each task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from seamseg.errors import DataError
from seamseg.structures import Categories, ImageId, LayeredSegmentation, PanopticSegmentation, Size


@dataclass(frozen=True)
class Content:
    """What the annotation of a data set contains.

    Attributes:
        boxes: Whether objects are separate, so that each has a box.
        masks: Whether objects have the pixels that belong to them, not only a box.
        classes: Whether every labeled pixel has one class, so that segments do not overlap. If not, pixels without an
            object are background.
    """

    boxes: bool
    masks: bool
    classes: bool

    def lacks(self, needed: Content) -> list[str]:
        """Return what is missing of the needed content, in words."""
        names = {"boxes": "separate objects", "masks": "object outlines", "classes": "pixel classes"}
        return [words for name, words in names.items() if getattr(needed, name) and not getattr(self, name)]


PANOPTIC = Content(boxes=True, masks=True, classes=True)
INSTANCES = Content(boxes=True, masks=True, classes=False)
BOXES = Content(boxes=True, masks=False, classes=False)
CLASSES = Content(boxes=False, masks=False, classes=True)

NEEDED_CONTENT = {"panoptic": PANOPTIC, "instance": INSTANCES, "detection": BOXES, "semantic": CLASSES}
"""Content that training and scoring need, by task."""

CONVERSIONS = {"Cityscapes": "cityscapes", "COCO detection": "detection", "class map": "masks"}
"""Subcommand of ``seamseg convert`` that makes panoptic data of a kind of data, by its title."""


class AnnotatedDataset(Protocol):
    """Annotated images of one split, by index 0 … N − 1; :mod:`seamseg.data.formats.open` opens them."""

    @property
    def title(self) -> str:
        """Kind of the data for messages, such as ``COCO detection``."""

    @property
    def content(self) -> Content:
        """What the annotation contains, the same for all images."""

    @property
    def categories(self) -> Categories:
        """Categories, the same for all splits of a data set."""

    @property
    def sizes(self) -> list[Size]:
        """Height and width of every image, as stated by the data set."""

    def __len__(self) -> int: ...

    def image_id(self, index: int) -> ImageId:
        """Return the data set's own id of an image, which is unique."""

    def image_path(self, index: int) -> Path:
        """Return the path of an image; whether the file exists is not checked."""

    def annotation_path(self, index: int) -> Path:
        """Return the path of the file with an image's annotation."""

    def read_image(self, index: int) -> NDArray[np.uint8]:
        """Read an image as H×W×3 uint8 RGB, as stored, or upright if only that fits the annotation.

        Raises:
            BrokenImageError: The file is missing or cannot be decoded.
            SeamsegError: Its size is not the one that the data set states.
        """

    def read_annotation(self, index: int) -> PanopticSegmentation | LayeredSegmentation:
        """Read the segments of an image, with int32 ids renumbered 0 … K; every segment except void has a pixel.

        Raises:
            BrokenImageError: The file of segment ids is missing or cannot be decoded.
            SeamsegError: Its size is not that of the image, or it contains ids that the data set does not describe.
        """


@runtime_checkable
class ListsClasses(Protocol):
    """Data set that knows which classes an image shows without reading its pixels."""

    def listed_classes(self, index: int) -> list[int]:
        """Return the classes of the segments of an image that are not crowd, with repetitions."""


class PanopticDataset(AnnotatedDataset, Protocol):
    """Data set whose segments do not overlap: panoptic data, and semantic data with one segment per class."""

    def read_annotation(self, index: int) -> PanopticSegmentation:
        """Read the segments of an image; see :meth:`AnnotatedDataset.read_annotation`."""


def require_for_task(source: AnnotatedDataset, task: str, where: str) -> None:
    """Check that the annotation of a split contains what a task needs.

    Args:
        source: Split of a data set.
        task: Key of :data:`NEEDED_CONTENT`.
        where: Split and data set folder, for the error message.

    Raises:
        SeamsegError: It does not.
    """
    needed = NEEDED_CONTENT[task]
    lacking = source.content.lacks(needed)
    if lacking:
        fitting = [name for name, other in NEEDED_CONTENT.items() if not source.content.lacks(other)]
        conversion = CONVERSIONS.get(source.title)
        hint = f", or convert it to panoptic data with `seamseg convert {conversion}`" if conversion else ""
        raise DataError(
            f"{where} is {source.title} data, which has no {' and no '.join(lacking)}, as task={task} requires; "
            f"set task={' or task='.join(fitting)}{hint}"
        )
    if needed.boxes and not needed.classes and not source.categories.num_things:
        raise DataError(
            f"{where} has no thing classes, as task={task} requires; use other data, mark the countable classes as "
            "things, or set task=semantic"
        )


def require_listed_classes(source: AnnotatedDataset, setting: str) -> ListsClasses:
    """Return the data set as one that lists the classes of its images.

    Args:
        source: Split of a data set.
        setting: Setting that requires it, for the error message.

    Raises:
        SeamsegError: Its classes are only known from the pixels of all images.
    """
    if not isinstance(source, ListsClasses):
        conversion = CONVERSIONS.get(source.title)
        hint = f"convert it to panoptic data with `seamseg convert {conversion}`" if conversion else "use other data"
        raise DataError(
            f"{setting} requires annotation that lists the classes of each image, such as a COCO JSON file, but "
            f"{source.title} data such as {source.annotation_path(0)} states them only in its pixels; {hint}"
        )
    return source


def require_no_overlaps(source: AnnotatedDataset, where: str) -> PanopticDataset:
    """Return the data set as one whose segments do not overlap.

    Raises:
        SeamsegError: Its segments may overlap.
    """
    if not source.content.classes:
        raise DataError(
            f"{where} is {source.title} data, whose objects may overlap; `seamseg convert detection` makes panoptic "
            "data of it"
        )
    return source  # type: ignore[return-value]  # the content tells which kind of segments it returns
