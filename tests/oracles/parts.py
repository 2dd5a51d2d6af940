"""Losses of parts of a batch, in one process in which the norms see the whole batch.

Backbone and heads run once on everything. The algorithms then get a head for each part that returns its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor

from seamseg.algos.losses import RoILosses
from seamseg.modules.roi_head import RoIHead
from seamseg.networks import PyramidNet
from seamseg.structures import GroundTruth, LossSum, PackedSequence, PaddedImages, pad_images


class PartHead:
    """RoI head for the regions of one part: a branch returns zeros and records its inputs until its outputs are set.

    Attributes:
        inputs: Inputs of each branch, by name.
        outputs: Outputs of each branch for these inputs.
    """

    def __init__(self, head: RoIHead) -> None:
        self.has_masks, self.has_mask_scores, self.has_points = head.has_masks, head.has_mask_scores, head.has_points
        self.num_things = head.num_things
        self.later_stages = [PartHead(stage) for stage in head.later_stages]
        self.point_logits = head.point_logits  # points do not depend on each other
        self.inputs: dict[str, tuple[Tensor, ...]] = {}
        self.outputs: dict[str, tuple[Tensor, ...]] = {}

    def classify(self, regions: Tensor, is_halved: bool = False) -> tuple[Tensor, Tensor]:
        assert is_halved
        num_regions = len(regions)
        logits, deltas = self._branch("classify", (regions,), (num_regions, 1 + self.num_things), (num_regions, 1, 4))
        return logits, deltas.expand(-1, self.num_things, 4)

    def masks(self, regions: Tensor, rows: Tensor | None = None) -> Tensor:
        (masks,) = self._branch("masks", (regions,), (len(regions), self.num_things, 28, 28))
        return masks if rows is None else masks[rows]

    def mask_scores(self, regions: Tensor, masks: Tensor) -> Tensor:
        (scores,) = self._branch("mask_scores", (regions, masks), (len(regions), self.num_things))
        return scores

    def planned_forward(self, num_regions: int, num_masks: int, num_scores: int) -> AbstractContextManager[None]:
        return nullcontext()

    def _branch(self, name: str, inputs: tuple[Tensor, ...], *shapes: tuple[int, ...]) -> tuple[Tensor, ...]:
        self.inputs[name] = inputs
        return self.outputs.get(name, tuple(inputs[0].new_zeros(shape) for shape in shapes))


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
        later = [loss for stage in regions.later_stages for loss in (stage.classes, stage.boxes)]
        optional = [loss for loss in (regions.points, regions.mask_scores) if loss is not None]
        sums[2:2] = [regions.classes, regions.boxes, *later, regions.masks, *optional]
    return found


def _regions(
    network: PyramidNet, per_part: Sequence[tuple[list[Tensor], PackedSequence, PaddedImages, GroundTruth]]
) -> list[RoILosses]:
    """Return the losses of each part, after one call of each branch of the head with the regions of all parts.

    The inputs of a branch may depend on the outputs of the ones before, so the losses are computed once per branch.
    """
    head, generator = network.roi_head, torch.Generator()
    part_heads = [PartHead(head) for _ in per_part]

    def losses() -> list[RoILosses]:
        return [
            network.roi_heads.train(part_head, *inputs, generator)
            for part_head, inputs in zip(part_heads, per_part, strict=True)
        ]

    def complete(branch: str, run: Callable[..., Tensor | tuple[Tensor, ...]], heads: Sequence[PartHead]) -> None:
        losses()
        inputs = [one.inputs[branch] for one in heads]
        found = run(*(torch.cat(of_parts) for of_parts in zip(*inputs, strict=True)))
        rows = [len(of_part[0]) for of_part in inputs]
        outputs = [output.split(rows) for output in (found if isinstance(found, tuple) else (found,))]
        for one, of_part in zip(heads, zip(*outputs, strict=True), strict=True):
            one.outputs[branch] = of_part

    complete("classify", partial(head.classify, is_halved=True), part_heads)
    complete("masks", head.masks, part_heads)
    if head.has_mask_scores:
        complete("mask_scores", head.mask_scores, part_heads)
    for number, stage in enumerate(head.later_stages):
        complete("classify", partial(stage.classify, is_halved=True), [one.later_stages[number] for one in part_heads])
    return losses()


def mean_of_parts(parts: Sequence[Sequence[LossSum]]) -> list[Tensor]:
    """Return the average over ranks that each divide by their own counts."""
    return [torch.stack([loss.mean for loss in per_part]).mean() for per_part in zip(*parts, strict=True)]
