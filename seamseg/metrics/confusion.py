"""Mean intersection over union of pixel classes."""

from __future__ import annotations

import torch
from torch import Tensor

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
        known = truth != VOID
        true, predicted = truth[known].long(), prediction[known].long()
        for classes in (true, predicted[predicted != VOID]):
            self._check(classes)
        predicted = predicted.masked_fill(predicted == VOID, self.num_classes)
        pairs = true * (self.num_classes + 1) + predicted
        self.state += torch.bincount(pairs, minlength=self.state.numel()).view_as(self.state).cpu()

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

    def _check(self, classes: Tensor) -> None:
        if len(classes) == 0:
            return
        low, high = (int(bound) for bound in torch.aminmax(classes))
        if low < 0 or high >= self.num_classes:
            wrong = low if low < 0 else high
            raise ValueError(f"a pixel has the class {wrong}, but the classes are 0 … {self.num_classes - 1}")
