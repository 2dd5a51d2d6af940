"""From objectness and shifts to the boxes worth a closer look (Ren et al., Faster R-CNN)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seamseg.ops.boxes import clip_boxes, decode_shifts, nms
from seamseg.structures.images import Size
from seamseg.structures.packed_sequence import PackedSequence


class ProposalSelector:
    """Decodes, clips, drops small boxes, and thins out.

    Args:
        num_before_nms: best boxes of all levels together that enter the suppression.
        num_after_nms: boxes that may leave it.
        nms_threshold: overlap above which the lower score goes.
        min_size: boxes with a shorter side are dropped, in pixels; 0 keeps all.
    """

    def __init__(self, num_before_nms: int, num_after_nms: int, nms_threshold: float, min_size: float) -> None:
        self.num_before_nms, self.num_after_nms = num_before_nms, num_after_nms
        self.nms_threshold, self.min_size = nms_threshold, min_size

    @torch.no_grad()
    def __call__(self, anchors: Tensor, objectness: Tensor, shifts: Tensor, sizes: Sequence[Size]) -> PackedSequence:
        """Proposals of every image.

        Args:
            anchors: K×4.
            objectness: N×K logits.
            shifts: N×K×4.
            sizes: height and width of the images' valid parts.

        Returns:
            P×4 boxes per image by falling objectness, P ≤ ``num_after_nms``.
        """
        return PackedSequence(
            self._image(anchors, image_objectness.float(), image_shifts.float(), size)
            for image_objectness, image_shifts, size in zip(objectness, shifts, sizes, strict=True)
        )

    def _image(self, anchors: Tensor, objectness: Tensor, shifts: Tensor, size: Size) -> Tensor:
        boxes = clip_boxes(decode_shifts(anchors, shifts), size)
        if self.min_size > 0:
            large = ((boxes[:, 2:] - boxes[:, :2]) >= self.min_size).all(dim=1)
            boxes, objectness = boxes[large], objectness[large]
        scores, order = objectness.topk(min(self.num_before_nms, len(objectness)))
        boxes = boxes[order]
        return boxes[nms(boxes, scores, self.nms_threshold)[: self.num_after_nms]]
