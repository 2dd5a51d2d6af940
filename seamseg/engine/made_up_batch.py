"""Batches that nobody has drawn, to run training steps without a data set."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from seamseg.algos.rpn import ProposalSelector
from seamseg.ops.boxes import clip_boxes
from seamseg.ops.id_maps import segment_boxes
from seamseg.ops.native import has_values
from seamseg.structures import VOID, GroundTruth, PackedSequence, Size

MOST_BANDS = 8
"""Maximum number of stuff segments of a made-up image."""
_SHIFT = 0.1  # of the side of an object; the overlap with the object is then at least 0.68


def made_up_truth(size: Size, num_images: int, num_stuff: int, num_things: int, num_objects: int) -> GroundTruth:
    """Return the annotation of images with bands of stuff and a grid of objects.

    Args:
        size: Height and width of each image.
        num_images: Number of images N, which all have the same annotation.
        num_stuff: Number of stuff classes.
        num_things: Number of thing classes; if there are none, there are no objects.
        num_objects: Number of objects in each image; fewer if the image is too small for them.
    """
    height, width = size
    num_bands = min(num_stuff, MOST_BANDS, height)
    ids = (torch.arange(height) * num_bands // height + min(num_bands, 1))[:, None].repeat(1, width)
    classes = [VOID, *(band % num_stuff for band in range(num_bands))]
    columns = min(math.ceil(math.sqrt(num_objects)), width // 2)
    rows = min(math.ceil(num_objects / max(columns, 1)), height // 2)
    for place in range(min(num_objects, rows * columns) if num_things else 0):
        row, column = divmod(place, columns)
        y0, y1 = _middle(row, rows, height)
        x0, x1 = _middle(column, columns, width)
        ids[y0:y1, x0:x1] = len(classes)
        classes.append(num_stuff + place % num_things)
    boxes, _ = segment_boxes(ids, len(classes))
    return GroundTruth(
        ids=PackedSequence([ids[None].clone() for _ in range(num_images)]),
        classes=PackedSequence([torch.tensor(classes)] * num_images),
        crowd=PackedSequence([torch.zeros(len(classes), dtype=torch.bool)] * num_images),
        boxes=PackedSequence([boxes] * num_images),
    )


def _middle(place: int, num_places: int, length: int) -> tuple[int, int]:
    """Return the middle half of one of several equal parts of a side."""
    start, end = place * length // num_places, (place + 1) * length // num_places
    quarter = (end - start) // 4
    return start + quarter, end - quarter


class MadeUpProposals:
    """Selector that returns as many proposals as another one does at most, half of them near objects.

    With proposals of a network that has learned nothing, few regions would be positive.

    Args:
        selector: Selector of a network. It runs, too, unless the tensors have no values, and its result is dropped.
        objects: O×4 boxes of the objects in each image; O may be 0.
    """

    def __init__(self, selector: ProposalSelector, objects: Sequence[Tensor]) -> None:
        self.selector, self.objects = selector, objects

    def __call__(
        self, anchors: Tensor, objectness: Tensor, box_deltas: Tensor, sizes: Sequence[Size]
    ) -> PackedSequence:
        """Return the proposals of every image; see :class:`seamseg.algos.rpn.ProposalSelector`."""
        if has_values(objectness):
            self.selector(anchors, objectness, box_deltas, sizes)
        return PackedSequence(
            self._image(anchors, boxes.to(anchors.device), size)
            for boxes, size in zip(self.objects, sizes, strict=True)
        )

    def _image(self, anchors: Tensor, objects: Tensor, size: Size) -> Tensor:
        count = self.selector.num_after_nms
        generator = torch.Generator().manual_seed(0)
        spread = torch.linspace(0, len(anchors) - 1, count).long().to(anchors.device)
        boxes = anchors[spread]
        if len(objects):
            near = objects[torch.arange(count // 2, device=objects.device) % len(objects)]
            shift = (2 * torch.rand(len(near), 2, generator=generator) - 1).to(near.device) * _SHIFT
            boxes[: len(near)] = near + (shift * (near[:, 2:] - near[:, :2])).repeat(1, 2)
        return clip_boxes(boxes, size)
