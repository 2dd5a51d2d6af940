"""Mean intersection over union of pixel classes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from seamseg.metrics.overlaps import IntArray, Overlaps
from seamseg.ops.overlaps import map_overlaps
from seamseg.structures import VOID


class ConfusionMatrix:
    """Counts pixels by true and predicted class.

    Attributes:
        state: C×(C+1) int64 on the CPU: pixels of true class (row) by predicted class (column); the last column holds
            pixels predicted as void, which are misses. Adding the states of several ranks gives that of all images.

    Args:
        num_classes: C.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.state = torch.zeros(num_classes, num_classes + 1, dtype=torch.int64)

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Counts one image.

        Args:
            prediction: H×W integers, classes 0 … C−1, or 255 where none is predicted.
            truth: H×W integers, classes 0 … C−1, or 255 where nothing is known: such pixels are ignored.

        Raises:
            ValueError: the two differ in size, or a class is not one of the C.
        """
        if prediction.shape != truth.shape:
            raise ValueError(
                f"the prediction has the shape {tuple(prediction.shape)}, the truth {tuple(truth.shape)}; "
                "they must be of one size"
            )
        true, predicted, pixels = map_overlaps(truth, prediction)[:, :3].numpy().T
        self._count(true, predicted, pixels)

    def count(self, overlaps: Overlaps) -> None:
        """Counts one image, given how its segments overlap; crowd has its class like any segment.

        Raises:
            ValueError: a class is not one of the C.
        """
        self._count(*overlaps.class_pairs, overlaps.pixels)

    def merge(self, state: Tensor) -> None:
        """Adds what another instance counted."""
        self.state += state

    def iou(self) -> Tensor:
        """C float64: intersection over union per class, NaN for a class without any true or predicted pixel."""
        matrix = self.state.double()
        hits = matrix.diagonal()
        return hits / (matrix.sum(1) + matrix[:, : self.num_classes].sum(0) - hits)

    def mean_iou(self) -> float:
        """The mean over the classes that have a true or predicted pixel; NaN if there is none."""
        return float(self.iou().nanmean())

    def _count(self, true: IntArray, predicted: IntArray, pixels: IntArray) -> None:
        known = true != VOID
        true, predicted, pixels = true[known], predicted[known], pixels[known]
        for classes in (true, predicted[predicted != VOID]):
            self._check(classes)
        columns = np.where(predicted == VOID, self.num_classes, predicted)
        np.add.at(self.state.numpy(), (true, columns), pixels)

    def _check(self, classes: IntArray) -> None:
        wrong = classes[(classes < 0) | (classes >= self.num_classes)]
        if len(wrong):
            raise ValueError(f"a pixel has the class {wrong[0]}, but the classes are 0 … {self.num_classes - 1}")
