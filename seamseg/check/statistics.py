"""Statistics of a data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.check.image import ImageReport
from seamseg.structures import Categories, Size


@dataclass
class ClassStatistics:
    """Sums over images; each array has one number per class.

    Attributes:
        images: Number of images that show the class.
        segments: Number of segments, including crowd.
        crowd: Number of crowd segments.
        pixels: Number of pixels.
        smallest: Area of the smallest segment that is not crowd, or 0 if there is none.
    """

    images: NDArray[np.int64]
    segments: NDArray[np.int64]
    crowd: NDArray[np.int64]
    pixels: NDArray[np.int64]
    smallest: NDArray[np.int64]

    @classmethod
    def zeros(cls, num_classes: int) -> ClassStatistics:
        """Create statistics without images."""
        return cls(*(np.zeros(num_classes, np.int64) for _ in range(5)))

    def add(self, report: ImageReport) -> None:
        """Add one image."""
        number = len(self.images)
        self.images[np.unique(report.classes)] += 1
        self.segments += np.bincount(report.classes, minlength=number)
        self.crowd += np.bincount(report.classes[report.crowd], minlength=number)
        np.add.at(self.pixels, report.classes, report.areas)
        whole = ~report.crowd
        smallest = np.full(number, np.iinfo(np.int64).max)
        np.minimum.at(smallest, report.classes[whole], report.areas[whole])
        seen = np.where(self.smallest == 0, smallest, np.minimum(self.smallest, smallest))
        self.smallest = np.where(seen == np.iinfo(np.int64).max, 0, seen)


@dataclass
class SplitStatistics:
    """Sums over the images of a split.

    Attributes:
        name: Name of the split.
        images: Number of listed images.
        annotated: Number of listed images with an annotation.
        segments: Number of segments in all images.
        objects: Number of thing segments that are not crowd in all images.
        most_objects: Maximum number of objects in one image.
        pixels: Number of pixels in all annotated images.
        labeled_pixels: Number of labeled pixels in these images; an image with an unreadable annotation counts as 0.
        smallest_size: Height and width of the image with the fewest pixels.
        largest_size: Height and width of the image with the most pixels.
    """

    name: str
    images: int
    annotated: int
    segments: int = 0
    objects: int = 0
    most_objects: int = 0
    pixels: int = 0
    labeled_pixels: int = 0
    smallest_size: Size | None = None
    largest_size: Size | None = None

    def add(self, report: ImageReport, num_stuff: int) -> None:
        """Add one image."""
        objects = int(((report.classes >= num_stuff) & ~report.crowd).sum())
        self.segments += len(report.classes)
        self.objects += objects
        self.most_objects = max(self.most_objects, objects)
        self.pixels += report.size[0] * report.size[1]
        self.labeled_pixels += report.labeled_pixels
        sizes = [one for one in (self.smallest_size, self.largest_size, report.size) if one is not None]
        self.smallest_size = min(sizes, key=lambda one: one[0] * one[1])
        self.largest_size = max(sizes, key=lambda one: one[0] * one[1])

    def to_dict(self) -> dict[str, Any]:
        """Convert the statistics to values that JSON can represent."""
        return {
            "name": self.name,
            "images": self.images,
            "annotated": self.annotated,
            "segments": self.segments,
            "objects": self.objects,
            "most_objects": self.most_objects,
            "labeled": self.labeled_pixels / max(1, self.pixels),
            "smallest_size": self.smallest_size,
            "largest_size": self.largest_size,
        }


@dataclass
class CheckStatistics:
    """Statistics of a data set.

    Attributes:
        categories: Categories of the first split, or None until a split has been read.
        classes: Statistics per class over all checked splits with these categories.
        splits: Statistics of each split, in the order in which the splits are checked.
    """

    categories: Categories | None = None
    classes: ClassStatistics = field(default_factory=lambda: ClassStatistics.zeros(0))
    splits: list[SplitStatistics] = field(default_factory=list)

    def class_rows(self) -> list[dict[str, Any]]:
        """Create one row per class, in network order."""
        if self.categories is None:
            return []
        labeled = max(1, int(self.classes.pixels.sum()))
        return [
            {
                "name": category.name,
                "isthing": int(category.is_thing),
                "id": category.original_id,
                "images": int(self.classes.images[number]),
                "segments": int(self.classes.segments[number]),
                "crowd": int(self.classes.crowd[number]),
                "pixels": int(self.classes.pixels[number]),
                "share": int(self.classes.pixels[number]) / labeled,
                "smallest": int(self.classes.smallest[number]),
            }
            for number, category in enumerate(self.categories.classes)
        ]
