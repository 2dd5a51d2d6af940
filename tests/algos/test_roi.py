"""Losses and detections of a head with fixed outputs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from oracles import losses as oracle
from oracles.bilinear import bilinear
from oracles.box_deltas import encode
from oracles.crop_aware import crop_aware_loss
from oracles.mask_iou import mask_iou
from oracles.mask_targets import mask_target
from oracles.matching import match_regions
from support.drawn_truth import Drawn, batch, painted
from torch import Tensor
from torch.nn import functional

from seamseg.algos import mask_losses
from seamseg.algos.box_regression import BoxLoss
from seamseg.algos.losses import RoILosses
from seamseg.algos.matching import RoIMatcher
from seamseg.algos.roi import DetectionSelector, RoIHeads
from seamseg.algos.roi_pooling import RoIPooler
from seamseg.structures import GroundTruth, PackedSequence, PaddedImages

SIZES = ((24, 32), (20, 17))
PADDED = (24, 32)
NUM_STUFF, NUM_THINGS, MASK_SIZE = 2, 3, 4
WEIGHTS = (10, 10, 5, 5)


class FixedHead:
    """Head that returns its row r for region r of a call and stores the features it gets."""

    has_masks, later_stages = True, ()

    def __init__(
        self, seed: int = 0, num_regions: int = 60, has_mask_scores: bool = False, has_points: bool = False
    ) -> None:
        self.has_mask_scores, self.has_points = has_mask_scores, has_points
        generator = torch.Generator().manual_seed(seed)
        self.logits = torch.randn(num_regions, NUM_THINGS + 1, generator=generator).requires_grad_()
        self.box_deltas = torch.randn(num_regions, NUM_THINGS, 4, generator=generator).requires_grad_()
        self.mask_logits = torch.randn(num_regions, NUM_THINGS, MASK_SIZE, MASK_SIZE, generator=generator)
        self.mask_logits.requires_grad_()
        self.scores = torch.rand(num_regions, NUM_THINGS, generator=generator).requires_grad_()
        self.classified = self.masked = self.scored = self.scored_masks = torch.zeros(0)
        self.expected: tuple[int, int, int] | None = None

    @contextlib.contextmanager
    def planned_forward(self, num_regions: int, num_masks: int, num_scores: int) -> Iterator[None]:
        self.expected = (num_regions, num_masks, num_scores if self.has_mask_scores else 0)
        yield
        assert (len(self.classified), len(self.masked), len(self.scored)) == self.expected, (
            "each branch must get the announced number of regions"
        )

    def classify(self, regions: Tensor, is_halved: bool = False) -> tuple[Tensor, Tensor]:
        self.classified = regions
        return self.logits[: len(regions)], self.box_deltas[: len(regions)]

    def masks(self, regions: Tensor, rows: Tensor | None = None) -> Tensor:
        self.masked = regions
        return self.mask_logits[: len(regions)] if rows is None else self.mask_logits[rows]

    def mask_scores(self, regions: Tensor, masks: Tensor) -> Tensor:
        self.scored, self.scored_masks = regions, masks
        return self.scores[: len(regions)]

    def point_logits(self, features: Tensor, coarse: Tensor) -> Tensor:
        """Return the sum of feature and coarse logit, plus the class."""
        shown = (features.sum(-1) + coarse)[:, None]
        return shown + torch.arange(float(NUM_THINGS))[:, None]


LEVELS = [
    torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(0)) for size in [(6, 8), (3, 4), (2, 2), (1, 1)]
]


def network(**settings: bool | float | str) -> RoIHeads:
    matcher = {"num_samples": 10**6, "positive_fraction": 1.0} | {
        key: settings.pop(key) for key in ("background_images", "num_samples") if key in settings
    }
    return RoIHeads(
        RoIPooler(), RoIMatcher(**matcher), DetectionSelector(0.5, 0.05, 100), NUM_STUFF, MASK_SIZE, **settings
    )


def scene(size: tuple[int, int], kind: str) -> Drawn:
    """Draw the segments 1 (stuff), 2 and 3 (things) and 4 (crowd of things); the rest is void."""
    ids = torch.zeros(size, dtype=torch.int64)
    ids[:6] = 1
    ids[2:10, 3:9] = 2
    ids[5:16, 9:16] = 3
    ids[15:, :9] = 4
    keep = {"objects": [1, 2, 3, 4], "no objects": [1], "crowd": [4], "void": []}[kind]
    return painted(torch.where(torch.isin(ids, torch.tensor(keep)), ids, 0), [0, 2, 4, 3], crowd=[4])


def proposals(count: int = 20, seed: int = 0) -> PackedSequence:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for height, width in SIZES:
        corners = torch.rand(count, 2, 2, generator=generator) * torch.tensor([height, width])
        near = torch.tensor([[2.0, 3, 10, 9], [5, 9, 16, 16]]) + torch.rand(2, 4, generator=generator)
        found.append(torch.cat([near, torch.cat([corners.amin(1), corners.amax(1)], dim=1)]))
    return PackedSequence(found)


def train(head: FixedHead, images: Sequence[Drawn], boxes: PackedSequence, **settings: bool | float) -> RoILosses:
    padded = PaddedImages(torch.zeros(2, 3, *PADDED), SIZES)
    return network(**settings).train(head, LEVELS, boxes, padded, batch(images), torch.Generator().manual_seed(0))


def numbers(losses: RoILosses) -> list[float]:
    return [float(loss.mean.detach()) for loss in (losses.classes, losses.boxes, losses.masks)]


def expected_losses(
    head: FixedHead,
    images: Sequence[Drawn],
    boxes: PackedSequence,
    background_images: bool = False,
    void_is_background: bool = False,
    masks_of_positives_only: bool = False,
) -> list[float]:
    truth, classes, box_deltas, masks = batch(images), [], [], []
    row = num_positive = 0
    for image, drawing in enumerate(images):
        present = [segment for segment in (2, 3) if (drawing.ids == segment).any()]
        objects = [truth.boxes.entry(image)[segment].tolist() for segment in present]
        crowd = drawing.ids == 4
        regions = match_regions(boxes.entry(image).tolist(), objects, crowd, background_images=background_images)
        for box, index in regions.positives:
            segment = present[index]
            thing = int(drawing.classes[segment]) - NUM_STUFF
            classes.append(oracle.cross_entropy(head.logits[row].tolist(), thing + 1))
            for found, target_deltas, weight in zip(
                head.box_deltas[row, thing].tolist(), encode(box, objects[index]), WEIGHTS, strict=True
            ):
                box_deltas.append(oracle.smooth_l1(found, target_deltas * weight, sigma=1))
            target = mask_target(drawing.ids, box, segment, MASK_SIZE, void_is_background)
            for y in range(MASK_SIZE):
                for x in range(MASK_SIZE):
                    if target[y][x] >= 0:
                        mask_row = num_positive if masks_of_positives_only else row
                        logit = float(head.mask_logits[mask_row, thing, y, x].detach())
                        masks.append(oracle.binary_cross_entropy(logit, target[y][x]))
            row += 1
            num_positive += 1
        for _ in regions.negatives:
            classes.append(oracle.cross_entropy(head.logits[row].tolist(), 0))
            row += 1
    return [sum(classes) / max(row, 1), sum(box_deltas) / max(row, 1), sum(masks) / max(len(masks), 1)]


@pytest.mark.parametrize("void_is_background", [False, True])
@pytest.mark.parametrize("background_images", [False, True])
@pytest.mark.parametrize(
    "kinds",
    [("objects", "objects"), ("objects", "no objects"), ("no objects", "objects"), ("crowd", "void"), ("void", "void")],
)
def test_losses_equal_loops_over_the_regions_of_the_batch(
    kinds: tuple[str, str], background_images: bool, void_is_background: bool
) -> None:
    images = [scene(size, kind) for size, kind in zip(SIZES, kinds, strict=True)]
    head, boxes = FixedHead(), proposals()
    options = {"background_images": background_images, "void_is_background": void_is_background}
    found = numbers(train(head, images, boxes, **options))
    assert found == pytest.approx(expected_losses(head, images, boxes, **options), rel=1e-4)
    has_objects = "objects" in kinds
    assert [loss > 0 for loss in found] == [has_objects or background_images, has_objects, has_objects]


@pytest.mark.parametrize("kinds", [("objects", "objects"), ("objects", "crowd"), ("void", "objects")])
def test_losses_with_every_segment_in_its_own_layer_are_the_same(kinds: tuple[str, str]) -> None:
    """The layers of detection data contain void wherever other segments lie, so void must be background there."""
    images = [scene(size, kind) for size, kind in zip(SIZES, kinds, strict=True)]
    for image in images:
        image.ids[4:8, 4:7] = 0  # a hole in segment 2
    head, boxes, truth = FixedHead(), proposals(), batch(images)
    layers = PackedSequence(
        torch.stack([torch.where(ids[0] == segment, ids[0], 0) for segment in range(1, 5)]) for ids in truth.ids.present
    )
    padded = PaddedImages(torch.zeros(2, 3, *PADDED), SIZES)
    expected = numbers(train(head, images, boxes, void_is_background=True))
    for is_background in (True, False):
        layered = replace(truth, ids=layers, void_is_background=is_background)
        found = network().train(head, LEVELS, boxes, padded, layered, torch.Generator().manual_seed(0))
        assert (numbers(found) == expected) == is_background


@pytest.mark.parametrize("kinds", [("no objects", "void"), ("crowd", "crowd")])
def test_losses_without_regions_are_zero_and_have_a_gradient(kinds: tuple[str, str]) -> None:
    head = FixedHead()
    losses = train(head, [scene(size, kind) for size, kind in zip(SIZES, kinds, strict=True)], proposals())
    assert numbers(losses) == [0, 0, 0]
    (losses.classes.mean + losses.boxes.mean + losses.masks.mean).backward()
    for values in (head.logits, head.box_deltas, head.mask_logits):
        assert values.grad is not None
        assert not values.grad.any()


def test_train_passes_all_regions_as_one_batch_to_both_branches() -> None:
    head, images = FixedHead(), [scene(size, "objects") for size in SIZES]
    train(head, images, proposals(), num_samples=20)
    assert len(head.classified) == 40
    assert torch.equal(functional.avg_pool2d(head.masked, 2), head.classified)


@pytest.mark.parametrize("kinds", [("objects", "objects"), ("no objects", "objects"), ("objects", "crowd")])
def test_train_with_masks_of_positives_only_passes_only_those(kinds: tuple[str, str]) -> None:
    images = [scene(size, kind) for size, kind in zip(SIZES, kinds, strict=True)]
    head, boxes, options = FixedHead(), proposals(), {"masks_of_positives_only": True, "background_images": True}
    losses = train(head, images, boxes, **options)
    assert numbers(losses) == pytest.approx(expected_losses(head, images, boxes, **options), rel=1e-4)
    assert 2 < len(head.masked) < len(head.classified)


def expected_score_loss(head: FixedHead, images: Sequence[Drawn], boxes: PackedSequence, **settings: bool) -> float:
    """Return the loss of the mask scores of positive regions, which are rows 0, 1, … of each branch that gets them."""
    truth, errors = batch(images), list[float]()
    positives_only, void_is_background = (
        settings.get(name, False) for name in ("masks_of_positives_only", "void_is_background")
    )
    row = 0
    for image, drawing in enumerate(images):
        present = [segment for segment in (2, 3) if (drawing.ids == segment).any()]
        objects = [truth.boxes.entry(image)[segment].tolist() for segment in present]
        regions = match_regions(boxes.entry(image).tolist(), objects, drawing.ids == 4, background_images=False)
        for position, (box, index) in enumerate(regions.positives):
            segment = present[index]
            thing = int(drawing.classes[segment]) - NUM_STUFF
            logits = head.mask_logits[len(errors) if positives_only else row + position, thing].tolist()
            target = mask_target(drawing.ids, box, segment, MASK_SIZE, void_is_background)
            iou = mask_iou(logits, target, drawing.ids, box, segment)
            errors.append((float(head.scores[len(errors), thing].detach()) - iou) ** 2 / 2)
        row += len(regions.positives) + len(regions.negatives)
    return sum(errors) / max(len(errors), 1)


@pytest.mark.parametrize("settings", [{}, {"masks_of_positives_only": True}, {"void_is_background": True}])
@pytest.mark.parametrize("kinds", [("objects", "objects"), ("no objects", "objects"), ("crowd", "void")])
def test_loss_of_mask_scores_equals_a_loop_over_the_regions(kinds: tuple[str, str], settings: dict[str, bool]) -> None:
    images = [scene(size, kind) for size, kind in zip(SIZES, kinds, strict=True)]
    head, boxes = FixedHead(has_mask_scores=True), proposals()
    losses = train(head, images, boxes, **settings)
    assert losses.mask_scores is not None
    found = float(losses.mask_scores.mean.detach())
    assert found == pytest.approx(expected_score_loss(head, images, boxes, **settings), rel=1e-4)
    assert (found > 0) == ("objects" in kinds)
    losses.mask_scores.mean.backward()
    assert head.scores.grad is not None
    assert head.mask_logits.grad is None, "masks are not trained to be easy to score"
    assert numbers(losses) == numbers(train(FixedHead(), images, boxes, **settings))


POINTS = torch.rand(40, 6, 2, generator=torch.Generator().manual_seed(8))


def expected_point_loss(head: FixedHead, images: Sequence[Drawn], boxes: PackedSequence, **settings: bool) -> float:
    """Return the loss of the masks of positive regions at POINTS, of which row r belongs to the r-th of them."""
    truth, losses, level = batch(images), list[float](), LEVELS[0]
    positives_only, void_is_background = (
        settings.get(name, False) for name in ("masks_of_positives_only", "void_is_background")
    )
    row = num_positive = 0
    for image, drawing in enumerate(images):
        present = [segment for segment in (2, 3) if (drawing.ids == segment).any()]
        objects = [truth.boxes.entry(image)[segment].tolist() for segment in present]
        regions = match_regions(boxes.entry(image).tolist(), objects, drawing.ids == 4, background_images=False)
        for position, ((y0, x0, y1, x1), index) in enumerate(regions.positives):
            thing = int(drawing.classes[present[index]]) - NUM_STUFF
            mask = head.mask_logits[num_positive if positives_only else row + position, thing].detach()
            for y, x in POINTS[num_positive].tolist():
                place = y0 + y * (y1 - y0), x0 + x * (x1 - x0)
                pixel = int(drawing.ids[math.floor(place[0]), math.floor(place[1])])
                in_level = [(at - 0.5) / 4 + 0.5 for at in place]
                logit = bilinear(level[image, 0], *in_level) + bilinear(mask, y * MASK_SIZE, x * MASK_SIZE) + thing
                if pixel or void_is_background:
                    losses.append(oracle.binary_cross_entropy(logit, int(pixel == present[index])))
            num_positive += 1
        row += len(regions.positives) + len(regions.negatives)
    return sum(losses) / max(len(losses), 1)


@pytest.mark.parametrize("settings", [{}, {"masks_of_positives_only": True}, {"void_is_background": True}])
@pytest.mark.parametrize("kinds", [("objects", "objects"), ("no objects", "objects"), ("crowd", "void")])
def test_loss_of_points_equals_a_loop_over_the_regions(
    kinds: tuple[str, str], settings: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [scene(size, kind) for size, kind in zip(SIZES, kinds, strict=True)]
    monkeypatch.setattr(mask_losses, "training_points", lambda masks, generator: POINTS[: len(masks.logits)])
    head, boxes = FixedHead(has_points=True), proposals()
    losses = train(head, images, boxes, **settings)
    assert losses.points is not None
    found = float(losses.points.mean.detach())
    assert found == pytest.approx(expected_point_loss(head, images, boxes, **settings), rel=1e-3)
    assert (found > 0) == ("objects" in kinds)
    losses.points.mean.backward()
    assert head.mask_logits.grad is not None, "coarse masks learn from the points, too"
    assert numbers(losses) == numbers(train(FixedHead(), images, boxes, **settings))


def test_points_of_the_loss_are_drawn_from_the_generator_of_the_step() -> None:
    images, boxes = [scene(size, "objects") for size in SIZES], proposals()
    found = []
    for seed in (0, 0, 1):
        padded = PaddedImages(torch.zeros(2, 3, *PADDED), SIZES)
        generator = torch.Generator().manual_seed(seed)
        losses = network().train(FixedHead(has_points=True), LEVELS, boxes, padded, batch(images), generator)
        assert losses.points is not None
        found.append(float(losses.points.mean.detach()))
    assert found[0] == found[1] != found[2]


def test_losses_of_a_head_without_optional_branches_have_none() -> None:
    losses = train(FixedHead(), [scene(size, "objects") for size in SIZES], proposals())
    assert losses.mask_scores is losses.points is None


def detect(head: FixedHead, boxes: list[list[list[float]]], **settings: float) -> list[PackedSequence]:
    rows = PackedSequence(torch.tensor(image).reshape(-1, 4) for image in boxes)
    return list(network(**settings).detect(head, LEVELS, rows, SIZES, PADDED))


def certain_head(things: list[int]) -> FixedHead:
    """Return a head that detects ``things[r]`` exactly in the box of region r; its mask of class t is t + r/10."""
    head = FixedHead()
    with torch.no_grad():
        head.box_deltas.zero_()
        head.logits.fill_(-20)
        for region, thing in enumerate(things):
            head.logits[region, thing + 1] = 20 - region
        head.mask_logits.copy_(torch.arange(float(NUM_THINGS)).reshape(1, -1, 1, 1).expand_as(head.mask_logits))
        head.mask_logits += torch.arange(60.0).reshape(-1, 1, 1, 1) / 10
    return head


def test_detect_returns_the_mask_of_the_class_per_image() -> None:
    head = certain_head([2, 0, 1])
    rows = [[[1.0, 2, 9, 10], [10, 20, 20, 30]], [[3.0, 4, 19, 16]]]
    boxes, classes, scores, masks = detect(head, rows)
    torch.testing.assert_close(boxes.entry(0), torch.tensor(rows[0]))
    torch.testing.assert_close(boxes.entry(1), torch.tensor(rows[1]))
    assert [entry.tolist() for entry in classes.present] == [[2, 0], [1]]
    assert [entry.shape for entry in scores.present] == [(2,), (1,)]
    assert [entry[:, 0, 0].tolist() for entry in masks.present] == [pytest.approx([2, 0.1]), pytest.approx([1.2])]
    assert masks.entry(0).shape == (2, MASK_SIZE, MASK_SIZE)


def test_detect_pools_mask_features_from_the_final_boxes() -> None:
    head = certain_head([0])
    with torch.no_grad():
        head.box_deltas[0, 0, 0] = 10.0  # weight 10: moves by one height
    boxes, *_ = detect(head, [[[1.0, 2, 9, 10]], []])
    torch.testing.assert_close(boxes.entry(0), torch.tensor([[9.0, 2, 17, 10]]))
    pooler = RoIPooler()
    assert torch.equal(head.masked, pooler(LEVELS, boxes, PADDED))
    first = PackedSequence([torch.tensor([[1.0, 2, 9, 10]]), torch.zeros(0, 4)])
    assert torch.equal(head.classified, pooler(LEVELS, first, PADDED))


def test_detect_with_mask_scores_sorts_by_the_product_of_both_scores() -> None:
    head = certain_head([2, 0, 1])
    head.has_mask_scores = True
    with torch.no_grad():
        head.scores[:3] = torch.tensor([[9.0, 9, 0.3], [0.6, 9, 9], [9, 0.5, 9]])  # 9: of other classes
    rows = [[[1.0, 2, 9, 10], [10, 20, 20, 30]], [[3.0, 4, 19, 16]]]
    boxes, classes, scores, masks = detect(head, rows)
    assert [entry.tolist() for entry in classes.present] == [[0, 2], [1]]
    assert [entry.tolist() for entry in scores.present] == [pytest.approx([0.6, 0.3]), pytest.approx([0.5])]
    assert [entry[:, 0, 0].tolist() for entry in masks.present] == [pytest.approx([0.1, 2]), pytest.approx([1.2])]
    torch.testing.assert_close(boxes.entry(0), torch.tensor(rows[0])[[1, 0]])
    assert torch.equal(head.scored, head.masked), "mask and score branch get the same features"
    assert head.scored_masks[:, 0, 0].tolist() == pytest.approx([2, 0.1, 1.2])


@pytest.mark.parametrize("has_mask_scores", [False, True])
def test_detect_with_points_returns_the_masks_of_the_class_eight_times_as_large(has_mask_scores: bool) -> None:
    head = certain_head([2, 0, 1])
    head.has_mask_scores, head.has_points = has_mask_scores, True
    with torch.no_grad():
        head.scores[:3] = torch.tensor([0.3, 0.6, 0.5])[:, None]
    rows = [[[1.0, 2, 9, 10], [10, 20, 20, 30]], [[3.0, 4, 19, 16]]]
    boxes, classes, _, masks = detect(head, rows)
    order = [1, 0] if has_mask_scores else [0, 1]
    torch.testing.assert_close(boxes.entry(0), torch.tensor(rows[0])[order])
    assert [entry.shape for entry in masks.present] == [(2, 32, 32), (1, 32, 32)]
    for image, (entry, things) in enumerate(zip(masks.present, classes.present, strict=True)):
        for mask, box, thing in zip(entry, boxes.entry(image).tolist(), things.tolist(), strict=True):
            # Coarse masks are the same everywhere. At least the last 784 points are predictions.
            features = [
                [bilinear(LEVELS[0][image, 0], _in_level(box, 0, y), _in_level(box, 1, x)) for x in range(32)]
                for y in range(32)
            ]
            coarse = {2: 2.0, 0: 0.1, 1: 1.2}[thing]
            assert ((mask - torch.tensor(features) - coarse - thing).abs() < 1e-3).sum() >= 784
    if has_mask_scores:
        assert head.scored_masks.shape == (3, MASK_SIZE, MASK_SIZE), "scores are those of the coarse masks"


def _in_level(box: Sequence[float], axis: int, number: int) -> float:
    """Return the coordinate, in the finest level, of a position of a mask with 32 of them per side."""
    at = box[axis] + (number + 0.5) / 32 * (box[axis + 2] - box[axis])
    return (at - 0.5) / 4 + 0.5


def test_detect_clips_boxes_to_the_unpadded_image() -> None:
    boxes, *_ = detect(certain_head([0, 0]), [[[1.0, 2, 24, 32]], [[1.0, 2, 24, 32]]])
    assert [entry.tolist() for entry in boxes.present] == [[[1, 2, 24, 32]], [[1, 2, 20, 17]]]


@pytest.mark.parametrize("has_points", [False, True])
@pytest.mark.parametrize("has_mask_scores", [False, True])
@pytest.mark.parametrize("rows", [[[], []], [[[1.0, 2, 9, 10]], []], [[[1.0, 2, 9, 10]], [[1.0, 2, 9, 10]]]])
def test_detect_without_detections_returns_zero_rows(
    rows: list[list[list[float]]], has_mask_scores: bool, has_points: bool
) -> None:
    head = FixedHead(has_mask_scores=has_mask_scores, has_points=has_points)
    with torch.no_grad():
        head.logits[:, 0] = 50
    boxes, classes, scores, masks = detect(head, rows)
    for image in range(2):
        assert boxes.entry(image).shape == (0, 4)
        assert (classes.entry(image).shape, classes.entry(image).dtype) == ((0,), torch.int64)
        assert scores.entry(image).shape == (0,)
        assert masks.entry(image).shape == (0, *[8 * MASK_SIZE if has_points else MASK_SIZE] * 2)


def test_detect_inverts_the_box_delta_targets_of_training() -> None:
    """A head that returns the training targets detects the objects themselves."""
    drawing = replace(scene(SIZES[0], "objects"))
    truth = batch([drawing, drawing]).objects(0, NUM_STUFF)
    region = torch.tensor([[3.0, 4, 9, 10]])
    target_deltas = torch.tensor(encode(region[0].tolist(), truth.boxes[0].tolist())) * torch.tensor(WEIGHTS)
    head = certain_head([int(truth.classes[0])])
    with torch.no_grad():
        head.box_deltas[0] = target_deltas
    boxes, *_ = detect(head, [region.tolist(), []])
    torch.testing.assert_close(boxes.entry(0), truth.boxes[:1])


def with_cut(images: Sequence[Drawn], cut: list[bool]) -> GroundTruth:
    """Return ground truth in which every object was cut at the same sides."""
    truth = batch(images)
    sides = PackedSequence(torch.tensor([cut] * len(classes)) for classes in truth.classes.present)
    return replace(truth, cut=sides)


@pytest.mark.parametrize("kinds", [("objects", "objects"), ("void", "objects"), ("crowd", "void")])
def test_crop_aware_box_loss_equals_the_search_over_full_boxes(kinds: tuple[str, str]) -> None:
    images = [scene(size, kind) for size, kind in zip(SIZES, kinds, strict=True)]
    head, boxes, padded = FixedHead(), proposals(), PaddedImages(torch.zeros(2, 3, *PADDED), SIZES)

    def loss(truth: GroundTruth, kind: BoxLoss) -> float:
        heads = network(box_loss=kind)
        losses = heads.train(head, LEVELS, boxes, padded, truth, torch.Generator().manual_seed(0))
        return losses.boxes.mean.item()

    total, row, cut = 0.0, 0, [True, False, True, True]
    for image, drawing in enumerate(images):
        truth = batch(images).objects(image, NUM_STUFF)
        regions = match_regions(boxes.entry(image).tolist(), truth.boxes.tolist(), drawing.ids == 4)
        for box, index in regions.positives:
            predicted = head.box_deltas[row, truth.classes[index]].tolist()
            total += crop_aware_loss(box, truth.boxes[index].tolist(), cut, predicted, WEIGHTS, 1)
            row += 1
        row += len(regions.negatives)
    assert loss(with_cut(images, cut), "crop_aware") == pytest.approx(total / max(row, 1), rel=1e-3)
    usual = loss(batch(images), "smooth_l1")
    assert loss(with_cut(images, cut), "smooth_l1") == loss(batch(images), "crop_aware") == usual
    assert loss(with_cut(images, [False] * 4), "crop_aware") == usual
