"""What scores are counted from: how the segments of both sides share the pixels of an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.ops.overlaps import COLUMNS, border_band, map_overlaps
from seamseg.structures import VOID, PanopticSegmentation

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Overlaps:
    """T true and P predicted segments of one image, and the N pairs that share a pixel.

    Attributes:
        true_classes: T, 255 where void.
        true_crowd: T, segments that stand for many objects.
        predicted_classes: P, 255 where void.
        true, predicted: N, the segments of each pair.
        pixels: N, that they share.
        true_border, predicted_border, both_borders: N, those of them in the border of the true segment, of the
            predicted one, and of both; 0 where borders were not looked at.
    """

    true_classes: IntArray
    true_crowd: BoolArray
    predicted_classes: IntArray
    true: IntArray
    predicted: IntArray
    pixels: IntArray
    true_border: IntArray
    predicted_border: IntArray
    both_borders: IntArray

    @classmethod
    def of_table(
        cls, table: IntArray, true_classes: IntArray, true_crowd: BoolArray, predicted_classes: IntArray
    ) -> Overlaps:
        """From a table as :func:`seamseg.ops.overlaps.map_overlaps` makes it.

        Args:
            table: N×6, with positions in the other arguments instead of ids.
            true_classes, true_crowd, predicted_classes: as above.
        """
        assert table.shape[1] == COLUMNS
        true, predicted, pixels, true_border, predicted_border, both = table.T
        return cls(
            true_classes,
            true_crowd,
            predicted_classes,
            true,
            predicted,
            pixels,
            true_border,
            predicted_border,
            both,
        )

    @classmethod
    def between(cls, prediction: PanopticSegmentation, truth: PanopticSegmentation, borders: bool = False) -> Overlaps:
        """From id maps in memory, on any one device; predicted crowd, which no object stands behind, becomes void.

        Args:
            prediction, truth: both sides of an image.
            borders: whether to look at the segments' borders.

        Raises:
            ValueError: the two differ in size, or one contradicts itself: a pixel has an id without a class, classes
                and crowd flags differ in number, or segment 0 is not void.
        """
        for side in (prediction, truth):
            _check_lists(side)
        if prediction.size != truth.size:
            raise ValueError(
                f"the prediction is {prediction.size[0]}×{prediction.size[1]} pixels, the truth {truth.size[0]}×"
                f"{truth.size[1]}; they must be of one size"
            )
        table = map_overlaps(truth.ids, prediction.ids, border_band(truth.size) if borders else 0).numpy()
        for side, present in ((truth, table[:, 0]), (prediction, table[:, 1])):
            _check_ids(present, len(side.classes))
        classes = prediction.without_crowd().classes
        # Copies: what is kept of every image must not keep its maps, or the shared memory of a worker process, alive.
        crowd = truth.crowd.cpu().numpy().copy()
        return cls.of_table(table, _classes(truth.classes), crowd, _classes(classes))

    @property
    def num_true(self) -> int:
        return len(self.true_classes)

    @property
    def num_predicted(self) -> int:
        return len(self.predicted_classes)

    @property
    def class_pairs(self) -> tuple[IntArray, IntArray]:
        """N each: the class of every pair's true and predicted segment."""
        return self.true_classes[self.true], self.predicted_classes[self.predicted]

    def check_classes(self, num_classes: int) -> None:
        """Whether all classes are among 0 … C−1, or void.

        Raises:
            ValueError: one is not.
        """
        for classes in (self.predicted_classes, self.true_classes):
            foreign = classes[((classes < 0) | (classes >= num_classes)) & (classes != VOID)]
            if len(foreign):
                raise ValueError(f"a segment has the class {foreign[0]}, but the classes are 0 … {num_classes - 1}")


def _classes(values: torch.Tensor) -> IntArray:
    return values.cpu().numpy().astype(np.int64)


def _check_lists(segmentation: PanopticSegmentation) -> None:
    ids, classes, crowd = segmentation.ids, segmentation.classes, segmentation.crowd
    if ids.ndim != 2 or ids.numel() == 0:
        raise ValueError(f"an id map has a height and a width; this one has the shape {tuple(ids.shape)}")
    if classes.shape != crowd.shape or classes.ndim != 1:
        raise ValueError(
            f"segments need one class and one crowd flag each, but there are classes {tuple(classes.shape)} "
            f"and crowd flags {tuple(crowd.shape)}"
        )
    if int(classes[0]) != VOID:
        raise ValueError(f"segment 0 is void and has the class {VOID}, not {int(classes[0])}")


def _check_ids(present: IntArray, num_segments: int) -> None:
    """Check the ids of one side; those in a table of overlaps are all that its map has."""
    low, high = int(present.min()), int(present.max())
    if low < 0 or high >= num_segments:
        wrong = low if low < 0 else high
        raise ValueError(f"the id map holds segment {wrong}, but classes are known for 0 … {num_segments - 1}")
