"""One image divided into segments: annotated, predicted, or read from a file."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.structures.categories import VOID
from seamseg.structures.images import Size


@dataclass(frozen=True, eq=False)
class PanopticSegmentation:
    """Segment of every pixel and class of every segment; segment 0 is void.

    Nothing is checked on construction: a check of the ids would read every pixel of every training image.
    :meth:`seamseg.metrics.overlaps.Overlaps.between` checks what metrics are given.

    Attributes:
        ids: H×W integers in 0 … K, the segment of every pixel.
        classes: K+1 int64, class of each segment, 255 where void; entry 0 is always 255.
        crowd: K+1 bool. In annotation, segments that stand for many objects; in predictions, segments of a thing class
            that no detection stands behind.
        scores: K+1 float32 in 0 … 1, 1 for stuff and 0 for void; None in annotation.

    Example:
        A road (class 0) with one car (class 1), and a void column:

        >>> import torch
        >>> from seamseg.structures import PanopticSegmentation
        >>> segmentation = PanopticSegmentation(
        ...     ids=torch.tensor([[1, 1, 1, 0], [1, 2, 2, 0]]),
        ...     classes=torch.tensor([255, 0, 1]),
        ...     crowd=torch.tensor([False, False, False]),
        ... )
        >>> segmentation.semantics
        tensor([[  0,   0,   0, 255],
                [  0,   1,   1, 255]])
    """

    ids: Tensor
    classes: Tensor
    crowd: Tensor
    scores: Tensor | None = None

    @property
    def size(self) -> Size:
        """Height and width in pixels."""
        return self.ids.shape[0], self.ids.shape[1]

    @property
    def semantics(self) -> Tensor:
        """H×W int64: the class of every pixel, 255 where void."""
        return self.classes[self.ids.long()]

    @property
    def filled_scores(self) -> Tensor:
        """K+1 float32: the scores, or 1 for every segment that is not void where there are none."""
        return (self.classes != VOID).to(torch.float32) if self.scores is None else self.scores

    def without_crowd(self) -> PanopticSegmentation:
        """The same segmentation with all crowd segments turned into void."""
        classes = self.classes.masked_fill(self.crowd, VOID)
        return PanopticSegmentation(self.ids, classes, torch.zeros_like(self.crowd), self.scores)

    def cpu(self) -> PanopticSegmentation:
        """The same segmentation in main memory."""
        scores = None if self.scores is None else self.scores.cpu()
        return PanopticSegmentation(self.ids.cpu(), self.classes.cpu(), self.crowd.cpu(), scores)
