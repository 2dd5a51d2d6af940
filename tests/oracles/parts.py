"""Losses of parts of a batch, in one process in which the norms see the whole batch.

Backbone and heads run once on everything. The algorithms then get a head for each part that returns its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from seamseg.algos.losses import RoILosses
from seamseg.modules.roi_head import RoIHead
from seamseg.networks import PyramidNet
from seamseg.structures import GroundTruth, LossSum, PackedSequence, PaddedImages, pad_images


class RecordingHead:
    """RoI head that stores its inputs and returns zeros."""

    has_masks, has_mask_scores, has_points, later_stages = True, False, False, ()

    def __init__(self, num_things: int) -> None:
        self.num_things = num_things
        self.regions = self.mask_regions = torch.empty(0)

    def classify(self, regions: Tensor, is_halved: bool = False) -> tuple[Tensor, Tensor]:
        self.regions = regions
        return regions.new_zeros(len(regions), self.num_things + 1), regions.new_zeros(len(regions), self.num_things, 4)

    def masks(self, regions: Tensor, rows: Tensor | None = None) -> Tensor:
        self.mask_regions = regions
        return regions.new_zeros(len(regions if rows is None else rows), self.num_things, 28, 28)

    def planned_forward(self, num_regions: int, num_masks: int, num_scores: int) -> AbstractContextManager[None]:
        return nullcontext()


class FixedHead:
    """RoI head with fixed outputs that stores the inputs of the mask scores, which are zeros until they are set."""

    has_masks, later_stages = True, ()

    def __init__(self, logits: Tensor, box_deltas: Tensor, masks: Tensor, head: RoIHead) -> None:
        self.fixed_outputs, self.fixed_masks = (logits, box_deltas), masks
        self.has_mask_scores, self.has_points = head.has_mask_scores, head.has_points
        self.point_logits = head.point_logits  # points do not depend on each other
        self.scored: tuple[Tensor, Tensor] | None = None
        self.fixed_scores: Tensor | None = None

    def mask_scores(self, regions: Tensor, masks: Tensor) -> Tensor:
        self.scored = regions, masks
        return (
            self.fixed_masks.new_zeros(len(regions), self.fixed_masks.shape[1])
            if self.fixed_scores is None
            else self.fixed_scores
        )

    def classify(self, regions: Tensor, is_halved: bool = False) -> tuple[Tensor, Tensor]:
        return self.fixed_outputs

    def masks(self, regions: Tensor, rows: Tensor | None = None) -> Tensor:
        return self.fixed_masks if rows is None else self.fixed_masks[rows]

    def planned_forward(self, num_regions: int, num_masks: int, num_scores: int) -> AbstractContextManager[None]:
        return nullcontext()


def losses_of_parts(
    network: PyramidNet, images: PackedSequence, truth: GroundTruth, parts: Sequence[slice]
) -> list[list[LossSum]]:
    """Return the sums of each part in the order of `Losses`; sampling must be exhaustive, so that nothing is random."""
    generator = torch.Generator()
    padded = pad_images(images)
    levels = network.body(padded.tensor)
    objectness, box_deltas = network.rpn_head(levels)
    semantics = network.sem_head(levels)
    found, per_part = [], []
    for part in parts:
        part_images = PaddedImages(padded.tensor[part], padded.sizes[part])
        part_levels = [level[part] for level in levels]
        part_truth = GroundTruth(truth.ids[part], truth.classes[part], truth.crowd[part], truth.boxes[part])
        fixed_output = (objectness[part], box_deltas[part])
        losses, proposals = network.rpn.train(
            lambda levels, fixed_output=fixed_output: fixed_output,
            part_levels,
            part_images.sizes,
            part_truth,
            generator,
        )
        per_part.append((part_levels, proposals, part_images, part_truth))
        semantic = network.semantic_loss(semantics[part], part_images, part_truth)
        found.append([losses.objectness, losses.boxes, semantic])
    for sums, regions in zip(found, _regions(network, per_part), strict=True):
        optional = [loss for loss in (regions.points, regions.mask_scores) if loss is not None]
        sums[2:2] = [regions.classes, regions.boxes, regions.masks, *optional]
    return found


def _regions(
    network: PyramidNet, per_part: Sequence[tuple[list[Tensor], PackedSequence, PaddedImages, GroundTruth]]
) -> list[RoILosses]:
    head, train, generator = network.roi_head, network.roi_heads.train, torch.Generator()
    recorders = [RecordingHead(head.roi_msk.out_channels) for _ in per_part]
    for recorder, part_inputs in zip(recorders, per_part, strict=True):
        train(recorder, *part_inputs, generator)
    requested = [recorder.regions for recorder in recorders]
    mask_requested = [recorder.mask_regions for recorder in recorders]
    logits, box_deltas = head.classify(torch.cat(requested), is_halved=True)
    fixed_outputs = zip(
        logits.split([len(rows) for rows in requested]),
        box_deltas.split([len(rows) for rows in requested]),
        head.masks(torch.cat(mask_requested)).split([len(rows) for rows in mask_requested]),
        strict=True,
    )
    heads = [FixedHead(*fixed_output, head) for fixed_output in fixed_outputs]
    losses = [train(fixed, *inputs, generator) for fixed, inputs in zip(heads, per_part, strict=True)]
    if not head.has_mask_scores:
        return losses
    scored = [fixed.scored for fixed in heads if fixed.scored is not None]
    scores = head.mask_scores(*(torch.cat(inputs) for inputs in zip(*scored, strict=True)))
    for fixed, rows in zip(heads, scores.split([len(regions) for regions, _ in scored]), strict=True):
        fixed.fixed_scores = rows
    return [train(fixed, *inputs, generator) for fixed, inputs in zip(heads, per_part, strict=True)]


def mean_of_parts(parts: Sequence[Sequence[LossSum]]) -> list[Tensor]:
    """Return the average over ranks that each divide by their own counts."""
    return [torch.stack([loss.mean for loss in per_part]).mean() for per_part in zip(*parts, strict=True)]
