"""Losses of parts of a batch, in one process whose norms see the whole batch.

Body and heads run once, on everything; the algorithms then get a head for each part that repeats its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from seamseg.algos.losses import RoILosses
from seamseg.networks import PanopticNet
from seamseg.structures import GroundTruth, LossSum, PackedSequence, PaddedImages, pad_images


class Listener:
    """A region head that notes what it is asked and answers with zeros."""

    def __init__(self, num_things: int) -> None:
        self.num_things = num_things
        self.regions = self.mask_regions = torch.empty(0)

    def classify(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        self.regions = regions
        return regions.new_zeros(len(regions), self.num_things + 1), regions.new_zeros(len(regions), self.num_things, 4)

    def masks(self, regions: Tensor) -> Tensor:
        self.mask_regions = regions
        return regions.new_zeros(len(regions), self.num_things, 28, 28)

    def planned_forward(self, num_regions: int, num_masks: int) -> AbstractContextManager[None]:
        return nullcontext()


class Answers:
    """A region head whose answers are known."""

    def __init__(self, logits: Tensor, shifts: Tensor, masks: Tensor) -> None:
        self.answers, self.mask_answers = (logits, shifts), masks

    def classify(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        return self.answers

    def masks(self, regions: Tensor) -> Tensor:
        return self.mask_answers

    def planned_forward(self, num_regions: int, num_masks: int) -> AbstractContextManager[None]:
        return nullcontext()


def losses_of_parts(
    network: PanopticNet, images: PackedSequence, truth: GroundTruth, parts: Sequence[slice]
) -> list[list[LossSum]]:
    """Six sums per part, in the order of `Losses`; the sampling must be exhaustive, so that nothing is drawn."""
    generator = torch.Generator()
    padded = pad_images(images)
    levels = network.body(padded.tensor)
    objectness, shifts = network.rpn_head(levels)
    semantics = network.sem_head(levels)
    found, of_parts = [], []
    for part in parts:
        some = PaddedImages(padded.tensor[part], padded.sizes[part])
        part_levels = [level[part] for level in levels]
        known = GroundTruth(truth.ids[part], truth.classes[part], truth.crowd[part], truth.boxes[part])
        answer = (objectness[part], shifts[part])
        losses, proposals = network.rpn.train(
            lambda levels, answer=answer: answer, part_levels, some.sizes, known, generator
        )
        of_parts.append((part_levels, proposals, some, known))
        semantic = network.semantic_loss(semantics[part], some, known)
        found.append([losses.objectness, losses.boxes, semantic])
    for sums, regions in zip(found, _regions(network, of_parts), strict=True):
        sums[2:2] = [regions.classes, regions.boxes, regions.masks]
    return found


def _regions(
    network: PanopticNet, of_parts: Sequence[tuple[list[Tensor], PackedSequence, PaddedImages, GroundTruth]]
) -> list[RoILosses]:
    head, train, generator = network.roi_head, network.roi_heads.train, torch.Generator()
    listeners = [Listener(head.roi_msk.out_channels) for _ in of_parts]
    for listener, of_part in zip(listeners, of_parts, strict=True):
        train(listener, *of_part, generator)
    asked = [listener.regions for listener in listeners]
    mask_asked = [listener.mask_regions for listener in listeners]
    logits, shifts = head.classify(torch.cat(asked))
    answers = zip(
        logits.split([len(rows) for rows in asked]),
        shifts.split([len(rows) for rows in asked]),
        head.masks(torch.cat(mask_asked)).split([len(rows) for rows in mask_asked]),
        strict=True,
    )
    return [train(Answers(*answer), *of_part, generator) for answer, of_part in zip(answers, of_parts, strict=True)]


def mean_of_parts(parts: Sequence[Sequence[LossSum]]) -> list[Tensor]:
    """What ranks average that each divide by their own counts."""
    return [torch.stack([loss.mean for loss in of_parts]).mean() for of_parts in zip(*parts, strict=True)]
