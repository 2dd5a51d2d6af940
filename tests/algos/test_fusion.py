"""Panoptic fusion, against hand-drawn results, image-sized loops, and the output of the published network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from support.fusion_cases import Scene, check_scene, scenes
from torch import Tensor

from seamseg.algos.fusion import PanopticFusion, RenumberedFusion, fuse, fuse_patches
from seamseg.ops.fusion import paste_mask, upsample_argmax
from seamseg.structures import Detections, PanopticSegmentation, SemanticLogits

LARGE_LOGIT = 30.0


def solid(boxes: list[list[float]], scores: list[float], classes: list[int] | None = None) -> Detections:
    """Return objects that fill their boxes."""
    return Detections(
        torch.tensor(boxes).reshape(-1, 4),
        torch.tensor(classes or [0] * len(boxes), dtype=torch.int64),
        torch.tensor(scores),
        torch.full((len(boxes), 28, 28), LARGE_LOGIT),
    )


def fused(detections: Detections, semantics: Tensor, **changes: float) -> PanopticSegmentation:
    settings = {"score_threshold": 0.5, "overlap_threshold": 0.5, "min_stuff_area": 1.0} | changes
    return fuse(detections, semantics, num_stuff=2, **settings)[0]


def draw(segmentation: PanopticSegmentation) -> list[str]:
    return ["".join(str(int(pixel)) for pixel in row) for row in segmentation.ids]


def test_fuse_paints_things_over_stuff_and_higher_scores_in_front() -> None:
    semantics = torch.zeros(4, 6, dtype=torch.int64)
    semantics[3] = 1
    things = solid([[0, 0, 2, 3], [1, 2, 4, 5]], [0.6, 0.9], [1, 0])
    result = fused(things, semantics)
    assert draw(result) == ["222333", "221113", "331113", "441114"]
    assert result.classes.tolist() == [255, 2, 3, 0, 1]
    assert result.scores.tolist() == pytest.approx([0, 0.9, 0.6, 1, 1])
    assert result.crowd.tolist() == [False] * 5


def test_fuse_turns_remaining_pixels_of_thing_classes_into_crowd() -> None:
    semantics = torch.tensor([[0, 0, 2, 2], [0, 0, 2, 3]])
    result = fused(solid([[0, 3, 1, 4]], [0.9]), semantics)
    assert draw(result) == ["2231", "2234"]
    assert result.classes.tolist() == [255, 2, 0, 2, 3]
    assert result.crowd.tolist() == [False, False, False, True, True]


def test_fuse_leaves_small_stuff_and_unlabeled_pixels_void() -> None:
    semantics = torch.tensor([[0, 0, 0, 1], [0, 255, 255, 255]])
    assert draw(fused(solid([], []), semantics, min_stuff_area=2)) == ["1110", "1000"]
    assert draw(fused(solid([], []), semantics, min_stuff_area=4)) == ["1110", "1000"]
    assert draw(fused(solid([], []), semantics, min_stuff_area=4.5)) == ["0000", "0000"]


def test_fuse_drops_an_object_only_above_the_overlap_threshold() -> None:
    semantics = torch.zeros(1, 8, dtype=torch.int64)
    half_taken = solid([[0, 0, 1, 4], [0, 2, 1, 6]], [0.9, 0.8])
    assert draw(fused(half_taken, semantics)) == ["11112233"]
    more_taken = solid([[0, 0, 1, 4], [0, 1, 1, 6]], [0.9, 0.8])
    assert draw(fused(more_taken, semantics, overlap_threshold=0.6)) == ["11112233"]
    assert draw(fused(more_taken, semantics, overlap_threshold=0.59)) == ["11112222"]


def test_fuse_measures_overlap_relative_to_all_pixels_of_the_mask() -> None:
    # The second object has 3 of its 5 pixels taken.
    semantics = torch.zeros(1, 8, dtype=torch.int64)
    result = fused(solid([[0, 0, 1, 4], [0, 1, 1, 6]], [0.9, 0.8]), semantics, overlap_threshold=0.59)
    assert result.classes.tolist() == [255, 2, 0]


def test_fuse_drops_an_object_with_the_threshold_score() -> None:
    semantics = torch.zeros(1, 3, dtype=torch.int64)
    assert draw(fused(solid([[0, 0, 1, 1], [0, 1, 1, 2]], [0.5, 0.75]), semantics)) == ["212"]


def test_fuse_keeps_the_order_of_equal_scores() -> None:
    columns = torch.randperm(
        100, generator=torch.Generator().manual_seed(0)
    )  # 100, because short lists may be sorted stably by accident
    boxes = [[0.0, float(x), 1.0, float(x + 1)] for x in columns]
    result = fused(solid(boxes, [0.75] * 100), torch.zeros(1, 100, dtype=torch.int64))
    assert result.ids[0, columns].tolist() == list(range(1, 101))


def test_fuse_gives_an_id_to_an_object_without_pixels() -> None:
    semantics = torch.zeros(1, 4, dtype=torch.int64)
    result = fused(solid([[0.6, 0.6, 0.9, 0.9], [0, 1, 1, 2]], [0.9, 0.8]), semantics)
    assert draw(result) == ["3233"]
    assert result.classes.tolist() == [255, 2, 2, 0]


def test_fuse_without_objects_and_classes_returns_only_void() -> None:
    result = fused(solid([], []), torch.full((2, 3), 255))
    assert draw(result) == ["000", "000"]
    assert (result.classes.tolist(), result.scores.tolist(), result.crowd.tolist()) == ([255], [0.0], [False])


def test_fuse_does_not_modify_the_class_map() -> None:
    semantics = torch.zeros(2, 3, dtype=torch.int64)
    fused(solid([[0, 0, 1, 1]], [0.9]), semantics)
    assert not semantics.any()


@pytest.mark.parametrize("seed", range(25))
def test_fuse_random_detections_equals_image_sized_loops(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    num_detections = int(torch.randint(0, 14, (), generator=generator))
    corners = torch.rand(num_detections, 2, 2, generator=generator) * 22 - 2
    detections = Detections(
        torch.cat([corners.amin(1), corners.amax(1)], dim=1),
        torch.randint(0, 4, (num_detections,), generator=generator),
        torch.randint(0, 9, (num_detections,), generator=generator)
        / 8,  # multiples of 1/8: many ties, some equal to the threshold
        torch.randn(num_detections, 1, 1, generator=generator) * 3
        + torch.randn(num_detections, 7, 7, generator=generator),
    )
    blocks = torch.randint(0, 8, (5, 6), generator=generator)
    semantics = blocks.repeat_interleave(4, 0).repeat_interleave(4, 1)
    thresholds = (0.25, [0.25, 0.5, 0.75][seed % 3], float(seed % 40))
    check_scene(Scene(detections, semantics, *thresholds, num_stuff=4))


@given(scenes())
@settings(max_examples=200)
def test_fuse_generated_scenes_with_ties_equals_image_sized_loops(scene: Scene) -> None:
    check_scene(scene)


@given(scenes())
@settings(max_examples=100)
def test_fuse_patches_of_generated_scenes_equals_fuse(scene: Scene) -> None:
    found = scene.detections
    order = torch.argsort(found.scores, descending=True, stable=True)
    order = order[found.scores[order] > scene.score_threshold]
    size = scene.semantics.shape[0], scene.semantics.shape[1]
    given_settings = scene.settings()
    expected, _ = fuse(found, scene.semantics, **given_settings)
    del given_settings["score_threshold"]
    patches = (paste_mask(found.masks[index], found.boxes[index], size) for index in order)
    result = fuse_patches(
        found.classes[order], found.scores[order], patches, scene.semantics.to(torch.uint8), **given_settings
    )
    assert result.ids.dtype == torch.int32
    assert torch.equal(result.ids.long(), expected.ids)
    for name in ("classes", "scores", "crowd"):
        assert torch.equal(getattr(result, name), getattr(expected, name))


def test_fuse_with_several_threads_equals_one_thread() -> None:
    """The image is large enough for several threads."""
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


def test_fusion_at_another_size_scales_boxes_logits_and_min_area() -> None:
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
def test_fuse_published_detections_gives_the_published_things(shared: Path, image: int) -> None:
    """The ten best detections were published with masks; they become the first segments of the published output."""
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
    result, _ = fuse(
        detections, semantics, num_stuff=28, score_threshold=0.2, overlap_threshold=0.5, min_stuff_area=256
    )
    num_things = len(result.classes) - 1
    assert num_things >= 5
    expected = torch.from_numpy(golden[f"eval/panoptic/{image}/msk"]).long()
    expected[expected > num_things] = 0
    assert (result.ids != expected).sum() <= 2
    assert result.classes.tolist() == golden[f"eval/panoptic/{image}/cat"][: num_things + 1].tolist()
    assert np.allclose(result.scores.numpy(), golden[f"eval/panoptic/{image}/obj"][: num_things + 1])


@pytest.mark.parametrize("image", [0, 1])
def test_fuse_published_semantics_gives_the_published_stuff(shared: Path, image: int) -> None:
    """Pixels that the published things leave free get the published classes."""
    golden = np.load(shared / "golden" / "vistas_r50.npz")
    expected = torch.from_numpy(golden[f"eval/panoptic/{image}/msk"]).long()
    classes = torch.from_numpy(golden[f"eval/panoptic/{image}/cat"])
    things = (classes != 255) & (torch.from_numpy(golden[f"eval/panoptic/{image}/obj"]) < 1)
    semantics = torch.from_numpy(golden[f"eval/sem_pred/{image}"]).long()
    taken = things[expected]
    result = fuse_without_objects(semantics.masked_fill(taken, 255))
    first_rest = int(things.sum()) + 1
    assert torch.equal(result.ids, torch.where(taken | (expected == 0), 0, expected - first_rest + 1))
    assert result.classes[1:].tolist() == classes[first_rest:].tolist()
    assert result.crowd[1:].tolist() == golden[f"eval/panoptic/{image}/iscrowd"][first_rest:].tolist()


def fuse_without_objects(semantics: Tensor) -> PanopticSegmentation:
    nothing = solid([], [])
    return fuse(nothing, semantics, num_stuff=28, score_threshold=0.2, overlap_threshold=0.5, min_stuff_area=256)[0]


@pytest.mark.parametrize("output_size", [(20, 40), (40, 80), (10, 20), (7, 30)])
def test_min_stuff_area_counts_input_pixels_or_below_one_a_fraction(
    output_size: tuple[int, int],
) -> None:
    logits = torch.zeros(2, 20, 40)
    logits[0, :, :8] = logits[1, :, 8:] = LARGE_LOGIT  # a fifth of the image is class 0
    semantics, nothing = SemanticLogits(logits, (20, 40), (20, 40)), solid([], [])
    for area, kept in ((0.15, True), (0.3, False), (0, True), (120, True), (240, False)):
        result = PanopticFusion(2, 0.5, 0.5, area)(nothing, semantics, output_size).segmentation
        assert (0 in result.classes.tolist()) == kept, area


def test_renumbered_fusion_returns_the_classes_of_the_data_set() -> None:
    """Stuff classes 0 and 1 are swapped, thing 2 becomes stuff 2, and thing 3 stays."""
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
