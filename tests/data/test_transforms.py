"""Transforms from pixels on disk to the network's input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seamseg.data.color_jitter import ColorChange, ColorJitter
from seamseg.data.resizing import network_size
from seamseg.data.transforms import Channels, InputTransform, Normalize, TrainTransform
from seamseg.structures import PanopticSegmentation

MEAN: Channels = (0.485, 0.456, 0.406)
STD: Channels = (0.229, 0.224, 0.225)
SHADES = np.array([(0, 0, 0), (200, 0, 0), (0, 200, 0), (0, 0, 200)], np.uint8)


def blocks(height: int = 40, width: int = 60) -> tuple[np.ndarray, PanopticSegmentation]:
    """Return three segments and void in the corners, and the image that paints each in its shade."""
    ids = np.zeros((height, width), np.int32)
    ids[: height // 2, width // 3 :] = 1
    ids[height // 2 :, : width // 3] = 2
    ids[height // 2 :, width // 3 :] = 3
    classes, crowd = torch.tensor([255, 4, 2, 0]), torch.tensor([False, False, True, False])
    return SHADES[ids], PanopticSegmentation(torch.from_numpy(ids), classes, crowd)


def sample(
    transform: TrainTransform, image: np.ndarray, annotation: PanopticSegmentation, generator: torch.Generator
) -> tuple[torch.Tensor, PanopticSegmentation]:
    """Return the pixels and the annotation of one sample."""
    plan = transform.sample_plan((image.shape[0], image.shape[1]), generator)
    return plan.apply_image(image), plan.apply_annotation(annotation.as_layers())[0].flat


def train_transform(scale: tuple[float, float] | None, *, random_flip: bool = True) -> TrainTransform:
    return TrainTransform(32, 90, random_scale=scale, random_flip=random_flip)


def test_normalize_matches_the_formula() -> None:
    image = np.random.default_rng(0).integers(0, 256, size=(5, 4, 3), dtype=np.uint8)
    tensor = Normalize(MEAN, STD)(torch.from_numpy(image).permute(2, 0, 1).contiguous())
    assert (tensor.dtype, tuple(tensor.shape)) == (torch.float32, (3, 5, 4))
    assert tensor.is_contiguous()
    for channel in range(3):
        expected = (image[..., channel].astype(np.float64) / 255 - MEAN[channel]) / STD[channel]
        np.testing.assert_allclose(tensor[channel].numpy(), expected, atol=1e-6)


def test_normalize_does_not_change_its_input() -> None:
    image = torch.full((3, 2, 2), 9, dtype=torch.uint8)
    Normalize(MEAN, STD)(image)
    assert (image == 9).all()


def test_input_transform_resizes_then_normalizes() -> None:
    image, _ = blocks(40, 60)
    tensor = InputTransform(20, 25, MEAN, STD)(image)
    assert tuple(tensor.shape) == (3, *network_size((40, 60), 20, 25)) == (3, 16, 25)
    middle_of_segment_1 = tensor[:, 3, 18]
    assert middle_of_segment_1.tolist() == pytest.approx([(200 / 255 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**63 - 1))
def test_random_transform_moves_pixels_and_segments_together(seed: int) -> None:
    image, annotation = blocks()
    pixels, result = sample(train_transform((0.5, 2.0)), image, annotation, torch.Generator().manual_seed(seed))
    assert tuple(pixels.shape[1:]) == result.ids.shape
    assert (pixels.dtype, pixels.is_contiguous()) == (torch.uint8, True)
    shown = pixels.permute(1, 2, 0).numpy()
    same = (shown == SHADES[result.ids.numpy()]).all(axis=2)
    away_from_edges = np.ones_like(same)
    height, width = same.shape
    near = 4
    away_from_edges[height // 2 - near : height // 2 + near] = False
    for edge in (width // 3, width - width // 3):
        away_from_edges[:, edge - near : edge + near] = False
    assert same[away_from_edges].all()
    assert result.classes.tolist() == [255, 4, 2, 0]


def test_random_transform_flips_half_of_the_images_and_draws_uniform_scales() -> None:
    image, annotation = blocks(32, 48)
    transform = train_transform((0.5, 1.5))
    generator = torch.Generator().manual_seed(0)
    outputs = [sample(transform, image, annotation, generator)[1].ids for _ in range(600)]
    flipped = np.mean([ids[0, 0] == 1 for ids in outputs])
    assert 0.44 < flipped < 0.56
    sides = np.array([min(ids.shape) for ids in outputs])
    assert sides.min() in (16, 17)
    assert sides.max() in (46, 47)
    assert abs(sides.mean() - 31.5) < 1.2
    assert len(set(sides.tolist())) >= 28
    correlation = np.corrcoef(sides, [ids[0, 0] == 1 for ids in outputs])[0, 1]
    assert abs(correlation) < 0.12


def test_transform_without_randomness_is_deterministic() -> None:
    image, annotation = blocks(40, 60)
    transform = train_transform(None, random_flip=False)
    for seed in range(5):
        pixels, result = sample(transform, image, annotation, torch.Generator().manual_seed(seed))
        assert tuple(pixels.shape[1:]) == network_size((40, 60), 32, 90)
        assert result.ids[0, 0] == 0
        assert result.ids[0, -1] == 1


def test_longest_side_takes_precedence_over_the_random_scale() -> None:
    image, annotation = blocks(20, 100)
    pixels, _ = sample(train_transform((1.0, 2.0)), image, annotation, torch.Generator().manual_seed(0))
    assert tuple(pixels.shape[1:]) == (18, 90)


def test_random_scale_with_a_crop_multiplies_the_size_in_prediction_without_a_limit() -> None:
    transform = TrainTransform(32, 90, (0.5, 2.0), False, random_crop=(300, 300))
    for size in ((40, 60), (20, 100), (100, 20)):
        limited = min(32, 90 * min(size) / max(size))
        plans = [transform.sample_plan(size, torch.Generator().manual_seed(seed)) for seed in range(60)]
        shorts = [min(plan.size) for plan in plans]
        assert all(plan.size == network_size(size, short, 10**6) for plan, short in zip(plans, shorts, strict=True))
        assert 0.5 * limited - 1 <= min(shorts) < 0.6 * limited
        assert 1.9 * limited < max(shorts) <= 2 * limited
        assert transform.largest_size(size) == network_size(size, int(2 * limited), 10**6)
    assert transform.largest_size((20, 500)) == (7, 175)
    narrow = TrainTransform(32, 90, (0.5, 2.0), False, random_crop=(10, 20))
    assert narrow.largest_size((20, 100)) == (10, 20)


def test_crop_without_random_scale_keeps_the_size_in_prediction() -> None:
    transform = TrainTransform(32, 90, None, False, random_crop=(300, 300))
    assert transform.sample_plan((23, 100), torch.Generator()).size == network_size((23, 100), 32, 90)
    assert transform.largest_size((23, 100)) == network_size((23, 100), 32, 90)


def test_vanished_segments_are_removed_and_the_others_renumbered() -> None:
    image, annotation = blocks(64, 96)
    annotation.ids[1, 1] = 2
    annotation.ids[annotation.ids == 2] = 0
    annotation.ids[1, 1] = 2  # one pixel that contains no pixel center of the smaller image
    pixels, result = sample(train_transform((0.5, 0.5), random_flip=False), image, annotation, torch.Generator())
    assert tuple(pixels.shape[1:]) == (16, 24)
    assert sorted(set(result.ids.flatten().tolist())) == [0, 1, 2]
    assert result.classes.tolist() == [255, 4, 0]
    assert result.crowd.tolist() == [False, False, False]


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (2, 3)])
def test_random_transform_of_tiny_images_keeps_at_least_one_pixel(size: tuple[int, int]) -> None:
    ids = torch.ones(size, dtype=torch.int32)
    annotation = PanopticSegmentation(ids, torch.tensor([255, 0]), torch.zeros(2, dtype=torch.bool))
    pixels, result = sample(train_transform((0.5, 2.0)), np.zeros((*size, 3), np.uint8), annotation, torch.Generator())
    assert min(pixels.shape[1:]) >= 1
    assert (result.ids == 1).all()


def test_transforms_reject_settings_out_of_range() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        InputTransform(32, 64, MEAN, (0.2, 0.0, 0.2))
    with pytest.raises(ValueError, match="at least 1 pixel"):
        InputTransform(0, 64, MEAN, STD)
    for scale in ((0.0, 1.0), (1.2, 0.8), (0.01, 1.0)):
        with pytest.raises(ValueError, match="do not yield images of at least 1 pixel"):
            train_transform(scale)


def test_drawn_values_are_independent_of_other_settings() -> None:
    """Mirroring and scale follow the first two random numbers, regardless of the other settings."""
    for seed in range(20):
        first_two = torch.rand(2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()
        plain, rich = (
            TrainTransform(32, 90, (0.5, 2.0), True, *more).sample_plan((40, 60), torch.Generator().manual_seed(seed))
            for more in ((), ((10, 12), 0.2, ColorJitter(0.5, 0.5, 0.5, 0.5)))
        )
        short = int(16 + 48 * first_two[1])
        assert plain.size == network_size((40, 60), short, 90)
        assert plain.mirrored == rich.mirrored == (first_two[0] < 0.5)
        assert rich.size == (min(10, plain.size[0]), min(12, plain.size[1]))
        assert plain.color == ColorChange()
        assert rich.color != plain.color


def test_large_scale_jitter_reaches_the_full_crop_size_and_all_scales() -> None:
    image, annotation = blocks(64, 96)
    transform = TrainTransform(64, 200, (0.1, 2.0), True, random_crop=(64, 64), crop_min_visible=0.1)
    sizes, scales = set(), set()
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        pixels, result = sample(transform, image, annotation, generator)
        assert tuple(pixels.shape[1:]) == result.ids.shape
        plan = transform.sample_plan((64, 96), torch.Generator().manual_seed(seed))
        y0, _, y1, _ = plan.window
        sizes.add(result.ids.shape)
        scales.add(round(result.ids.shape[0] / (y1 - y0), 1))
        assert max(result.ids.shape) <= 64
    assert (64, 64) in sizes
    assert min(scales) < 0.2
    assert max(scales) > 1.8


def test_crop_has_matching_pixels_segments_and_boxes() -> None:
    image, annotation = blocks(40, 60)
    transform = TrainTransform(40, 90, None, True, random_crop=(15, 20), crop_min_visible=0.5)
    crowds = set()
    for seed in range(60):
        plan = transform.sample_plan((40, 60), torch.Generator().manual_seed(seed))
        layers, boxes, _ = plan.apply_annotation(annotation.as_layers())
        result = layers.flat
        shown = plan.apply_image(image).permute(1, 2, 0).numpy()
        assert result.ids.shape == (15, 20)
        original = {4: 1, 2: 2, 0: 3, 255: 0}
        for segment, (class_index, box) in enumerate(zip(result.classes.tolist(), boxes.tolist(), strict=True)):
            ys, xs = np.nonzero(result.ids.numpy() == segment)
            if len(ys) == 0:
                assert segment == 0
                continue
            assert box == [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]
            assert (shown[ys, xs] == SHADES[original[class_index]]).all()
            whole = (annotation.ids == original[class_index]).sum()
            cut_away = segment > 0 and len(ys) < 0.5 * whole
            assert result.crowd[segment] == (cut_away or class_index == 2)  # that segment was crowd already
            crowds.add(bool(result.crowd[segment]))
    assert crowds == {False, True}


@pytest.mark.parametrize(
    ("wrong", "fact"), [({"random_crop": (0, 5)}, "at least 1×1"), ({"crop_min_visible": 1.5}, r"in 0 … 1, .* 1\.5")]
)
def test_train_transform_rejects_crop_settings_out_of_range(wrong: dict[str, object], fact: str) -> None:
    with pytest.raises(ValueError, match=fact):
        TrainTransform(32, 64, None, False, **wrong)  # type: ignore[arg-type]
