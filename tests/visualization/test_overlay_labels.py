"""Placement of labels on segments."""

from __future__ import annotations

import numpy as np
import pytest

from seamseg.visualization.overlay import Label, draw_labels, font_size, place_labels


def _intersect(a: Label, b: Label) -> bool:
    (ay0, ax0, ay1, ax1), (by0, bx0, by1, bx1) = a.rectangle, b.rectangle
    return ay0 < by1 and by0 < ay1 and ax0 < bx1 and bx0 < ax1


def _check(labels: list[Label], ids: np.ndarray) -> None:
    height, width = ids.shape
    for label in labels:
        y0, x0, y1, x1 = label.rectangle
        assert 0 <= y0 < y1 <= height
        assert 0 <= x0 < x1 <= width
        assert (ids[y0:y1, x0:x1] == label.segment).mean() > 0.45
        middle = ids[(y0 + y1) // 2 - 4 : (y0 + y1) // 2 + 4, (x0 + x1) // 2 - 4 : (x0 + x1) // 2 + 4]
        assert (middle == label.segment).mean() > 0.5  # thin lines may cross it
    assert len({label.segment for label in labels}) == len(labels)
    assert not any(_intersect(a, b) for n, a in enumerate(labels) for b in labels[:n])


def _patches(seed: int, height: int, width: int, count: int) -> np.ndarray:
    """Return random overlapping rectangles and discs."""
    generator = np.random.default_rng(seed)
    ids = np.zeros((height, width), np.int64)
    ys, xs = np.mgrid[:height, :width]
    for segment in range(1, count + 1):
        y, x = generator.integers(0, height), generator.integers(0, width)
        h, w = generator.integers(1, height // 2 + 2), generator.integers(1, width // 2 + 2)
        inside = (abs(ys - y) < h / 2) & (abs(xs - x) < w / 2)
        if segment % 2:
            inside = ((ys - y) / h) ** 2 + ((xs - x) / w) ** 2 < 0.25
        ids[inside] = segment
    return ids


@pytest.mark.parametrize("size", [(100, 100), (120, 160), (480, 640), (900, 300), (30, 400), (900, 1200)])
@pytest.mark.parametrize("seed", range(3))
def test_place_labels_on_random_patches_keeps_them_inside_and_apart(size: tuple[int, int], seed: int) -> None:
    ids = _patches(seed, *size, count=25)
    texts = {segment: ["road", "traffic light 93%", "person 100%", "tv"][segment % 4] for segment in range(26)}
    labels = place_labels(ids, texts)
    _check(labels, ids)
    if min(size) >= 400:
        assert len(labels) >= 5


def test_place_labels_on_one_segment_uses_its_center() -> None:
    ids = np.zeros((300, 500), np.int64)
    ids[100:180, 50:450] = 1
    (label,) = place_labels(ids, {1: "road"})
    y0, x0, y1, x1 = label.rectangle
    assert abs((y0 + y1) / 2 - 140) <= 2
    assert abs((x0 + x1) / 2 - 250) <= 2
    assert x0 >= 50
    assert x1 <= 450
    assert label.text == "road"
    assert label.size == font_size(300, 500)


def test_place_labels_on_a_grid_of_instances_labels_each() -> None:
    ids = np.kron(np.arange(1, 13).reshape(3, 4), np.ones((160, 160), np.int64))
    labels = place_labels(ids, {segment: f"car {segment}%" for segment in range(1, 13)})
    assert sorted(label.segment for label in labels) == list(range(1, 13))


def test_place_labels_skips_small_segments_and_segments_without_text() -> None:
    ids = np.zeros((480, 640), np.int64)
    ids[10, 10] = 1
    ids[100:108, 100:400] = 2
    ids[200:400, 200:600] = 3
    assert [label.segment for label in place_labels(ids, {1: "car", 2: "pole", 3: "bus"})] == [3]
    assert place_labels(ids, {}) == []
    assert place_labels(ids, {7: "not there"}) == []


def test_place_labels_on_small_segments_covers_at_most_half() -> None:
    ids = np.zeros((480, 640), np.int64)
    ids[100:130, 100:160] = 1
    assert place_labels(ids, {1: "sign 88%"}) == []
    ids[100:160, 100:200] = 1
    (label,) = place_labels(ids, {1: "sign 88%"})
    y0, x0, y1, x1 = label.rectangle
    assert (y1 - y0) * (x1 - x0) < 60 * 100 / 2


def test_place_labels_on_a_narrow_segment_lets_the_label_extend_beyond() -> None:
    ids = np.zeros((480, 640), np.int64)
    ids[100:380, 300:350] = 1
    (label,) = place_labels(ids, {1: "person 98%"})
    assert label.size < font_size(480, 640)
    assert label.rectangle[3] - label.rectangle[1] > 50


def test_place_labels_with_two_in_one_place_keeps_at_most_one() -> None:
    ids = np.zeros((480, 640), np.int64)
    ids[:, 300:330] = 1
    ids[:, 330:360] = 2
    labels = place_labels(ids[200:240], {1: "person 98%", 2: "person 97%"})
    assert len(labels) <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (9, 9)])
def test_place_labels_in_tiny_images_returns_none(shape: tuple[int, int]) -> None:
    assert place_labels(np.ones(shape, np.int64), {1: "road"}) == []


def test_place_labels_with_text_wider_than_the_image_returns_none() -> None:
    assert place_labels(np.ones((200, 200), np.int64), {1: "a very long name " * 20}) == []


def test_font_size_grows_with_image_and_scale() -> None:
    ids = np.ones((1000, 1000), np.int64)
    (plain,), (large,) = (place_labels(ids, {1: "sky"}, scale) for scale in (1.0, 2.0))
    assert large.size == 2 * plain.size
    assert font_size(2000, 3000) > 3 * font_size(480, 640)
    assert font_size(50, 50) == 10


def test_place_labels_with_many_small_segments_returns_none() -> None:
    ids = np.arange(600 * 600).reshape(600, 600) // 9
    assert place_labels(ids, dict.fromkeys(range(600 * 600 // 9), "leaf")) == []


def test_draw_labels_changes_only_their_rectangles() -> None:
    ids = _patches(1, 480, 640, 12)
    labels = place_labels(ids, dict.fromkeys(range(13), "sign 88%"))
    canvas = np.full((480, 640, 3), 77, np.uint8)
    draw_labels(canvas, labels, np.random.default_rng(0).integers(0, 256, (13, 3), dtype=np.uint8))
    assert labels
    for label in labels:
        y0, x0, y1, x1 = label.rectangle
        plate = canvas[y0:y1, x0:x1]
        assert len(np.unique(plate.reshape(-1, 3), axis=0)) > 10  # plate and letters
        plate[:] = 77
    assert (canvas == 77).all()
