"""Test-time augmentation: merging the predictions of several passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles.bilinear import bilinear
from support.tiny_experiment import tiny_experiment
from support.tiny_network import NUM_STUFF, NUM_THINGS, tiny_network

from seamseg.algos.merging import MERGES, Merge
from seamseg.algos.roi import DetectionSelector
from seamseg.builders import build_fusion, build_input_transform
from seamseg.predict import Predictor
from seamseg.predict.predictor import Augmentation, Pass, join_passes
from seamseg.structures import Detections, SemanticLogits

CPU = torch.device("cpu")
SELECTOR = DetectionSelector(nms_threshold=0.5, score_threshold=0.0, max_predictions=10)


def predictor(augmentation: Augmentation | None = None) -> Predictor:
    """Return a predictor that does not resize images of 64×96 pixels."""
    experiment = tiny_experiment(None, "fusion.score_threshold=0.1")
    fusion = build_fusion(experiment, NUM_STUFF, NUM_THINGS)
    network = tiny_network(background_images=True)
    return Predictor(network, build_input_transform(experiment), fusion, CPU, augmentation)


def input_image(*size: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, axis=0).repeat(8, axis=1))


def make_pass(
    boxes: list[list[float]], scores: list[float], size: tuple[int, int], mirrored: bool, seed: int = 0
) -> Pass:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randn(len(boxes), 4, 4, generator=generator)
    edges = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    found = Detections(edges, torch.zeros(len(boxes)).long(), torch.tensor(scores), masks)
    logits = torch.randn(3, size[0] // 4, size[1] // 4, generator=generator)
    return Pass(found, SemanticLogits(logits, size, size), mirrored)


def test_augmentation_with_scale_one_without_flip_equals_no_augmentation() -> None:
    image = input_image(64, 96)
    plain, one = (predictor(augmentation)(image) for augmentation in (None, Augmentation((1.0,), flip=False)))
    for name in ("ids", "classes", "scores", "crowd"):
        assert torch.equal(getattr(plain, name), getattr(one, name))
    several = predictor(Augmentation((1.0, 1.5)))(image)
    assert not torch.equal(plain.ids, several.ids)


@pytest.mark.parametrize("scales", [(1.0,), (0.75, 1.25)])
def test_augmentation_with_flip_on_a_mirrored_image_mirrors_the_result(scales: tuple[float, ...]) -> None:
    image = input_image(64, 96)
    mirrored = np.ascontiguousarray(image[:, ::-1])
    with_flip = predictor(Augmentation(scales, flip=True))
    one, other = with_flip(image), with_flip(mirrored)
    assert len(one.classes) > 3
    assert sorted(one.classes.tolist()) == sorted(other.classes.tolist())
    assert torch.allclose(one.scores.sort()[0], other.scores.sort()[0], atol=1e-4)
    same = one.semantics == other.semantics.flip(1)
    assert same.float().mean() > 0.99
    without = predictor(Augmentation(scales))
    assert (without(image).semantics == without(mirrored).semantics.flip(1)).float().mean() < 0.9


def test_join_passes_of_a_mirrored_scaled_pass_maps_boxes_and_masks_back() -> None:
    found, _ = join_passes([make_pass([[4, 6, 20, 16]], [0.9], (32, 64), mirrored=True)], (16, 32), SELECTOR)
    assert found.boxes.tolist() == [[2, 24, 10, 29]]
    given = make_pass([[4, 6, 20, 16]], [0.9], (32, 64), mirrored=True).detections
    assert torch.equal(found.masks, given.masks.flip(-1))


def test_join_passes_with_overlapping_detections_applies_nms_across_passes() -> None:
    passes = [
        make_pass([[0, 0, 10, 10], [20, 20, 30, 30]], [0.6, 0.5], (32, 32), mirrored=False),
        make_pass([[0, 22, 10, 32], [20, 0, 30, 8]], [0.9, 0.2], (32, 32), mirrored=True, seed=1),
    ]
    found, _ = join_passes(passes, (32, 32), SELECTOR)
    assert found.scores.tolist() == pytest.approx([0.9, 0.5, 0.2])
    assert found.boxes.tolist() == [[0, 0, 10, 10], [20, 20, 30, 30], [20, 24, 30, 32]]
    assert torch.equal(found.masks[0], passes[1].detections.masks[0].flip(-1))
    best, _ = join_passes(passes, (32, 32), DetectionSelector(0.5, 0.0, 2))
    assert best.scores.tolist() == pytest.approx([0.9, 0.5])


def test_join_passes_with_two_grids_averages_logits_on_the_finer_one() -> None:
    passes = [
        make_pass([], [], (16, 24), mirrored=False),
        make_pass([], [], (32, 48), mirrored=True, seed=1),
    ]
    _, joined = join_passes(passes, (16, 24), SELECTOR)
    assert joined.logits.shape == (3, 8, 12)
    assert joined.size == joined.padded_size == (16, 24)
    coarse, fine = passes[0].semantics.logits, passes[1].semantics.logits.flip(-1)
    for channel, row, column in [(0, 0, 0), (1, 3, 5), (2, 7, 11), (0, 4, 0)]:
        there = bilinear(coarse[channel], (row + 0.5) / 2, (column + 0.5) / 2)
        expected = (there + float(fine[channel, row, column])) / 2
        assert float(joined.logits[channel, row, column]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("merge", MERGES)
def test_merge_of_a_mirrored_image_mirrors_the_classes(merge: Merge) -> None:
    """Each pass is mapped back before it is merged, and things are pasted over the merged classes."""
    image = input_image(64, 96)
    augmented = predictor(Augmentation((0.75, 1.0), flip=True, merge=merge))
    classes = [augmented(one).semantics for one in (image, np.ascontiguousarray(image[:, ::-1]))]
    assert (classes[0] == classes[1].flip(1)).float().mean() > 0.99


@pytest.mark.parametrize("merge", [merge for merge in MERGES if merge != "logits"])
def test_merge_replaces_the_classes_but_not_the_detections(merge: Merge) -> None:
    by_logits, merged = (predictor(Augmentation((0.5, 1.0), flip=True, merge=way)) for way in ("logits", merge))
    prepared = merged.prepare(input_image(64, 96))
    (before,), (after,) = by_logits.predict([prepared]), merged.predict([prepared])
    assert not torch.equal(before.segmentation.semantics, after.segmentation.semantics)
    assert torch.equal(before.semantics.logits, after.semantics.logits)
    for name in ("boxes", "classes", "scores", "masks"):
        assert torch.equal(getattr(before.detections, name), getattr(after.detections, name))


@pytest.mark.parametrize("merge", MERGES)
def test_merge_of_a_single_pass_equals_no_augmentation(merge: Merge) -> None:
    image = input_image(64, 96)
    plain, one = predictor()(image), predictor(Augmentation(merge=merge))(image)
    assert torch.equal(plain.ids, one.ids)


def test_augmentation_with_an_unknown_merge_raises() -> None:
    with pytest.raises(ValueError, match="logits, mean, max, vote"):
        Augmentation(merge="median")


def test_augmented_batch_equals_single_image_predictions() -> None:
    augmented = predictor(Augmentation((1.0, 0.5), flip=True))
    images = [input_image(64, 96, seed=seed) for seed in range(3)]
    batched = augmented.predict([augmented.prepare(image) for image in images])
    for image, found in zip(images, batched, strict=True):
        single = augmented(image)
        assert (single.semantics == found.segmentation.semantics).float().mean() > 0.999
        assert len(single.scores) == len(found.segmentation.scores)
        assert torch.allclose(single.scores, found.segmentation.scores, atol=1e-4)


@pytest.mark.parametrize("scales", [(), (0.0,), (-1.0,), (1.0, 1.0), (float("nan"),), (float("inf"),)])
def test_augmentation_with_invalid_scales_raises(scales: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="scale"):
        Augmentation(scales)


def test_join_passes_with_infinite_logits_keeps_them_in_place_without_nan() -> None:
    passes = [make_pass([], [], (16, 32), mirrored) for mirrored in (False, True)]
    for one, column in zip(passes, (1, 6), strict=True):
        one.semantics.logits[1, 0, column] = torch.inf
    _, semantics = join_passes(passes, (16, 32), SELECTOR)
    assert not semantics.logits.isnan().any()
    assert semantics.logits.argmax(0)[0, 1] == 1
    assert (semantics.logits > 1e30).sum() == 1
