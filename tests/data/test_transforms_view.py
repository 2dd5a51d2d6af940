"""Windows of images and of their segments, resized and mirrored together."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.segment_boxes import segment_boxes

from seamseg.data.annotation import Annotation
from seamseg.data.transforms import View, make_view

fractions = st.floats(0, 1, exclude_max=True)
sides = st.integers(1, 60)


def coordinates(height: int, width: int) -> tuple[np.ndarray, Annotation]:
    """An image whose red is its row and whose green is its column, and a segment of its own for every pixel."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([y, x, np.full_like(y, 7)], axis=-1).astype(np.uint8)
    ids = (y * width + x + 1).astype(np.int32)
    num = height * width + 1
    classes = np.concatenate([[255], np.arange(num - 1) % 5]).astype(np.int64)
    return image, Annotation(ids, classes, np.zeros(num, np.bool_))


@given(sides, sides, st.tuples(sides, sides), st.tuples(fractions, fractions), st.booleans())
def test_cropping_and_mirroring_move_pixels_and_ids_alike(
    height: int, width: int, crop: tuple[int, int], place: tuple[float, float], mirrored: bool
) -> None:
    image, annotation = coordinates(height, width)
    view = make_view((height, width), (height, width), crop, place, mirrored)
    pixels, ids = view.image(image), view.ids(annotation.ids)
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
def test_resized_pixels_show_the_place_that_their_id_names(
    whole: tuple[int, int], scale: float, crop: tuple[int, int], place: tuple[float, float], mirrored: bool
) -> None:
    """A slope stays a slope when resampled, so its colour still says where a pixel comes from, but at the edges."""
    image, annotation = coordinates(*whole)
    scaled = max(1, int(whole[0] * scale)), max(1, int(whole[1] * scale))
    view = make_view(whole, scaled, crop, place, mirrored)
    pixels, ids = view.image(image), view.ids(annotation.ids)
    rows, columns = np.divmod(ids - 1, whole[1])
    height, width = view.size
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
def test_windows_lie_in_the_image_and_on_the_grid_of_the_reduced_one(
    whole: tuple[int, int], scale: float, crop: tuple[int, int], place: tuple[float, float]
) -> None:
    scaled = max(1, int(whole[0] * scale)), max(1, int(whole[1] * scale))
    view = make_view(whole, scaled, crop, place, False)
    for low, high, old, new, shown in zip(view.window[:2], view.window[2:], whole, scaled, view.size, strict=True):
        assert 0 <= low < high <= old
        assert shown == min(new, crop[whole.index(old)] if whole[0] != whole[1] else shown)
        assert low % view.factor == 0
        assert high % view.factor == 0 or high == old
        exact = shown * old / new
        assert exact - 1 <= high - low <= exact + 1 + 2 * view.factor


def test_windows_are_anywhere_equally_often() -> None:
    generator = np.random.default_rng(0)
    starts = [
        make_view((30, 50), (30, 50), (26, 50), (place, 0.5), False).window[0] for place in generator.random(2000)
    ]
    counts = np.bincount(starts, minlength=5)
    assert len(counts) == 5
    assert counts.min() > 330


@given(st.integers(0, 2**32 - 1))
def test_boxes_are_those_of_the_shown_ids(seed: int) -> None:
    generator = np.random.default_rng(seed)
    ids = np.kron(generator.integers(0, 6, size=(5, 7)), np.ones((6, 5))).astype(np.int32)
    annotation = Annotation(ids, np.array([255, 0, 1, 2, 3, 4]), generator.random(6) < 0.5)
    view = make_view((30, 35), (44, 50), (20, 25), tuple(generator.random(2)), bool(generator.random() < 0.5))
    left, boxes = view.annotation(annotation, 0.0)
    expected, areas = segment_boxes(left.ids, len(left.classes))
    assert boxes.tolist() == expected
    assert min(areas[1:], default=1) > 0
    assert np.array_equal(left.classes[left.ids], annotation.classes[view.ids(ids)])
    assert np.array_equal(left.crowd[left.ids][left.ids > 0], annotation.crowd[view.ids(ids)][left.ids > 0])


def cut(min_visible: float) -> Annotation:
    """Three segments of ten columns, of which the window leaves 10, 3 and 0; void around them."""
    ids = np.zeros((3, 12), np.int32)
    ids[0, :10], ids[1, :10], ids[2, 7:] = 1, np.r_[0, 0, 0, 0, 0, 0, 0, 2, 2, 2], 3
    ids[1, :7] = 2
    annotation = Annotation(ids, np.array([255, 4, 5, 6]), np.array([False, False, False, True]))
    whole, window = (3, 12), (0, 7, 3, 12)
    return View(whole, window, (3, 5), mirrored=False, factor=1).annotation(annotation, min_visible)[0]


def test_objects_of_which_too_little_is_left_become_crowd_and_keep_their_class() -> None:
    """Of segments 1 and 2 the window holds 3 of 10 pixels; of 3, which was crowd before, all 5."""
    kept = cut(0.3)
    assert kept.crowd.tolist() == [False, False, False, True]
    dropped = cut(0.31)
    assert dropped.crowd.tolist() == [False, True, True, True]
    assert dropped.classes.tolist() == kept.classes.tolist() == [255, 4, 5, 6]
    assert np.array_equal(dropped.ids, kept.ids)


def test_without_a_crop_nothing_becomes_crowd() -> None:
    _, annotation = coordinates(9, 9)
    left, _ = make_view((9, 9), (3, 3), None, (0.0, 0.0), False).annotation(annotation, 1.0)
    assert not left.crowd.any()
    assert len(left.classes) == 10


@settings(deadline=None)
@given(st.tuples(st.integers(32, 200), st.integers(32, 200)), st.floats(0.05, 0.4), st.tuples(fractions, fractions))
def test_a_reduced_image_shows_the_same_window(
    whole: tuple[int, int], scale: float, place: tuple[float, float]
) -> None:
    """On slopes, whose averages over blocks are again slopes: what is shown must not move."""
    image, _ = coordinates(*whole)
    scaled = max(1, int(whole[0] * scale)), max(1, int(whole[1] * scale))
    view = make_view(whole, scaled, (9, 11), place, True)
    factor = view.factor
    padded = np.pad(image, [(0, -whole[0] % factor), (0, -whole[1] % factor), (0, 0)], mode="edge")
    blocks = padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor, 3)
    reduced = blocks.mean(axis=(1, 3)).round().astype(np.uint8)
    difference = (view.image(reduced, factor).short() - view.image(image).short()).abs()
    assert difference.max() <= 1 + factor / 2
