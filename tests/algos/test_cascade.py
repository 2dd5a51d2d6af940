"""Stages of a cascade compared with loops over regions, and the gradients between them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from oracles import losses as oracle
from oracles.box_deltas import clip, decode, encode
from oracles.crop_aware import crop_aware_loss
from oracles.matching import match_regions
from oracles.norm import stir
from oracles.overlap import Box
from oracles.selection import select_detections
from support.drawn_truth import Drawn, batch, painted
from torch import Tensor
from torch.nn import functional

from seamseg.algos import roi
from seamseg.algos.cascade import BoxStage, average_logits, next_proposals, refined_boxes, stage_weights
from seamseg.algos.losses import BoxLosses, RoILosses
from seamseg.algos.matching import RoIMatcher, RoISample
from seamseg.algos.roi import DetectionSelector, RoIHeads
from seamseg.algos.roi_pooling import RoIPooler
from seamseg.modules.norm import NormFactory
from seamseg.modules.roi_head import RoIHead
from seamseg.structures import GroundTruth, PackedSequence, PaddedImages

SIZES = ((24, 32), (20, 17))
PADDED = (24, 32)
NUM_STUFF, NUM_THINGS = 1, 2
THRESHOLDS = (0.5, 0.6, 0.7)
CUT = [True, False, True, True]
LEVELS = [
    torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)) for size in [(6, 8), (3, 4), (2, 2), (1, 1)]
]


class StageHead:
    """Head without masks that returns its row r for region r of a call and stores the features it gets."""

    has_masks = has_mask_scores = False

    def __init__(self, seed: int, later_stages: Sequence[StageHead] = ()) -> None:
        self.later_stages = later_stages
        generator = torch.Generator().manual_seed(seed)
        self.logits = torch.randn(80, NUM_THINGS + 1, generator=generator).requires_grad_()
        self.box_deltas = torch.randn(80, 4, generator=generator).requires_grad_()
        self.classified, self.num_planned = torch.zeros(0), -1

    @contextlib.contextmanager
    def planned_forward(self, num_regions: int, num_masks: int, num_scores: int) -> Iterator[None]:
        self.num_planned = num_regions
        yield
        assert len(self.classified) == num_regions

    def classify(self, regions: Tensor, is_halved: bool = False) -> tuple[Tensor, Tensor]:
        self.classified = regions
        count = len(regions)
        return self.logits[:count], self.box_deltas[:count, None].expand(-1, NUM_THINGS, -1)


def cascade_of(num_stages: int) -> list[StageHead]:
    """Return the heads of all stages, the first of which has the others."""
    later = [StageHead(seed) for seed in range(1, num_stages)]
    return [StageHead(0, later), *later]


def stages_of(thresholds: Sequence[float], num_samples: int = 10**6) -> list[BoxStage]:
    fraction = 0.25 if num_samples < 100 else 1.0
    return [
        BoxStage(
            RoIMatcher(num_samples, fraction, positive_threshold=threshold, negative_high=threshold),
            stage_weights(number),
        )
        for number, threshold in enumerate(thresholds, start=1)
    ]


def algorithm(stages: Sequence[BoxStage], **settings: str | float) -> RoIHeads:
    selector = DetectionSelector(0.5, 0.05, 100, stages[-1].box_weights)
    return RoIHeads(RoIPooler(), stages[0].matcher, selector, NUM_STUFF, later_stages=stages[1:], **settings)


def scene(size: tuple[int, int], kind: str) -> Drawn:
    """Draw the segments 1 (stuff), 2 and 3 (things) and 4 (crowd of things)."""
    ids = torch.zeros(size, dtype=torch.int64)
    ids[2:10, 3:9] = 2
    ids[5:16, 9:16] = 3
    ids[15:, :9] = 4
    keep = {"objects": [2, 3, 4], "no objects": [1], "crowd": [4]}[kind]
    return painted(torch.where(torch.isin(ids, torch.tensor(keep)), ids, 0), [0, 2, 1, 2], crowd=[4])


def scenes(*kinds: str) -> list[Drawn]:
    return [scene(size, kind) for size, kind in zip(SIZES, kinds, strict=True)]


def proposals(seed: int = 0) -> PackedSequence:
    """Return random boxes, some near the objects, and the box of an object itself."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for height, width in SIZES:
        corners = torch.rand(12, 2, 2, generator=generator) * torch.tensor([height, width])
        near = torch.tensor([[2.0, 3, 10, 9], [5, 9, 16, 16]]).repeat(4, 1) + torch.rand(8, 4, generator=generator)
        exact = torch.tensor([[2.0, 3, 10, 9]])
        found.append(torch.cat([near, exact, torch.cat([corners.amin(1), corners.amax(1)], dim=1)]))
    return PackedSequence(found)


def train(
    heads: Sequence[StageHead], stages: Sequence[BoxStage], truth: GroundTruth, seed: int = 0, **settings: str | float
) -> RoILosses:
    padded = PaddedImages(torch.zeros(2, 3, *PADDED), SIZES)
    generator = torch.Generator().manual_seed(seed)
    return algorithm(stages, **settings).train(heads[0], LEVELS, proposals(), padded, truth, generator)


def all_stages(losses: RoILosses) -> list[BoxLosses]:
    return [losses, *losses.later_stages]


def numbers(losses: RoILosses) -> list[tuple[float, float]]:
    return [(stage.classes.mean.item(), stage.boxes.mean.item()) for stage in all_stages(losses)]


def expected_stage(
    head: StageHead, number: int, candidates: list[list[Box]], images: Sequence[Drawn], crop_aware: bool
) -> tuple[tuple[float, float], list[list[Box]], list[list[Box]]]:
    """Return the losses of a stage, its regions in every image, and the boxes for the next stage."""
    truth, weights, threshold = batch(images), stage_weights(number), THRESHOLDS[number - 1]
    classes, box_total, row = 0.0, 0.0, 0
    regions: list[list[Box]] = []
    refined: list[list[Box]] = []
    for image, drawing in enumerate(images):
        objects = truth.objects(image, NUM_STUFF)
        boxes = objects.boxes.tolist()
        found = match_regions(candidates[image], boxes, drawing.ids == 4, threshold, 0.0, threshold)
        regions.append([*(box for box, _ in found.positives), *found.negatives])
        refined.append([])
        for box, index in [*found.positives, *((box, None) for box in found.negatives)]:
            delta = head.box_deltas[row].tolist()
            label = 0 if index is None else int(objects.classes[index]) + 1
            classes += oracle.cross_entropy(head.logits[row].tolist(), label)
            if index is not None and crop_aware:
                box_total += crop_aware_loss(box, boxes[index], CUT, delta, weights, 1)
            elif index is not None:
                targets = [value * weight for value, weight in zip(encode(box, boxes[index]), weights, strict=True)]
                box_total += sum(oracle.smooth_l1(*pair, sigma=1) for pair in zip(delta, targets, strict=True))
            if index is None or list(box) != boxes[index]:
                move = [value / weight for value, weight in zip(delta, weights, strict=True)]
                refined[image].append(clip(decode(box, move), SIZES[image]))
            row += 1
    return (classes / max(row, 1), box_total / max(row, 1)), regions, refined


@pytest.mark.parametrize("crop_aware", [False, True])
@pytest.mark.parametrize("kinds", [("objects", "objects"), ("no objects", "objects"), ("crowd", "objects")])
def test_losses_of_every_stage_equal_loops_over_refined_regions(kinds: tuple[str, str], crop_aware: bool) -> None:
    images, heads = scenes(*kinds), cascade_of(3)
    truth = batch(images)
    sides = PackedSequence(torch.tensor([CUT] * len(classes)) for classes in truth.classes.present)
    box_loss = "crop_aware" if crop_aware else "smooth_l1"
    found = numbers(train(heads, stages_of(THRESHOLDS), replace(truth, cut=sides), box_loss=box_loss))
    assert len(found) == 3
    candidates = [boxes.tolist() for boxes in proposals().present]
    for number, head in enumerate(heads, start=1):
        losses, regions, candidates = expected_stage(head, number, candidates, images, crop_aware)
        assert found[number - 1] == pytest.approx(losses, rel=1e-3), number
        assert losses[1] > 0
        boxes = PackedSequence(torch.tensor(one).reshape(-1, 4) for one in regions)
        features = functional.avg_pool2d(RoIPooler()(LEVELS, boxes, PADDED), 2)
        torch.testing.assert_close(head.classified, features, rtol=1e-3, atol=1e-3)
        assert head.num_planned == len(features)


@pytest.mark.parametrize("kinds", [("no objects", "crowd"), ("crowd", "crowd")])
def test_losses_of_all_stages_without_regions_are_zero_and_have_a_gradient(kinds: tuple[str, str]) -> None:
    heads = cascade_of(3)
    losses = train(heads, stages_of(THRESHOLDS), batch(scenes(*kinds)))
    assert numbers(losses) == [(0, 0)] * 3
    sum(stage.classes.mean + stage.boxes.mean for stage in all_stages(losses)).backward()
    for head in heads:
        for values in (head.logits, head.box_deltas):
            assert values.grad is not None
            assert not values.grad.any()


def test_focal_loss_and_class_weights_apply_to_every_stage() -> None:
    truth = batch(scenes("objects", "objects"))
    plain, focal, weighted = (
        numbers(train(cascade_of(3), stages_of(THRESHOLDS), truth, **settings))
        for settings in ({}, {"focal_gamma": 2.0}, {"class_weights": (1.0, 3.0, 3.0)})
    )
    for before, after, heavier in zip(plain, focal, weighted, strict=True):
        assert after[0] < before[0] < heavier[0]
        assert after[1] == before[1] == heavier[1]


def test_samples_of_every_stage_come_from_the_generator() -> None:
    truth, state = batch(scenes("objects", "objects")), torch.get_rng_state()
    runs = [numbers(train(cascade_of(2), stages_of(THRESHOLDS[:2], 12), truth, seed)) for seed in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert all(one != other for one, other in zip(runs[0], runs[2], strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_later_stages_sample_at_most_their_number_of_regions() -> None:
    heads = cascade_of(3)
    train(heads, stages_of(THRESHOLDS, 8), batch(scenes("objects", "objects")))
    assert [head.num_planned for head in heads] == [16, 16, 16]


def test_next_proposals_leave_out_regions_that_are_boxes_of_objects() -> None:
    truth = batch(scenes("objects", "no objects"))
    objects = [truth.objects(image, NUM_STUFF) for image in range(2)]
    boxes = torch.tensor([[2.0, 3, 10, 9], [3.0, 3, 10, 9], [5.0, 9, 16, 16], [0.0, 0, 5, 5]])
    none = torch.zeros(0, dtype=torch.int64)
    samples = [
        RoISample(boxes, torch.tensor([1, 1, 2, 0]), torch.tensor([0, 0, 1])),
        RoISample(boxes[:1], torch.zeros(1, dtype=torch.int64), none),
    ]
    found = next_proposals(samples, objects, torch.zeros(5, 4), (1, 1, 1, 1), SIZES)
    assert [one.tolist() for one in found.present] == [boxes[[1, 3]].tolist(), boxes[:1].tolist()]


def test_refined_boxes_are_clipped_and_have_no_gradient() -> None:
    deltas = torch.tensor([[0.0, 0, 0, 0], [10.0, 0, 0, 0], [0, 0, 50.0, 50.0], [1e9, 0, 0, 0]], requires_grad=True)
    boxes = torch.tensor([[2.0, 2, 6, 6]] * 4)
    found = refined_boxes(boxes, deltas, (10, 10, 5, 5), (8, 20))
    assert found.tolist() == [[2, 2, 6, 6], [6, 2, 8, 6], [0, 0, 8, 20], [8, 2, 8, 6]]
    assert not found.requires_grad


@pytest.mark.parametrize("delta", [torch.nan, torch.inf, -torch.inf])
def test_refined_boxes_that_are_not_finite_or_empty_are_not_sampled(delta: float) -> None:
    heads, stages = cascade_of(2), stages_of(THRESHOLDS[:2])
    with torch.no_grad():
        heads[0].box_deltas[:, 0] = delta
    losses = train(heads, stages, batch(scenes("objects", "objects")))
    assert heads[1].num_planned == 4, "only the objects are left"
    assert torch.tensor(numbers(losses)[1]).isfinite().all()


def test_average_logits_have_the_mean_of_the_probabilities() -> None:
    logits = [torch.tensor([[0.0, 0.0], [200.0, -200.0]]), torch.tensor([[0.0, 1.0], [0.0, torch.inf]]).half()]
    found = average_logits(logits).softmax(1)
    expected = torch.stack([logits[0].softmax(1), torch.tensor([[0.26894, 0.73106], [0.0, 1.0]])]).mean(0)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert average_logits(logits[:1]) is logits[0]


def test_detections_have_mean_scores_and_the_boxes_of_the_last_stage() -> None:
    heads, stages = cascade_of(3), stages_of(THRESHOLDS)
    boxes, classes, scores, _ = algorithm(stages).detect(heads[0], LEVELS, proposals(), SIZES, PADDED)
    first = 0
    for image, regions in enumerate(proposals().present):
        rows, current = slice(first, first + len(regions)), regions.tolist()
        probabilities = torch.stack([head.logits[rows].detach().double().softmax(1) for head in heads]).mean(0)
        for number, head in enumerate(heads[:-1], start=1):
            moves = (head.box_deltas[rows].double() / torch.tensor(stage_weights(number))).tolist()
            current = [clip(decode(box, move), SIZES[image]) for box, move in zip(current, moves, strict=True)]
        deltas = heads[-1].box_deltas[rows, None].expand(-1, NUM_THINGS, -1).tolist()
        expected = select_detections(
            current, probabilities.log().tolist(), deltas, SIZES[image], 0.5, 0.05, 100, stage_weights(3)
        )
        assert classes.entry(image).tolist() == [klass for _, klass, _ in expected]
        torch.testing.assert_close(scores.entry(image), torch.tensor([score for score, _, _ in expected]))
        torch.testing.assert_close(boxes.entry(image), torch.tensor([box for _, _, box in expected]))
        first += len(regions)


@pytest.mark.parametrize("kind", ["no proposals", "one image", "no detections"])
def test_detections_of_a_cascade_may_be_none(kind: str) -> None:
    heads, stages, rows = cascade_of(3), stages_of(THRESHOLDS), proposals()
    if kind != "no detections":
        rows = PackedSequence([torch.zeros(0, 4), rows.entry(1)[: 5 if kind == "one image" else 0]])
    else:
        with torch.no_grad():
            for head in heads:
                head.logits[:, 0] = 50
    boxes, classes, scores, _ = algorithm(stages).detect(heads[0], LEVELS, rows, SIZES, PADDED)
    assert [len(one) > 0 for one in boxes.present] == [False, kind == "one image"]
    for image in range(2):
        count = len(boxes.entry(image))
        assert (classes.entry(image).shape, scores.entry(image).shape) == ((count,), (count,))


def real_cascade() -> tuple[RoIHead, list[Tensor]]:
    """Return a head with three stages and masks, and pyramid levels with gradient."""
    head = RoIHead(3, NUM_THINGS, 8, 6, NormFactory("affine"), class_agnostic=True, num_later_stages=2).double()
    stir(head)
    return head, [level.double().requires_grad_() for level in LEVELS]


def real_losses(head: RoIHead, levels: Sequence[Tensor]) -> RoILosses:
    padded = PaddedImages(torch.zeros(2, 3, *PADDED), SIZES)
    truth = batch(scenes("objects", "objects"))
    return algorithm(stages_of(THRESHOLDS)).train(head, levels, proposals(), padded, truth, torch.Generator())


def test_losses_of_a_stage_train_its_own_layers_and_the_features_only() -> None:
    """The boxes that a stage gets are detached: its losses do not move them."""
    head, levels = real_cascade()
    losses = real_losses(head, levels)
    own = [
        [value for name, value in head.named_parameters() if not name.startswith(("stages.", "conv.", "roi_msk."))],
        *([*stage.parameters()] for stage in head.later_stages),
    ]
    for number, stage in enumerate(all_stages(losses)):
        inputs = [*head.parameters(), *levels]
        found = torch.autograd.grad(stage.classes.mean + stage.boxes.mean, inputs, allow_unused=True, retain_graph=True)
        reached = {id(value) for value, gradient in zip(inputs, found, strict=True) if gradient is not None}
        assert {id(value) for value in own[number]} <= reached
        assert reached <= {id(value) for value in (*own[number], *levels)}
        gradients = dict(zip(map(id, inputs), found, strict=True))
        assert all(gradients[id(value)].any() for value in (*own[number], levels[0]))


def test_features_learn_from_the_mean_over_the_stages_and_layers_from_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    def gradients(part: str) -> list[Tensor]:
        head, levels = real_cascade()
        losses = real_losses(head, levels)
        masks, stages = losses.masks, all_stages(losses)
        assert masks is not None
        loss = masks.mean if part == "masks" else sum(stage.classes.mean + stage.boxes.mean for stage in stages)
        layer = head.roi_msk.weight if part == "masks" else head.later_stages[1].roi_cls.weight
        return list(torch.autograd.grad(loss, [levels[0], layer]))

    divided = {part: gradients(part) for part in ("masks", "boxes")}
    monkeypatch.setattr(roi, "divide_gradient", lambda features, num_stages: None)
    for part, divisor in (("masks", 1), ("boxes", 3)):
        features, layer = gradients(part)
        torch.testing.assert_close(divided[part][0] * divisor, features)
        torch.testing.assert_close(divided[part][1], layer)


def test_class_and_box_losses_of_every_stage_fall_on_one_batch() -> None:
    head, levels = real_cascade()
    with torch.no_grad():
        for stage in (head, *head.later_stages):
            stage.roi_bbx_any.weight.zero_()  # boxes stay at first, so that later stages have positive regions
            stage.roi_bbx_any.bias.zero_()
    optimizer = torch.optim.Adam([*head.parameters(), *levels], lr=0.02)
    history = []
    for _ in range(25):
        losses = real_losses(head, levels)
        history.append([value for stage in numbers(losses) for value in stage])
        optimizer.zero_grad()
        sum(stage.classes.mean + stage.boxes.mean for stage in all_stages(losses)).backward()
        optimizer.step()
    assert all(last < 0.7 * first for first, last in zip(history[0], history[-1], strict=True)), history[::8]
