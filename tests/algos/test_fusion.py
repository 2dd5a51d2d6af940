"""Panoptic fusion, against hand-drawn results, image-sized loops and the published network's output."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from oracles import fusion as oracle
from support.fusion_cases import Scene, check_scene, scenes
from torch import Tensor

from seamseg.algos.fusion import PanopticFusion, RenumberedFusion, fuse
from seamseg.ops.fusion import upsample_argmax
from seamseg.structures import Detections, PanopticSegmentation, SemanticLogits

SURE = 30.0


def solid(boxes: list[list[float]], scores: list[float], classes: list[int] | None = None) -> Detections:
    """Objects that fill their boxes."""
    return Detections(
        torch.tensor(boxes).reshape(-1, 4),
        torch.tensor(classes or [0] * len(boxes), dtype=torch.int64),
        torch.tensor(scores),
        torch.full((len(boxes), 28, 28), SURE),
    )


def fused(detections: Detections, semantics: Tensor, **changes: float) -> PanopticSegmentation:
    settings = {"score_threshold": 0.5, "overlap_threshold": 0.5, "min_stuff_area": 1.0} | changes
    return fuse(detections, semantics, num_stuff=2, **settings)


def draw(segmentation: PanopticSegmentation) -> list[str]:
    return ["".join(str(int(pixel)) for pixel in row) for row in segmentation.ids]


def test_things_lie_over_stuff_and_the_surer_one_in_front() -> None:
    semantics = torch.zeros(4, 6, dtype=torch.int64)
    semantics[3] = 1
    things = solid([[0, 0, 2, 3], [1, 2, 4, 5]], [0.6, 0.9], [1, 0])
    result = fused(things, semantics)
    assert draw(result) == ["222333", "221113", "331113", "441114"]
    assert result.classes.tolist() == [255, 2, 3, 0, 1]
    assert result.scores.tolist() == pytest.approx([0, 0.9, 0.6, 1, 1])
    assert result.crowd.tolist() == [False] * 5


def test_what_is_left_of_a_thing_class_is_crowd() -> None:
    semantics = torch.tensor([[0, 0, 2, 2], [0, 0, 2, 3]])
    result = fused(solid([[0, 3, 1, 4]], [0.9]), semantics)
    assert draw(result) == ["2231", "2234"]
    assert result.classes.tolist() == [255, 2, 0, 2, 3]
    assert result.crowd.tolist() == [False, False, False, True, True]


def test_small_stuff_and_unlabeled_pixels_stay_void() -> None:
    semantics = torch.tensor([[0, 0, 0, 1], [0, 255, 255, 255]])
    assert draw(fused(solid([], []), semantics, min_stuff_area=2)) == ["1110", "1000"]
    assert draw(fused(solid([], []), semantics, min_stuff_area=4)) == ["1110", "1000"]
    assert draw(fused(solid([], []), semantics, min_stuff_area=4.5)) == ["0000", "0000"]


def test_an_object_goes_only_when_more_than_the_threshold_is_taken() -> None:
    semantics = torch.zeros(1, 8, dtype=torch.int64)
    half = solid([[0, 0, 1, 4], [0, 2, 1, 6]], [0.9, 0.8])
    assert draw(fused(half, semantics)) == ["11112233"]
    more = solid([[0, 0, 1, 4], [0, 1, 1, 6]], [0.9, 0.8])
    assert draw(fused(more, semantics, overlap_threshold=0.6)) == ["11112233"]
    assert draw(fused(more, semantics, overlap_threshold=0.59)) == ["11112222"]


def test_overlap_counts_pixels_of_the_mask_not_of_what_is_free() -> None:
    # The second object has 3 of its 5 pixels taken.
    semantics = torch.zeros(1, 8, dtype=torch.int64)
    result = fused(solid([[0, 0, 1, 4], [0, 1, 1, 6]], [0.9, 0.8]), semantics, overlap_threshold=0.59)
    assert result.classes.tolist() == [255, 2, 0]


def test_scores_must_be_above_the_threshold() -> None:
    semantics = torch.zeros(1, 3, dtype=torch.int64)
    assert draw(fused(solid([[0, 0, 1, 1], [0, 1, 1, 2]], [0.5, 0.75]), semantics)) == ["212"]


def test_equal_scores_keep_their_order() -> None:
    columns = torch.randperm(100, generator=torch.Generator().manual_seed(0))  # many: short lists sort stably by luck
    boxes = [[0.0, float(x), 1.0, float(x + 1)] for x in columns]
    result = fused(solid(boxes, [0.75] * 100), torch.zeros(1, 100, dtype=torch.int64))
    assert result.ids[0, columns].tolist() == list(range(1, 101))


def test_an_object_without_a_pixel_takes_an_id() -> None:
    semantics = torch.zeros(1, 4, dtype=torch.int64)
    result = fused(solid([[0.6, 0.6, 0.9, 0.9], [0, 1, 1, 2]], [0.9, 0.8]), semantics)
    assert draw(result) == ["3233"]
    assert result.classes.tolist() == [255, 2, 2, 0]


def test_neither_objects_nor_pixels_of_any_class() -> None:
    result = fused(solid([], []), torch.full((2, 3), 255))
    assert draw(result) == ["000", "000"]
    assert (result.classes.tolist(), result.scores.tolist(), result.crowd.tolist()) == ([255], [0.0], [False])


def test_the_class_map_is_left_alone() -> None:
    semantics = torch.zeros(2, 3, dtype=torch.int64)
    fused(solid([[0, 0, 1, 1]], [0.9]), semantics)
    assert not semantics.any()


@pytest.mark.parametrize("seed", range(25))
def test_equals_image_sized_loops(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    num_detections = int(torch.randint(0, 14, (), generator=generator))
    corners = torch.rand(num_detections, 2, 2, generator=generator) * 22 - 2
    detections = Detections(
        torch.cat([corners.amin(1), corners.amax(1)], dim=1),
        torch.randint(0, 4, (num_detections,), generator=generator),
        torch.randint(0, 9, (num_detections,), generator=generator) / 8,  # eighths: many ties, some on the threshold
        torch.randn(num_detections, 1, 1, generator=generator) * 3
        + torch.randn(num_detections, 7, 7, generator=generator),
    )
    blocks = torch.randint(0, 8, (5, 6), generator=generator)
    semantics = blocks.repeat_interleave(4, 0).repeat_interleave(4, 1)
    thresholds = (0.25, [0.25, 0.5, 0.75][seed % 3], float(seed % 40))
    result = fuse(
        detections,
        semantics,
        num_stuff=4,
        score_threshold=thresholds[0],
        overlap_threshold=thresholds[1],
        min_stuff_area=thresholds[2],
    )
    parts = (detections.boxes, detections.classes, detections.scores, detections.masks)
    ids, classes, scores, crowd = oracle.fuse(*parts, semantics, 4, *thresholds)
    assert torch.equal(result.ids, ids)
    assert result.classes.tolist() == classes
    assert result.scores.tolist() == scores
    assert result.crowd.tolist() == crowd


@given(scenes())
@settings(max_examples=200)
def test_equals_image_sized_loops_where_all_is_equal(scene: Scene) -> None:
    check_scene(scene)


def test_large_objects_are_shared_by_threads() -> None:
    """Of a picture that takes several threads: what one thread finds."""
    generator, size = torch.Generator().manual_seed(3), (300, 400)
    corners = torch.rand(40, 2, 2, generator=generator) * torch.tensor(size)
    detections = Detections(
        torch.cat([corners.amin(1), corners.amax(1)], dim=1),
        torch.randint(0, 4, (40,), generator=generator),
        torch.rand(40, generator=generator),
        torch.randn(40, 28, 28, generator=generator) * 3 + 1,
    )
    semantics, before = torch.randint(0, 19, size, generator=generator), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            results.append(fused(detections, semantics, overlap_threshold=0.4, min_stuff_area=200))
    finally:
        torch.set_num_threads(before)
    one, four = results
    assert 10 < len(one.classes) < 60  # some are dropped
    assert torch.equal(one.ids, four.ids)
    assert torch.equal(one.classes, four.classes)


def test_at_another_size_boxes_scores_and_the_smallest_area_follow() -> None:
    logits = torch.zeros(4, 8, 8)
    logits[0, :, :6] = logits[1, :, 6:] = 9.0  # class 1 on the right quarter
    semantics = SemanticLogits(logits, (32, 32), (24, 32))
    things = solid([[0, 0, 12, 8]], [0.9])
    fusion = PanopticFusion(num_stuff=2, score_threshold=0.5, overlap_threshold=0.5, min_stuff_area=190)
    result = fusion(things, semantics, (48, 32))
    assert result.detections.boxes.tolist() == [[0, 0, 24, 8]]
    assert torch.equal(result.semantics, upsample_argmax(semantics, (48, 32)))
    expected = torch.full((48, 32), 2)
    expected[:24, :8] = 1
    expected[:, 24:] = 3  # 384 pixels: at least 190 · 2
    assert torch.equal(result.segmentation.ids, expected)
    strict = replace(fusion, min_stuff_area=193)(things, semantics, (48, 32))
    assert torch.equal(strict.segmentation.ids, expected.masked_fill(expected == 3, 0))


@pytest.mark.parametrize("image", [0, 1])
def test_the_published_networks_first_objects(shared: Path, image: int) -> None:
    """Its ten surest detections come with masks: fused, they make the first segments of its output, pixel by pixel."""
    golden = np.load(shared / "golden" / "vistas_r50.npz")
    masks = torch.from_numpy(golden[f"eval/msk_pred/{image}"])
    first = slice(len(masks))
    detections = Detections(
        torch.from_numpy(golden[f"eval/bbx_pred/{image}"])[first],
        torch.from_numpy(golden[f"eval/cls_pred/{image}"])[first],
        torch.from_numpy(golden[f"eval/obj_pred/{image}"])[first],
        masks,
    )
    semantics = torch.full(golden[f"eval/sem_pred/{image}"].shape, 255)
    result = fuse(detections, semantics, num_stuff=28, score_threshold=0.2, overlap_threshold=0.5, min_stuff_area=256)
    num_things = len(result.classes) - 1
    assert num_things >= 5
    expected = torch.from_numpy(golden[f"eval/panoptic/{image}/msk"]).long()
    expected[expected > num_things] = 0
    assert (result.ids != expected).sum() <= 2
    assert result.classes.tolist() == golden[f"eval/panoptic/{image}/cat"][: num_things + 1].tolist()
    assert np.allclose(result.scores.numpy(), golden[f"eval/panoptic/{image}/obj"][: num_things + 1])


@pytest.mark.parametrize("image", [0, 1])
def test_the_published_networks_remaining_pixels(shared: Path, image: int) -> None:
    """Where its things left pixels free, its classes fill them as here."""
    golden = np.load(shared / "golden" / "vistas_r50.npz")
    expected = torch.from_numpy(golden[f"eval/panoptic/{image}/msk"]).long()
    classes = torch.from_numpy(golden[f"eval/panoptic/{image}/cat"])
    things = (classes != 255) & (torch.from_numpy(golden[f"eval/panoptic/{image}/obj"]) < 1)
    semantics = torch.from_numpy(golden[f"eval/sem_pred/{image}"]).long()
    taken = things[expected]
    result = fused_rest(semantics.masked_fill(taken, 255))
    first_rest = int(things.sum()) + 1
    assert torch.equal(result.ids, torch.where(taken | (expected == 0), 0, expected - first_rest + 1))
    assert result.classes[1:].tolist() == classes[first_rest:].tolist()
    assert result.crowd[1:].tolist() == golden[f"eval/panoptic/{image}/iscrowd"][first_rest:].tolist()


def fused_rest(semantics: Tensor) -> PanopticSegmentation:
    nothing = solid([], [])
    return fuse(nothing, semantics, num_stuff=28, score_threshold=0.2, overlap_threshold=0.5, min_stuff_area=256)


@pytest.mark.parametrize("output_size", [(20, 40), (40, 80), (10, 20), (7, 30)])
def test_the_smallest_area_of_stuff_in_pixels_of_the_input_or_as_a_part_of_the_image(
    output_size: tuple[int, int],
) -> None:
    logits = torch.zeros(2, 20, 40)
    logits[0, :, :8] = logits[1, :, 8:] = SURE  # a fifth of the image is class 0
    semantics, nothing = SemanticLogits(logits, (20, 40), (20, 40)), solid([], [])
    for area, kept in ((0.15, True), (0.3, False), (0, True), (120, True), (240, False)):
        result = PanopticFusion(2, 0.5, 0.5, area)(nothing, semantics, output_size).segmentation
        assert (0 in result.classes.tolist()) == kept, area


def test_renumbered_classes_are_those_of_the_data_set() -> None:
    """Stuff 0 and 1 swap places, thing 2 becomes stuff 2, thing 3 stays."""
    logits = torch.zeros(4, 6, 6)
    logits[0, :3] = logits[1, 3:] = 5
    semantics = SemanticLogits(logits, (6, 6), (6, 6))
    things = solid([[0, 0, 2, 2], [4, 4, 6, 6]], [0.9, 0.8], [0, 1])
    plain = PanopticFusion(2, 0.5, 0.5, 1.0)
    old, new = plain(things, semantics, (6, 6)), RenumberedFusion(plain, (1, 0, 2, 3), 3)(things, semantics, (6, 6))
    assert torch.equal(old.segmentation.ids, new.segmentation.ids)
    assert old.segmentation.classes.tolist() == [255, 2, 3, 0, 1]
    assert new.segmentation.classes.tolist() == [255, 2, 3, 1, 0]
    assert new.segmentation.scores.tolist() == old.segmentation.scores.tolist()
    assert torch.equal(new.semantics, 1 - old.semantics)
    assert new.detections.classes.tolist() == [0], "class 3 is the first thing of the data set"
    assert new.detections.boxes.tolist() == [[4, 4, 6, 6]]
    assert len(new.detections.masks) == len(new.detections.scores) == 1
