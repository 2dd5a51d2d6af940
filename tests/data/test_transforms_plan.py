"""Windows of images and their segments, resized and mirrored together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.segment_boxes import segment_boxes

from seamseg.data.transforms import AugmentationPlan, make_plan
from seamseg.structures import PanopticSegmentation

fractions = st.floats(0, 1, exclude_max=True)
sides = st.integers(1, 60)


def coordinates(height: int, width: int) -> tuple[np.ndarray, PanopticSegmentation]:
    """Return an image with its row in red and its column in green, and a separate segment for every pixel."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([y, x, np.full_like(y, 7)], axis=-1).astype(np.uint8)
    ids = (y * width + x + 1).astype(np.int32)
    num = height * width + 1
    classes = np.concatenate([[255], np.arange(num - 1) % 5]).astype(np.int64)
    parts = ids, classes, np.zeros(num, np.bool_)
    return image, PanopticSegmentation(*map(torch.from_numpy, parts))


@given(sides, sides, st.tuples(sides, sides), st.tuples(fractions, fractions), st.booleans())
def test_cropping_and_mirroring_move_pixels_and_ids_equally(
    height: int, width: int, crop: tuple[int, int], place: tuple[float, float], mirrored: bool
) -> None:
    image, annotation = coordinates(height, width)
    plan = make_plan((height, width), (height, width), crop, place, mirrored)
    pixels, ids = plan.apply_image(image), plan.apply_ids(annotation.ids).numpy()
    assert ids.shape == tuple(pixels.shape[1:]) == (min(height, crop[0]), min(width, crop[1]))
    rows, columns = np.divmod(ids - 1, width)
    assert np.array_equal(pixels[0].numpy(), rows)
    assert np.array_equal(pixels[1].numpy(), columns)
    across = np.diff(columns, axis=1)
    assert (across == (-1 if mirrored else 1)).all()
    assert (np.diff(rows, axis=0) == 1).all()


@settings(deadline=None)
@given(
    st.tuples(st.integers(24, 120), st.integers(24, 120)),
    st.floats(0.3, 2.5),
    st.tuples(st.integers(10, 90), st.integers(10, 90)),
    st.tuples(fractions, fractions),
    st.booleans(),
)
def test_resized_pixels_and_ids_come_from_the_same_place(
    whole: tuple[int, int], scale: float, crop: tuple[int, int], place: tuple[float, float], mirrored: bool
) -> None:
    """A resampled gradient is still a gradient, so the color of a pixel tells its origin, except at the edges."""
    image, annotation = coordinates(*whole)
    scaled = max(1, int(whole[0] * scale)), max(1, int(whole[1] * scale))
    plan = make_plan(whole, scaled, crop, place, mirrored)
    pixels, ids = plan.apply_image(image), plan.apply_ids(annotation.ids).numpy()
    rows, columns = np.divmod(ids - 1, whole[1])
    height, width = plan.size
    inner_y, inner_x = slice(height // 4, -(height // 4) or None), slice(width // 4, -(width // 4) or None)
    for channel, named in ((0, rows), (1, columns)):
        away = np.abs(pixels[channel].numpy()[inner_y, inner_x].astype(int) - named[inner_y, inner_x])
        assert away.max() <= 1.5 + 0.5 / scale


@given(
    st.tuples(st.integers(1, 200), st.integers(1, 200)),
    st.floats(0.05, 2),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(fractions, fractions),
)
def test_windows_are_inside_the_image_and_on_the_grid_of_the_reduced_image(
    whole: tuple[int, int], scale: float, crop: tuple[int, int], place: tuple[float, float]
) -> None:
    scaled = max(1, int(whole[0] * scale)), max(1, int(whole[1] * scale))
    plan = make_plan(whole, scaled, crop, place, False)
    for low, high, old, new, shown in zip(plan.window[:2], plan.window[2:], whole, scaled, plan.size, strict=True):
        assert 0 <= low < high <= old
        assert shown == min(new, crop[whole.index(old)] if whole[0] != whole[1] else shown)
        assert low % plan.decode_scale == 0
        assert high % plan.decode_scale == 0 or high == old
        exact = shown * old / new
        assert exact - 1 <= high - low <= exact + 1 + 2 * plan.decode_scale


def test_window_positions_are_uniform() -> None:
    generator = np.random.default_rng(0)
    starts = [
        make_plan((30, 50), (30, 50), (26, 50), (place, 0.5), False).window[0] for place in generator.random(2000)
    ]
    counts = np.bincount(starts, minlength=5)
    assert len(counts) == 5
    assert counts.min() > 330


@given(st.integers(0, 2**32 - 1))
def test_plan_boxes_equal_the_boxes_of_its_ids(seed: int) -> None:
    generator = np.random.default_rng(seed)
    ids = np.kron(generator.integers(0, 6, size=(5, 7)), np.ones((6, 5))).astype(np.int32)
    parts = ids, np.array([255, 0, 1, 2, 3, 4]), generator.random(6) < 0.5
    annotation = PanopticSegmentation(*map(torch.from_numpy, parts))
    plan = make_plan((30, 35), (44, 50), (20, 25), tuple(generator.random(2)), bool(generator.random() < 0.5))
    layers, boxes, _ = plan.apply_annotation(annotation.as_layers())
    result = layers.flat
    expected, areas = segment_boxes(result.ids.numpy(), len(result.classes))
    assert boxes.tolist() == expected
    assert min(areas[1:], default=1) > 0
    shown, there = plan.apply_ids(annotation.ids), result.ids > 0
    assert torch.equal(result.classes[result.ids], annotation.classes[shown])
    assert torch.equal(result.crowd[result.ids][there], annotation.crowd[shown][there])


def cut(min_visible: float) -> PanopticSegmentation:
    """Crop three segments of 10, 10 and 5 pixels surrounded by void, which leaves 3, 3 and 5 pixels."""
    ids = np.zeros((3, 12), np.int32)
    ids[0, :10], ids[1, :10], ids[2, 7:] = 1, np.r_[0, 0, 0, 0, 0, 0, 0, 2, 2, 2], 3
    ids[1, :7] = 2
    classes, crowd = torch.tensor([255, 4, 5, 6]), torch.tensor([False, False, False, True])
    plan = AugmentationPlan((3, 12), (0, 7, 3, 12), (3, 5), mirrored=False, decode_scale=1, min_visible=min_visible)
    annotation = PanopticSegmentation(torch.from_numpy(ids), classes, crowd)
    return plan.apply_annotation(annotation.as_layers())[0].flat


def test_segments_with_too_few_visible_pixels_become_crowd_and_keep_their_class() -> None:
    """The window contains 3 of 10 pixels of segments 1 and 2, and all 5 of segment 3, which is crowd already."""
    below = cut(0.3)
    assert below.crowd.tolist() == [False, False, False, True]
    above = cut(0.31)
    assert above.crowd.tolist() == [False, True, True, True]
    assert above.classes.tolist() == below.classes.tolist() == [255, 4, 5, 6]
    assert torch.equal(above.ids, below.ids)


def test_uncropped_segments_never_become_crowd() -> None:
    _, annotation = coordinates(9, 9)
    plan = replace(make_plan((9, 9), (3, 3), None, (0.0, 0.0), False), min_visible=1.0)
    result, *_ = plan.apply_annotation(annotation.as_layers())
    assert not result.crowd.any()
    assert len(result.classes) == 10


@settings(deadline=None)
@given(st.tuples(st.integers(32, 200), st.integers(32, 200)), st.floats(0.05, 0.4), st.tuples(fractions, fractions))
def test_plan_of_reduced_image_shows_the_same_window(
    whole: tuple[int, int], scale: float, place: tuple[float, float]
) -> None:
    """Block averages of a gradient form the same gradient, so the shown pixels must not move."""
    image, _ = coordinates(*whole)
    scaled = max(1, int(whole[0] * scale)), max(1, int(whole[1] * scale))
    plan = make_plan(whole, scaled, (9, 11), place, True)
    factor = plan.decode_scale
    padded = np.pad(image, [(0, -whole[0] % factor), (0, -whole[1] % factor), (0, 0)], mode="edge")
    blocks = padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor, 3)
    reduced = blocks.mean(axis=(1, 3)).round().astype(np.uint8)
    difference = (plan.apply_image(reduced, factor).short() - plan.apply_image(image).short()).abs()
    assert difference.max() <= 1 + factor / 2
