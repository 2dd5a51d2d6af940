"""The form in which metrics take both sides, prediction and truth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.structures import VOID, GroundTruth, PanopticSegmentation


@dataclass(frozen=True)
class Segments:
    """An image cut into segments.

    Attributes:
        ids: H×W, any integer type, the segment of every pixel, 0 … K.
        classes: K+1 int64, the class of each id; 255 marks void, id 0 is void always.
        crowd: K+1 bool, segments that stand for many objects.

    Raises:
        ValueError: a pixel names a segment that is not listed, the lists differ in length, or id 0 is not void.
    """

    ids: Tensor
    classes: Tensor
    crowd: Tensor

    def __post_init__(self) -> None:
        if self.ids.ndim != 2 or self.ids.numel() == 0:
            raise ValueError(f"an id map has a height and a width; this one has the shape {tuple(self.ids.shape)}")
        if self.classes.shape != self.crowd.shape or self.classes.ndim != 1:
            raise ValueError(
                f"segments need one class and one crowd flag each, but there are classes {tuple(self.classes.shape)} "
                f"and crowd flags {tuple(self.crowd.shape)}"
            )
        low, high = (int(bound) for bound in torch.aminmax(self.ids))
        if low < 0 or high >= len(self.classes):
            wrong = low if low < 0 else high
            raise ValueError(f"the id map holds segment {wrong}, but classes are known for 0 … {len(self.classes) - 1}")
        if int(self.classes[0]) != VOID:
            raise ValueError(f"segment 0 is void and has the class {VOID}, not {int(self.classes[0])}")

    @classmethod
    def of_truth(cls, truth: GroundTruth, image: int) -> Segments:
        """One image of a batch's annotation."""
        return cls(truth.ids.entry(image)[0], truth.classes.entry(image), truth.crowd.entry(image))

    @classmethod
    def of_prediction(cls, segmentation: PanopticSegmentation) -> Segments:
        return cls(segmentation.ids, segmentation.classes, segmentation.crowd)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.ids.shape[0], self.ids.shape[1]

    def without_crowd(self) -> Segments:
        """The same with crowd segments turned into void."""
        classes = self.classes.masked_fill(self.crowd, VOID)
        return Segments(self.ids, classes, torch.zeros_like(self.crowd))

    def class_map(self) -> Tensor:
        """H×W int64, the class of every pixel, 255 where void."""
        return self.classes[self.ids.long()]
