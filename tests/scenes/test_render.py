"""Content of the scenes: classes, crowds, void, sizes, and how little color reveals about the classes."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.color_threshold import VOID, ColorThreshold, Labeled, panoptic_quality

from seamseg.scenes import SCENE_CATEGORIES, Scene, render_scene

SIZE = (96, 192)
THINGS = {category.name for category in SCENE_CATEGORIES.classes if category.is_thing}


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render_scene((3, 0, number), SIZE) for number in range(40)]


def test_forty_scenes_show_every_class(scenes: list[Scene]) -> None:
    seen = {segment.name for scene in scenes for segment in scene.segments if not segment.crowd}
    assert seen == set(SCENE_CATEGORIES.names)


def test_scenes_contain_crowds_of_things_only(scenes: list[Scene]) -> None:
    crowds = {segment.name for scene in scenes for segment in scene.segments if segment.crowd}
    assert crowds
    assert crowds <= THINGS


def test_scenes_contain_little_void(scenes: list[Scene]) -> None:
    shares = [float((scene.ids == 0).mean()) for scene in scenes]
    assert any(share > 0.02 for share in shares)
    assert 0.005 < np.mean(shares) < 0.08


def test_scenes_contain_4_to_10_things_on_average(scenes: list[Scene]) -> None:
    counts = [sum(segment.name in THINGS for segment in scene.segments) for scene in scenes]
    assert 4 <= np.mean(counts) <= 10


def test_segments_match_the_id_map(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert [segment.id for segment in scene.segments] == list(range(1, len(scene.segments) + 1))
        assert set(np.unique(scene.ids)) <= set(range(len(scene.segments) + 1))
        for segment in scene.segments:
            assert segment.area == (scene.ids == segment.id).sum() >= 24


def test_sky_is_above_and_road_below_the_middle(scenes: list[Scene]) -> None:
    for scene in scenes:
        rows = {s.name: np.nonzero(scene.ids == s.id)[0].mean() for s in scene.segments if s.name in ("sky", "road")}
        assert rows["road"] > SIZE[0] / 2
        assert rows.get("sky", 0) < SIZE[0] / 2


@pytest.mark.parametrize("size", [(64, 128), (128, 64), (33, 47), (101, 203), (512, 96)])
def test_render_scene_given_any_size_fills_the_picture(size: tuple[int, int]) -> None:
    scene = render_scene((1, 0, 5), size)
    assert scene.picture.shape == (*size, 3)
    assert scene.picture.dtype == np.uint8
    assert scene.ids.shape == size
    assert len(scene.segments) >= 2
    assert scene.picture.std() > 5


def test_render_scene_at_another_size_shows_the_same_things() -> None:
    small, large = (render_scene((4, 0, 2), size) for size in ((128, 256), (256, 512)))
    names = [sorted(segment.name for segment in scene.segments if segment.area * 512 * 256 > 200 * scene.ids.size)
             for scene in (small, large)]  # fmt: skip
    assert names[0] == names[1]
    shrunk = large.ids[1::2, 1::2] > 0
    assert ((small.ids > 0) == shrunk).mean() > 0.95


def test_render_scene_given_same_seed_is_reproducible() -> None:
    one, two = (render_scene((9, 1, 4), (64, 96)) for _ in range(2))
    assert (one.picture == two.picture).all()
    assert (one.ids == two.ids).all()
    assert one.segments == two.segments


def labeled(scene: Scene) -> Labeled:
    index_of = {name: index for index, name in enumerate(SCENE_CATEGORIES.names)}
    classes = [VOID, *(index_of[segment.name] for segment in scene.segments)]
    return Labeled(scene.picture, scene.ids, classes, [False, *(segment.crowd for segment in scene.segments)])


def color_score(train: list[Labeled], held_out: list[Labeled], bins: int, balance: float, blur: float) -> float:
    model = ColorThreshold(SCENE_CATEGORIES.num_stuff, len(SCENE_CATEGORIES), bins, balance, blur)
    model.fit(train)
    return float(np.nanmean(panoptic_quality(model, held_out, min_thing=24, min_stuff=SIZE[0] * SIZE[1] // 100)))


@pytest.mark.parametrize(("bins", "balance", "blur"), [(16, 0.3, 0.0), (16, 1.0, 1.0)])
def test_color_threshold_on_scenes_gives_low_panoptic_quality(
    scenes: list[Scene], bins: int, balance: float, blur: float
) -> None:
    held_out = [labeled(render_scene((3, 1, number), SIZE)) for number in range(8)]
    score = color_score([labeled(scene) for scene in scenes], held_out, bins, balance, blur)
    assert 0.02 < score < 0.25


def test_color_threshold_on_class_colors_gives_high_panoptic_quality(scenes: list[Scene]) -> None:
    colors = np.array([*SCENE_CATEGORIES.colors, (0, 0, 0)], np.uint8)
    painted = []
    for image in (labeled(scene) for scene in scenes[:8]):
        classes = np.where(np.array(image.classes) == VOID, -1, image.classes)[image.ids]
        painted.append(Labeled(colors[classes], image.ids, image.classes, image.crowd))
    assert color_score(painted[:4], painted[4:], 16, 0.3, 0.0) > 0.6
