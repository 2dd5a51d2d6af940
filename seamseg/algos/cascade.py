"""Box stages in a row, each of which refines the boxes of the one before.

Reference: Cai and Vasconcelos, Cascade R-CNN: High Quality Object Detection and Instance Segmentation, TPAMI 2019. A
head that learns from boxes with a larger overlap finds better boxes, but the proposals contain few of these. The boxes
that a head returns are better than those it gets, so they can train the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from seamseg.algos.matching import RoIMatcher, RoISample
from seamseg.ops.boxes import clip_boxes, decode_boxes
from seamseg.ops.constants import constant_like
from seamseg.ops.native import has_values
from seamseg.structures.ground_truth import Objects
from seamseg.structures.images import Size
from seamseg.structures.packed_sequence import PackedSequence

Boxes = TypeVar("Boxes", Tensor, PackedSequence)
"""Boxes of one image, or of several."""

BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Factors of the box_deltas in training, in the only or the first stage."""


class BoxHead(Protocol):
    """Interface of the head of one stage; see :class:`seamseg.modules.roi_head.RoIHead`."""

    def planned_forward(self, num_regions: int, num_masks: int, num_scores: int) -> AbstractContextManager[None]:
        """Announce the number of regions of one call of each branch inside the context."""

    def classify(self, regions: Tensor, is_halved: bool = False) -> tuple[Tensor, Tensor]:
        """Return R×(T+1) class logits and R×T×4 box_deltas of R×C×14×14 features, or of their means over 2×2 bins."""


@dataclass(frozen=True)
class BoxStage:
    """Regions that a stage learns from, and the scale of its predictions.

    Attributes:
        matcher: Matcher of boxes and objects.
        box_weights: Factors of the box_deltas in training; predictions are divided by them.
    """

    matcher: RoIMatcher
    box_weights: Sequence[float] = BOX_WEIGHTS


def stage_weights(number: int) -> tuple[float, ...]:
    """Return the factors of the box_deltas of a stage, counted from 1: the better its boxes, the smaller the deltas.

    Example:
        >>> stage_weights(3)
        (30.0, 30.0, 15.0, 15.0)
    """
    return tuple(number * weight for weight in BOX_WEIGHTS)


def run_stages(
    stages: Sequence[BoxStage],
    heads: Sequence[BoxHead],
    boxes: Boxes,
    pool: Callable[[Boxes], Tensor],
    refine: Callable[[Boxes, Tensor, Sequence[float]], Boxes],
) -> tuple[Boxes, Tensor, Tensor]:
    """Classify boxes in every stage, and refine them between the stages.

    Args:
        stages: Stages; at least one.
        heads: Head of each stage.
        boxes: Boxes that the first stage gets, R in total.
        pool: Function from boxes to their R×C×14×14 features.
        refine: Function from boxes, R×4 box_deltas and their factors to the boxes of the next stage.

    Returns:
        The boxes that the last stage gets, R×(T+1) logits of the mean of the class probabilities over the stages, and
        the R×T×4 box_deltas of the last stage.
    """
    logits = []
    for number, (stage, head) in enumerate(zip(stages, heads, strict=True), start=1):
        stage_logits, box_deltas = head.classify(pool(boxes))
        logits.append(stage_logits)
        if number < len(stages):
            boxes = refine(boxes, box_deltas[:, 0], stage.box_weights)
    return boxes, average_logits(logits), box_deltas


def average_logits(logits: Sequence[Tensor]) -> Tensor:
    """Return logits whose softmax is the mean of the softmax of the given ones, all R×C; a single one is unchanged."""
    if len(logits) == 1:
        return logits[0]
    return torch.stack([class_probabilities(one) for one in logits]).mean(dim=0).log()


def class_probabilities(logits: Tensor) -> Tensor:
    """Return the R×C float32 softmax of logits; +∞ logits, possible in half precision, share the whole probability."""
    return logits.float().clamp(max=torch.finfo(torch.float32).max).softmax(dim=1)


@torch.no_grad()
def refined_boxes(boxes: Tensor, box_deltas: Tensor, box_weights: Sequence[float], size: Size) -> Tensor:
    """Return the boxes of one image that a stage predicts, R×4 inside the image, without gradient.

    Args:
        boxes: R×4, the boxes that the stage got.
        box_deltas: R×4, its predictions, which are the same for all classes.
        box_weights: Factors of the box_deltas in training.
        size: Height and width of the image without padding.
    """
    moves = box_deltas.float() / constant_like(box_deltas, box_weights, torch.float32)
    return clip_boxes(decode_boxes(boxes, moves), size)


def refined_in_images(
    boxes: PackedSequence, box_deltas: Tensor, box_weights: Sequence[float], sizes: Sequence[Size]
) -> PackedSequence:
    """Return :func:`refined_boxes` of every image; the box_deltas of all images are ordered by image."""
    rows = [boxes.entry(image) for image in range(len(sizes))]
    moves = torch.split(box_deltas, [len(one) for one in rows])
    return PackedSequence(
        refined_boxes(one, move, box_weights, size) for one, move, size in zip(rows, moves, sizes, strict=True)
    )


@torch.no_grad()
def next_proposals(
    samples: Sequence[RoISample],
    objects: Sequence[Objects],
    box_deltas: Tensor,
    box_weights: Sequence[float],
    sizes: Sequence[Size],
) -> PackedSequence:
    """Return the refined regions of every image, from which the next stage is trained.

    Regions that are the box of an object are left out: the next stage gets this box itself, and a network has no such
    regions in inference.

    Args:
        samples: Regions of each image that a stage was trained with.
        objects: Objects of each image.
        box_deltas: R×4, the predictions of the stage for the regions of all images. If they have no values, because
            only memory is measured, the regions stay as they are.
        box_weights: Factors of the box_deltas in training.
        sizes: Height and width of each image before padding.
    """
    boxes = PackedSequence(sample.boxes for sample in samples)
    refined = refined_in_images(boxes, box_deltas, box_weights, sizes) if has_values(box_deltas) else boxes
    found = []
    for sample, truth, one in zip(samples, objects, refined.present, strict=True):
        num_positive = len(sample.objects)
        is_object = (sample.boxes[:num_positive] == truth.boxes[sample.objects]).all(dim=1)
        found.append(torch.cat([one[:num_positive][~is_object], one[num_positive:]]))
    return PackedSequence(found)


def divide_gradient(features: Tensor, num_stages: int) -> None:
    """Divide the gradient that flows back into features by the number of stages that read them.

    The layers of each stage then learn as from its own losses, and the features as from the mean of the losses.
    """
    if num_stages > 1 and features.requires_grad:

        def divided(gradient: Tensor | None) -> Tensor | None:
            # It is None if only other layers that share the features are differentiated.
            return None if gradient is None else gradient / num_stages

        features.register_hook(divided)  # type: ignore[no-untyped-call]
