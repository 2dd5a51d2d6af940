"""Overlay: segmentations drawn over images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from seamseg.structures import Categories, Category, PanopticSegmentation
from seamseg.visualization.colors import segment_colors
from seamseg.visualization.overlay import (
    VOID_BRIGHTNESS,
    VOID_STRIPE_BRIGHTNESS,
    Style,
    draw_overlay,
    place_labels,
    segment_texts,
)

CATEGORIES = Categories(
    (
        Category("road", False, (128, 64, 128), 7),
        Category("Gehweg/größe", False, (244, 35, 232), 8),
        Category("car", True, (0, 0, 142), 9),
        Category("歩行者", True, (220, 20, 60), 10),
    )
)


def _image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _segmentation(
    ids: np.ndarray, classes: Sequence[int], scores: Sequence[float] = (), crowd: Sequence[int] = ()
) -> PanopticSegmentation:
    """Return a segmentation, by default with score 1 and no crowd; ``crowd`` lists the ids of crowd segments."""
    return PanopticSegmentation(
        torch.from_numpy(ids),
        torch.tensor(classes),
        torch.tensor([segment in crowd for segment in range(len(classes))]),
        torch.tensor(scores or [0.0] + [1.0] * (len(classes) - 1)),
    )


def _street(height: int, width: int) -> PanopticSegmentation:
    """Return void at the top, then two cars side by side, a crowd of people, and at the bottom road and sidewalk."""
    ids = np.zeros((height, width), np.int64)
    rows = np.linspace(0, height, 5).astype(int)
    ids[rows[1] : rows[2], : width // 2] = 1
    ids[rows[1] : rows[2], width // 2 :] = 2
    ids[rows[2] : rows[3]] = 3
    ids[rows[3] :, : width // 2] = 4
    ids[rows[3] :, width // 2 :] = 5
    return _segmentation(ids, [255, 2, 2, 3, 0, 1], [0, 0.9, 0.514, 0.7, 1, 1], crowd=[3])


@pytest.mark.parametrize("size", [(480, 640), (100, 100), (120, 160), (3, 700), (1, 1), (1000, 750)])
def test_draw_overlay_of_any_size_keeps_the_shape_and_the_input(size: tuple[int, int]) -> None:
    image = _image(*size)
    before = image.copy()
    overlay = draw_overlay(image, _street(*size), CATEGORIES)
    assert overlay.shape == (*size, 3)
    assert overlay.dtype == np.uint8
    assert np.array_equal(image, before)


def test_draw_overlay_of_the_same_input_is_reproducible() -> None:
    pictures = [draw_overlay(_image(300, 400), _street(300, 400), CATEGORIES) for _ in range(2)]
    assert np.array_equal(*pictures)


@pytest.mark.parametrize("opacity", [0.0, 0.3, 0.5, 1.0])
def test_draw_overlay_inside_a_segment_mixes_image_and_color(opacity: float) -> None:
    image, segmentation = _image(400, 400), _street(400, 400)
    overlay = draw_overlay(image, segmentation, CATEGORIES, Style(opacity, labels=False))
    colors = segment_colors(segmentation.classes.numpy(), CATEGORIES)
    for segment, (y, x) in {1: (150, 100), 2: (150, 300), 4: (350, 100), 5: (350, 300)}.items():
        part = np.s_[y - 40 : y + 40, x - 90 : x + 90]
        mixed = image[part] * (1 - opacity) + colors[segment] * opacity
        assert np.abs(overlay[part] - mixed).max() <= 0.51
    assert colors[4].tolist() == [128, 64, 128]
    assert np.abs(colors[1].astype(int) - colors[2]).max() > 15


def test_draw_overlay_on_void_darkens_the_image_with_stripes() -> None:
    image = _image(400, 400)
    top = draw_overlay(image, _street(400, 400), CATEGORIES)[:95]
    shares = [np.abs(top - image[:95] * share).max(axis=2) <= 1 for share in (VOID_BRIGHTNESS, VOID_STRIPE_BRIGHTNESS)]
    assert (shares[0] | shares[1]).all()
    assert shares[1].mean() > 0.2


def test_draw_overlay_with_only_void_has_two_brightness_levels() -> None:
    image = np.full((200, 300, 3), 200, np.uint8)
    overlay = draw_overlay(image, _segmentation(np.zeros((200, 300), np.int64), [255]), CATEGORIES)
    assert set(np.unique(overlay)) == {round(200 * VOID_BRIGHTNESS), round(200 * VOID_STRIPE_BRIGHTNESS)}


def test_draw_overlay_outlines_instances_but_not_stuff_or_crowd() -> None:
    image = np.zeros((600, 600, 3), np.uint8)
    overlay = draw_overlay(image, _street(600, 600), CATEGORIES, Style(labels=False))
    assert overlay[225, 298:302].min(axis=1).max() > 150  # between the cars
    assert overlay[525, 290:310].max() <= 122  # between road and sidewalk: half their colors
    road = overlay[480:600, :290]
    assert (road == (64, 32, 64)).all()


def test_draw_overlay_on_crowd_has_stripes() -> None:
    image = np.zeros((400, 400, 3), np.uint8)
    crowd = draw_overlay(image, _street(400, 400), CATEGORIES, Style(labels=False))[205:295]
    values = np.unique(crowd.reshape(-1, 3), axis=0, return_counts=True)[1]
    assert len(values) == 2
    assert values.min() / values.sum() == pytest.approx(0.25, abs=0.02)


def test_draw_overlay_with_a_crowd_flag_on_stuff_ignores_it() -> None:
    ids = np.ones((300, 300), np.int64)
    plain, flagged = (_segmentation(ids, [255, 0], crowd=crowd) for crowd in ([], [1]))
    image = _image(300, 300)
    assert np.array_equal(*(draw_overlay(image, segmentation, CATEGORIES) for segmentation in (plain, flagged)))


def test_segment_texts_have_names_scores_and_crowd() -> None:
    texts = segment_texts(_street(40, 40), CATEGORIES)
    assert texts == {1: "car 90%", 2: "car 51%", 3: "歩行者 (crowd)", 4: "road", 5: "Gehweg/größe"}
    assert segment_texts(_street(40, 40), CATEGORIES, scores=False)[1] == "car"
    ids = segment_texts(_street(40, 40), CATEGORIES, ids=True)
    assert ids == {1: "car 1", 2: "car 2", 3: "歩行者 (crowd)", 4: "road", 5: "Gehweg/größe"}


def test_draw_overlay_color_of_a_thing_depends_only_on_its_class_and_id() -> None:
    image = _image(60, 60)
    near, far = np.zeros((60, 60), np.int64), np.zeros((60, 60), np.int64)
    near[10:30, 10:30], far[10:30, 10:30], far[40:50, 40:50] = 9, 9, 4
    classes = [next(index for index, one in enumerate(CATEGORIES.classes) if one.is_thing)] * 9
    colors = [
        draw_overlay(image, _segmentation(ids, [255, *classes]), CATEGORIES, Style(opacity=1, labels=False))[20, 20]
        for ids in (near, far)
    ]
    assert np.array_equal(*colors)


def test_draw_overlay_labels_change_only_their_rectangles() -> None:
    image, segmentation = _image(480, 640), _street(480, 640)
    plain, labeled = (draw_overlay(image, segmentation, CATEGORIES, Style(labels=labels)) for labels in (False, True))
    changed = (plain != labeled).any(axis=2)
    labels = place_labels(segmentation.ids.numpy(), segment_texts(segmentation, CATEGORIES))
    assert len(labels) == 5
    for label in labels:
        y0, x0, y1, x1 = label.rectangle
        assert changed[y0:y1, x0:x1].mean() > 0.8
        changed[y0:y1, x0:x1] = False
    assert not changed.any()


def test_draw_overlay_with_segments_of_one_or_no_pixel_works() -> None:
    ids = np.zeros((64, 64), np.int64)
    ids[5, 5], ids[0, 0], ids[63, 63] = 1, 2, 4
    overlay = draw_overlay(_image(64, 64), _segmentation(ids, [255, 0, 2, 3, 3]), CATEGORIES)
    assert overlay.shape == (64, 64, 3)


def test_draw_overlay_with_many_segments_works() -> None:
    ids = np.arange(200 * 200).reshape(200, 200)
    overlay = draw_overlay(_image(200, 200), _segmentation(ids, [255] + [2] * (200 * 200 - 1)), CATEGORIES)
    assert overlay.shape == (200, 200, 3)


def test_draw_overlay_with_inconsistent_input_raises() -> None:
    image, segmentation = _image(20, 30), _street(20, 30)
    with pytest.raises(ValueError, match="20×30 pixels, but its image is 20×31"):
        draw_overlay(_image(20, 31), segmentation, CATEGORIES)
    with pytest.raises(ValueError, match="type uint8, not float64"):
        draw_overlay(image / 255, segmentation, CATEGORIES)
    with pytest.raises(ValueError, match="opacity"):
        draw_overlay(image, segmentation, CATEGORIES, Style(opacity=1.5))
    with pytest.raises(ValueError, match=r"classes \[9\], but there are only 4 categories"):
        draw_overlay(image, _segmentation(np.zeros((20, 30), np.int64), [255, 9]), CATEGORIES)
    with pytest.raises(ValueError, match="0 … 1, but there are only 1"):
        draw_overlay(image, _segmentation(np.eye(20, 30, dtype=np.int64), [255]), CATEGORIES)
