"""Segments of one image: a panoptic segmentation, annotated or predicted, and annotated segments that overlap."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.structures.categories import VOID
from seamseg.structures.images import Size


@dataclass(frozen=True, eq=False)
class PanopticSegmentation:
    """Segment of every pixel and class of every segment; segment 0 is void.

    Nothing is checked on construction, because checking the ids would read every pixel of every training image.
    :meth:`seamseg.metrics.overlaps.Overlaps.between` checks the segmentations passed to metrics.

    Attributes:
        ids: H×W integers in 0 … K, the segment of every pixel.
        classes: K+1 int64, the class of each segment; 255 for void. Entry 0 is always 255.
        crowd: K+1 bool. In annotations, True for segments that stand for many objects; in predictions, True for
            segments of a thing class that belong to no detection.
        scores: K+1 float32 in 0 … 1; 1 for stuff and 0 for void. None in annotations.

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
        """H×W int64, the class of every pixel; 255 for void."""
        return self.classes[self.ids.long()]

    @property
    def filled_scores(self) -> Tensor:
        """K+1 float32: the scores or, if there are none, 1 for every segment except void."""
        return (self.classes != VOID).to(torch.float32) if self.scores is None else self.scores

    def as_layers(self) -> LayeredSegmentation:
        """Return the same segments in a single layer, without scores."""
        return LayeredSegmentation(self.ids[None], self.classes, self.crowd)

    def without_crowd(self) -> PanopticSegmentation:
        """Return the same segmentation with all crowd segments turned into void."""
        classes = self.classes.masked_fill(self.crowd, VOID)
        return PanopticSegmentation(self.ids, classes, torch.zeros_like(self.crowd), self.scores)

    def cpu(self) -> PanopticSegmentation:
        """Return the same segmentation on the CPU."""
        scores = None if self.scores is None else self.scores.cpu()
        return PanopticSegmentation(self.ids.cpu(), self.classes.cpu(), self.crowd.cpu(), scores)


@dataclass(frozen=True, eq=False)
class LayeredSegmentation:
    """Annotated segments that may overlap, as L id maps; segment 0 is void.

    Every segment lies completely in one layer, and the segments of a layer do not overlap. Nothing is checked on
    construction, as in :class:`PanopticSegmentation`, which is the case of one layer.

    Attributes:
        ids: L×H×W integers in 0 … K with L ≥ 1, the segment of every pixel in each layer.
        classes: K+1 int64, the class of each segment; 255 for void. Entry 0 is always 255.
        crowd: K+1 bool. True for segments that stand for many objects.
        stated: K+1×5 float64, box (y0, x0, y1, x1) and area of each segment as the file states them, which COCO's
            evaluation uses; NaN where it states none. None if nothing is stated, and after cropping or scaling.

    Example:
        A car (class 0) that overlaps another one:

        >>> import torch
        >>> from seamseg.structures import LayeredSegmentation
        >>> cars = LayeredSegmentation(
        ...     ids=torch.tensor([[[1, 1, 1, 0]], [[0, 0, 2, 2]]]),
        ...     classes=torch.tensor([255, 0, 0]),
        ...     crowd=torch.tensor([False, False, False]),
        ... )
        >>> cars.flat.ids
        tensor([[1, 1, 2, 2]])
    """

    ids: Tensor
    classes: Tensor
    crowd: Tensor
    stated: Tensor | None = None

    @property
    def size(self) -> Size:
        """Height and width in pixels."""
        return self.ids.shape[1], self.ids.shape[2]

    def as_layers(self) -> LayeredSegmentation:
        """Return this segmentation; see :meth:`PanopticSegmentation.as_layers`."""
        return self

    @property
    def by_layer(self) -> list[PanopticSegmentation]:
        """The L layers; all of them have the classes of all segments, so most segments have no pixel in a layer."""
        return [PanopticSegmentation(ids, self.classes, self.crowd) for ids in self.ids]

    @property
    def layer_of_segment(self) -> Tensor:
        """K+1 int64, the layer of each segment; 0 for void and for segments without a pixel."""
        layers = torch.zeros_like(self.classes)
        for layer, ids in enumerate(self.ids[1:], start=1):
            layers[ids.flatten().long()] = layer
        layers[0] = 0
        return layers

    @property
    def flat(self) -> PanopticSegmentation:
        """The visible part of each segment: small ones cover large ones, and all of them cover crowds.

        With one layer, this is the same id map.
        """
        if len(self.ids) == 1:
            return PanopticSegmentation(self.ids[0], self.classes, self.crowd)
        layers = self.ids.long()
        areas = torch.bincount(layers.flatten(), minlength=len(self.classes))
        depth = areas + self.crowd * layers.numel()
        depth[0] = 3 * layers.numel()  # below everything else
        rank = depth.argsort(stable=True).argsort()  # without ties, which argmin would break in any order
        front = rank[layers].argmin(dim=0, keepdim=True)
        return PanopticSegmentation(self.ids.gather(0, front)[0], self.classes, self.crowd)
