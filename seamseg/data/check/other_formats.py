"""Data sets without panoptic JSON files: what their reader refuses is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seamseg.data.annotated_images import AnnotatedImages
from seamseg.data.annotation import Annotation
from seamseg.data.check.findings import Findings
from seamseg.data.check.image import MOST_SEGMENTS, ImageReport
from seamseg.data.check.split import ImageTask
from seamseg.data.images import TWELVE_BITS, BrokenImageError, has_twelve_bits
from seamseg.structures import VOID


def numbered_tasks(source: AnnotatedImages) -> list[ImageTask]:
    """The images of a split."""
    return [
        ImageTask(
            index, source.image_path(index).name, source.image_path(index), source.annotation_path(index), size, []
        )
        for index, size in enumerate(source.sizes)
    ]


@dataclass(frozen=True)
class ReaderChecker:
    """Reads images as training would.

    Attributes:
        source: the split.
        limit: examples that are kept of each kind of fault.
    """

    source: AnnotatedImages
    limit: int

    def __call__(self, task: ImageTask) -> ImageReport:
        findings = Findings(self.limit)
        image_fits = self._photograph_fits(task, findings)
        annotation = self._annotation(task, findings)
        if annotation is None:
            none = np.zeros(0, np.int64)
            return ImageReport(findings, False, none, none, none.astype(np.bool_), task.size)
        kept = annotation.classes != VOID
        areas = np.bincount(annotation.ids.ravel(), minlength=len(kept))[kept]
        classes, crowd = annotation.classes[kept], annotation.crowd[kept]
        self._judge(classes, crowd & (classes < self.source.categories.num_stuff), findings)
        return ImageReport(findings, image_fits, classes, areas, crowd, task.size)

    def annotation(self, task: ImageTask) -> Annotation:
        """The segments of an image that has no fault."""
        return self.source.read_annotation(task.index)

    def _photograph_fits(self, task: ImageTask, findings: Findings) -> bool:
        try:
            pixels = self.source.read_image(task.index)
            if has_twelve_bits(task.photograph, pixels):
                findings.add("dark-image", f"its largest value is below {TWELVE_BITS} of 65535")
        except BrokenImageError as error:
            findings.add("broken-image" if task.photograph.is_file() else "missing-image", str(error))
            return False
        except ValueError as error:
            findings.add("image-size", str(error))
            return False
        return True

    def _annotation(self, task: ImageTask, findings: Findings) -> Annotation | None:
        try:
            return self.source.read_annotation(task.index)
        except BrokenImageError as error:
            findings.add("broken-png" if task.png.is_file() else "missing-png", str(error))
        except ValueError as error:
            findings.add("unreadable-annotation", str(error))
        return None

    def _judge(self, classes: np.ndarray, crowd_stuff: np.ndarray, findings: Findings) -> None:
        if crowd_stuff.any():
            findings.add("crowd-on-stuff", f"{crowd_stuff.sum()} segments", int(crowd_stuff.sum()))
        if len(classes) > MOST_SEGMENTS:
            findings.add("too-many-segments", f"{len(classes)} segments")
        if not len(classes):
            findings.add("empty-image", "every pixel is void")
        elif not (classes >= self.source.categories.num_stuff).any():
            findings.add("image-without-things", f"{len(classes)} segments of stuff")
