"""Confusion matrix and mean intersection over union of pixel classes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from seamseg.metrics.overlaps import IntArray, Overlaps
from seamseg.ops.overlaps import map_overlaps
from seamseg.structures import VOID


class ConfusionMatrix:
    """Numbers of pixels by true and predicted class.

    Attributes:
        state: Numbers of pixels by true class (row) and predicted class (column), C×(C+1) int64 on the CPU. The last
            column counts pixels that are predicted as void, which are misses. Adding the states of several ranks gives
            the state of all images.

    Args:
        num_classes: Number of classes C.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.state = torch.zeros(num_classes, num_classes + 1, dtype=torch.int64)

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Add one image.

        Args:
            prediction: Predicted classes 0 … C-1, H×W integers; 255 where no class is predicted.
            truth: True classes 0 … C-1, H×W integers; 255 for unlabeled pixels, which are ignored.

        Raises:
            ValueError: The sizes differ, or a class is out of range.
        """
        if prediction.shape != truth.shape:
            raise ValueError(
                f"the prediction has the shape {tuple(prediction.shape)}, but the truth has {tuple(truth.shape)}; "
                "both must have the same size"
            )
        true, predicted, pixels = map_overlaps(truth, prediction)[:, :3].numpy().T
        self._count(true, predicted, pixels)

    def count(self, overlaps: Overlaps) -> None:
        """Add one image from the overlaps of its segments. Crowd counts as its class, like any other segment.

        Raises:
            ValueError: A class is out of range.
        """
        self._count(*overlaps.class_pairs, overlaps.pixels)

    def merge(self, state: Tensor) -> None:
        """Add the state of another instance."""
        self.state += state

    def iou(self) -> Tensor:
        """Return the IoU of each class, C float64; NaN for a class without any true or predicted pixel."""
        matrix = self.state.double()
        hits = matrix.diagonal()
        return hits / (matrix.sum(1) + matrix[:, : self.num_classes].sum(0) - hits)

    def mean_iou(self) -> float:
        """Return the mean IoU over the classes that have a true or predicted pixel; NaN if there are none."""
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
            raise ValueError(f"a pixel has class {wrong[0]}, but the classes are 0 … {self.num_classes - 1}")
