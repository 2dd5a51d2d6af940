"""Overlaps between the true and the predicted segments of images, from which all scores are computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.ops.overlaps import border_band, map_overlaps
from seamseg.structures import VOID, PanopticSegmentation

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Overlaps:
    """T true and P predicted segments of one or several images, and the N pairs that share a pixel.

    Several images are scored at once because NumPy takes about as long for the few segments of one image as for those
    of fifty.

    Attributes:
        true_classes: Classes of the true segments, T; 255 for void.
        true_crowd: Whether each true segment is a crowd of many objects, T.
        predicted_classes: Classes of the predicted segments, P; 255 for void.
        true_images, predicted_images: Number of the image of each segment, T and P, ascending from 0. Every image has
            at least one true segment; it may be void.
        true, predicted: Indices of the true and of the predicted segment of each pair, N.
        pixels: Number of pixels that each pair shares, N.
        true_border, predicted_border, both_borders: Number of these pixels in the border of the true segment, of the
            predicted segment, and of both, N; 0 if borders were not computed.
    """

    true_classes: IntArray
    true_crowd: BoolArray
    predicted_classes: IntArray
    true_images: IntArray
    predicted_images: IntArray
    true: IntArray
    predicted: IntArray
    pixels: IntArray
    true_border: IntArray
    predicted_border: IntArray
    both_borders: IntArray

    @classmethod
    def between(cls, prediction: PanopticSegmentation, truth: PanopticSegmentation, borders: bool = False) -> Overlaps:
        """Compute the overlaps of two id maps on the same device.

        Predicted crowd becomes void, because it is not a detected object.

        Args:
            prediction: Predicted segmentation.
            truth: Annotation.
            borders: Also count the pixels in the borders of the segments.

        Raises:
            ValueError: The sizes differ, or a segmentation is inconsistent: a pixel has an id without a class, the
                numbers of classes and crowd flags differ, or segment 0 is not void.
        """
        for side in (prediction, truth):
            _check_lists(side)
        if prediction.size != truth.size:
            raise ValueError(
                f"the prediction is {prediction.size[0]}×{prediction.size[1]} pixels, but the truth is "
                f"{truth.size[0]}×{truth.size[1]}; both must have the same size"
            )
        table = map_overlaps(truth.ids, prediction.ids, border_band(truth.size) if borders else 0).numpy()
        for side, present in ((truth, table[:, 0]), (prediction, table[:, 1])):
            _check_ids(present, len(side.classes))
        classes = prediction.without_crowd().classes
        # Copies, so that the overlaps do not keep the maps or the shared memory of a worker process alive.
        crowd = truth.crowd.cpu().numpy().copy()
        first_image = (np.zeros(len(side.classes), np.int64) for side in (truth, prediction))
        return cls(_classes(truth.classes), crowd, _classes(classes), *first_image, *table.T)

    @property
    def num_true(self) -> int:
        """Number of true segments T."""
        return len(self.true_classes)

    @property
    def num_predicted(self) -> int:
        """Number of predicted segments P."""
        return len(self.predicted_classes)

    @property
    def num_images(self) -> int:
        """Number of images I."""
        return int(self.true_images[-1]) + 1

    @property
    def class_pairs(self) -> tuple[IntArray, IntArray]:
        """Classes of the true and of the predicted segment of each pair, N each."""
        return self.true_classes[self.true], self.predicted_classes[self.predicted]

    def cells(self, num_classes: int) -> tuple[IntArray, IntArray]:
        """Return the index of each true and of each predicted segment that is not void into an I×C table, T and P."""
        return (
            self.true_images * num_classes + self.true_classes,
            self.predicted_images * num_classes + self.predicted_classes,
        )

    def check_classes(self, num_classes: int) -> None:
        """Check that all classes are 0 … C-1 or void.

        Args:
            num_classes: Number of classes C.

        Raises:
            ValueError: A class is out of range.
        """
        for classes in (self.predicted_classes, self.true_classes):
            foreign = classes[((classes < 0) | (classes >= num_classes)) & (classes != VOID)]
            if len(foreign):
                raise ValueError(f"a segment has class {foreign[0]}, but the classes are 0 … {num_classes - 1}")


def _classes(values: torch.Tensor) -> IntArray:
    return values.cpu().numpy().astype(np.int64)


def _check_lists(segmentation: PanopticSegmentation) -> None:
    ids, classes, crowd = segmentation.ids, segmentation.classes, segmentation.crowd
    if ids.ndim != 2 or ids.numel() == 0:
        raise ValueError(f"an id map must have a height and a width, but this one has the shape {tuple(ids.shape)}")
    if classes.shape != crowd.shape or classes.ndim != 1:
        raise ValueError(
            f"each segment needs one class and one crowd flag, but the classes have the shape {tuple(classes.shape)} "
            f"and the crowd flags {tuple(crowd.shape)}"
        )
    if int(classes[0]) != VOID:
        raise ValueError(f"segment 0 must be void (class {VOID}), not class {int(classes[0])}")


def _check_ids(present: IntArray, num_segments: int) -> None:
    """Check the ids of one side. A table of overlaps contains every id of the map."""
    low, high = int(present.min()), int(present.max())
    if low < 0 or high >= num_segments:
        wrong = low if low < 0 else high
        raise ValueError(f"the id map contains segment {wrong}, but only 0 … {num_segments - 1} have classes")
