"""Losses and proposals of a head with fixed outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from oracles import losses as oracle
from oracles.box_deltas import encode
from oracles.crop_aware import crop_aware_loss
from oracles.matching import match_anchors
from support.drawn_truth import Drawn, batch, painted
from torch import Tensor

from seamseg.algos.anchors import AnchorGrid
from seamseg.algos.box_regression import BoxLoss
from seamseg.algos.matching import AnchorMatcher
from seamseg.algos.rpn import ProposalLosses, ProposalSelector, RegionProposalNetwork
from seamseg.structures import GroundTruth, PackedSequence

SIZES = ((24, 32), (20, 17))
LEVELS = [torch.zeros(2, 1, 6, 8), torch.zeros(2, 1, 3, 4), torch.zeros(2, 1, 2, 2)]
GRID = AnchorGrid((0.5, 1, 2), 2, (4, 8))
ANCHORS = GRID([(6, 8), (3, 4)], torch.device("cpu"))
NUM_STUFF = 2


class FixedHead:
    """Head that returns fixed outputs and stores the levels it gets."""

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.objectness = torch.randn(2, len(ANCHORS), generator=generator).requires_grad_()
        self.box_deltas = (torch.randn(2, len(ANCHORS), 4, generator=generator) * 0.4).requires_grad_()
        self.levels_seen: list[Tensor] = []

    def __call__(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        self.levels_seen = list(levels)
        return self.objectness, self.box_deltas


def network(num_samples: int = 10**6) -> RegionProposalNetwork:
    training, inference = ProposalSelector(1000, 9, 0.7, 0), ProposalSelector(1000, 5, 0.7, 0)
    return RegionProposalNetwork(GRID, AnchorMatcher(num_samples), training, inference, NUM_STUFF)


def scene(size: tuple[int, int], kind: str, seed: int) -> Drawn:
    """Draw the segments 1 (stuff), 2 and 3 (things), 4 (crowd of things) and 5 (crowd of stuff)."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 2, size, generator=generator)
    ids[2:10, 3:9] = 2
    ids[5:16, 9:16] = 3
    ids[12:, :7] = 4
    ids[:, 16:] = 5
    keep = {"objects": [1, 2, 3, 4, 5], "no objects": [1, 5], "crowd": [4], "void": []}[kind]
    ids = torch.where(torch.isin(ids, torch.tensor(keep)), ids, 0)
    if kind == "crowd":
        ids[:] = 4
    return painted(ids, [0, 2, 3, 2, 1], crowd=[4, 5])


def train(head: FixedHead, images: Sequence[Drawn], **settings: int) -> tuple[ProposalLosses, PackedSequence]:
    return network(**settings).train(head, LEVELS, SIZES, batch(images), torch.Generator().manual_seed(0))


def expected_losses(head: FixedHead, images: Sequence[Drawn]) -> tuple[float, float]:
    objectness, boxes, num_sampled = 0.0, 0.0, 0
    truth = batch(images)
    for image, size in enumerate(SIZES):
        objects = [
            truth.boxes.entry(image)[segment].tolist() for segment in (2, 3) if (images[image].ids == segment).any()
        ]
        positives, negatives = match_anchors(ANCHORS.tolist(), size, objects, images[image].ids == 4)
        num_sampled += len(positives) + len(negatives)
        for anchor in negatives:
            objectness += oracle.binary_cross_entropy(float(head.objectness[image, anchor].detach()), 0)
        for anchor, found in positives.items():
            objectness += oracle.binary_cross_entropy(float(head.objectness[image, anchor].detach()), 1)
            target_deltas = encode(ANCHORS[anchor].tolist(), objects[found])
            for shift, target in zip(head.box_deltas[image, anchor].tolist(), target_deltas, strict=True):
                boxes += oracle.smooth_l1(shift, target, sigma=3)
    return objectness / max(num_sampled, 1), boxes / max(num_sampled, 1)


@pytest.mark.parametrize(
    "kinds", [("objects", "objects"), ("objects", "no objects"), ("crowd", "objects"), ("no objects", "void")]
)
def test_losses_equal_loops_over_the_anchors_of_the_batch(kinds: tuple[str, str]) -> None:
    images = [scene(size, kind, seed) for seed, (size, kind) in enumerate(zip(SIZES, kinds, strict=True))]
    head = FixedHead()
    losses, _ = train(head, images)
    found = (float(losses.objectness.mean.detach()), float(losses.boxes.mean.detach()))
    assert found == pytest.approx(expected_losses(head, images), rel=1e-4)
    assert (found[1] > 0) == ("objects" in kinds)


def test_losses_without_sampled_anchors_are_zero_and_have_a_gradient() -> None:
    head = FixedHead()
    losses, proposals = train(head, [scene(size, "crowd", 0) for size in SIZES])
    (losses.objectness.mean + losses.boxes.mean).backward()
    assert (losses.objectness.mean, losses.boxes.mean) == (0, 0)
    assert not head.objectness.grad.any()
    assert not head.box_deltas.grad.any()
    assert len(proposals.entry(0)) > 0


def test_train_gives_gradients_only_to_sampled_anchors() -> None:
    head = FixedHead()
    losses, _ = train(head, [scene(size, "objects", 0) for size in SIZES], num_samples=10)
    (losses.objectness.mean + losses.boxes.mean).backward()
    assert head.objectness.grad.count_nonzero(dim=1).tolist() == [10, 10]
    moved = head.box_deltas.grad.abs().sum(dim=2) > 0
    assert (moved.sum(dim=1) >= 1).all()
    assert not (
        moved & (head.objectness.grad >= 0)
    ).any()  # only positives have box gradients, and their objectness must rise


def test_train_and_propose_use_their_own_selectors() -> None:
    head = FixedHead()
    _, training = train(head, [scene(size, "objects", 0) for size in SIZES])
    inference = network().propose(head, LEVELS, SIZES)
    for image, (height, width) in enumerate(SIZES):
        assert len(training.entry(image)) == 9
        assert torch.equal(inference.entry(image), training.entry(image)[:5])
        assert not training.entry(image).requires_grad
        assert (training.entry(image) <= torch.tensor([height, width, height, width])).all()


def test_propose_passes_only_levels_with_anchors_to_the_head() -> None:
    head = FixedHead()
    network().propose(head, LEVELS, SIZES)
    assert [level.shape[-2:] for level in head.levels_seen] == [(6, 8), (3, 4)]


@pytest.mark.parametrize("kinds", [("objects", "objects"), ("no objects", "objects"), ("no objects", "void")])
def test_crop_aware_box_loss_equals_the_search_over_full_boxes(kinds: tuple[str, str]) -> None:
    images = [scene(size, kind, seed) for seed, (size, kind) in enumerate(zip(SIZES, kinds, strict=True))]
    head, truth, cut = FixedHead(), batch(images), [False, True, False, True]
    sides = PackedSequence(torch.tensor([cut] * len(classes)) for classes in truth.classes.present)

    def loss(truth: GroundTruth, kind: BoxLoss) -> float:
        rpn = network()
        rpn.box_loss = kind
        return rpn.train(head, LEVELS, SIZES, truth, torch.Generator().manual_seed(0))[0].boxes.mean.item()

    total, num_sampled = 0.0, 0
    for image, size in enumerate(SIZES):
        objects = truth.objects(image, NUM_STUFF).boxes.tolist()
        positives, negatives = match_anchors(ANCHORS.tolist(), size, objects, images[image].ids == 4)
        num_sampled += len(positives) + len(negatives)
        for anchor, index in positives.items():
            predicted = head.box_deltas[image, anchor].tolist()
            total += crop_aware_loss(ANCHORS[anchor].tolist(), objects[index], cut, predicted, [1] * 4, 3)
    found = loss(replace(truth, cut=sides), "crop_aware")
    assert found == pytest.approx(total / num_sampled, rel=1e-3)
    assert loss(truth, "crop_aware") == loss(replace(truth, cut=sides), "smooth_l1") == loss(truth, "smooth_l1")
    assert found < loss(truth, "smooth_l1") or "objects" not in kinds
