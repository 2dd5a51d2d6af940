"""Samples that are scaled to a segment of a class and cropped around it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.detection_folder import write_detection
from support.tiny_dataset import write_tiny_panoptic

from seamseg.algos.roi_pooling import RoIPooler
from seamseg.data.dataset import SampleKey, TrainDataset
from seamseg.data.focus import Focus, draw_focus
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.data.formats.coco_detection import CocoDetection
from seamseg.data.transforms import TrainTransform, make_plan
from seamseg.structures import LayeredSegmentation, Sample, Size

NUM_STUFF = 2
fractions = st.floats(0, 1, exclude_max=True)


def street() -> LayeredSegmentation:
    """Draw stuff 0 (segment 1), things 2 (segments 2, 3 and the crowd 4), and thing 3 (5), which has no pixel."""
    ids = torch.zeros(40, 60, dtype=torch.int32)
    ids[30:] = 1
    ids[5:9, 10:14], ids[10:26, 30:46], ids[:4, 50:] = 2, 3, 4
    crowd = torch.tensor([False, False, False, False, True, False])
    return LayeredSegmentation(ids[None], torch.tensor([255, 0, 2, 2, 2, 3]), crowd)


def focuses(target: int, count: int = 2000) -> list[Focus]:
    generator, drawing = torch.Generator().manual_seed(0), street()
    found = [draw_focus(drawing, target, NUM_STUFF, generator) for _ in range(count)]
    return [one for one in found if one is not None]


def test_focus_on_a_thing_is_one_of_its_objects_with_uniform_levels_and_sizes() -> None:
    found = focuses(2)
    boxes = Counter(focus.box for focus in found)
    assert set(boxes) == {(5, 10, 9, 14), (10, 30, 26, 46)}, "never the crowd"
    assert abs(boxes[5, 10, 9, 14] - 1000) < 100
    sides = torch.tensor([focus.side for focus in found])
    levels = RoIPooler().level_of(torch.stack([sides * 0, sides * 0, sides, sides], dim=1))
    assert all(abs(count - 500) < 70 for count in torch.bincount(levels, minlength=4).tolist())
    assert (float(sides.min()), float(sides.max())) == (pytest.approx(56, rel=0.02), pytest.approx(896, rel=0.02))
    counts, _ = np.histogram(np.log2(sides.numpy()), bins=16, range=(np.log2(56), np.log2(896)))
    assert counts.sum() == 2000
    assert abs(counts - 125).max() < 45


def test_focus_on_stuff_is_one_of_its_pixels_without_a_size() -> None:
    found = focuses(0)
    assert all(focus.side is None for focus in found)
    assert all(focus.box[2:] == (focus.box[0] + 1, focus.box[1] + 1) for focus in found)
    rows, columns = ({focus.box[axis] for focus in found} for axis in (0, 1))
    assert rows == set(range(30, 40))
    assert columns == set(range(60))


@pytest.mark.parametrize("target", [1, 3])
def test_class_without_pixels_has_no_focus(target: int) -> None:
    assert focuses(target, 5) == []


@settings(deadline=None, max_examples=200)
@given(
    st.tuples(st.integers(5, 90), st.integers(5, 90)),
    st.floats(0.1, 3),
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
    st.tuples(fractions, fractions),
    st.tuples(fractions, fractions, fractions, fractions),
)
def test_window_contains_the_focus_or_lies_inside_it(
    whole: Size, scale: float, crop: Size, place: tuple[float, float], edges: tuple[float, ...]
) -> None:
    scaled = max(1, int(whole[0] * scale)), max(1, int(whole[1] * scale))
    y0, y1 = sorted(int(edge * whole[0]) for edge in edges[:2])
    x0, x1 = sorted(int(edge * whole[1]) for edge in edges[2:])
    box = y0, x0, y1 + 1, x1 + 1
    plan = make_plan(whole, scaled, crop, place, False, box)
    usual = make_plan(whole, scaled, crop, place, False)
    assert (plan.size, plan.decode_scale) == (usual.size, usual.decode_scale)
    for axis in (0, 1):
        low, high = plan.window[axis::2]
        start, end = box[axis::2]
        assert 0 <= low < high <= whole[axis]
        length = max(1, round(whole[axis] * plan.size[axis] / scaled[axis]))
        if length >= end - start:
            assert low <= start
            assert end <= high
        else:
            slack = plan.decode_scale - 1
            assert start - slack <= low
            assert high <= end + 2 * slack


def test_places_of_windows_around_a_focus_are_uniform() -> None:
    generator = np.random.default_rng(0)
    plans = [make_plan((20, 50), (20, 50), (20, 10), (0.0, p), False, (3, 20, 9, 27)) for p in generator.random(2000)]
    counts = Counter(plan.window[1] for plan in plans)
    assert set(counts) == {17, 18, 19, 20}
    assert min(counts.values()) > 430


def test_scale_brings_the_focus_to_its_size_within_the_range_of_scales() -> None:
    transform = TrainTransform(100, 10**6, random_scale=(0.5, 4), random_flip=False)
    generator = torch.Generator()
    for side, scale in ((20, 1), (40, 2), (10, 0.5), (3, 0.5), (200, 4)):
        plan = transform.sample_plan((100, 150), generator, Focus((10, 10, 50, 20), side))
        assert plan.size == (100 * scale, 150 * scale)
    limited = TrainTransform(100, 200, random_scale=(0.5, 4), random_flip=False)
    assert max(limited.sample_plan((100, 150), generator, Focus((10, 10, 50, 20), 200)).size) == 200


@pytest.fixture
def source(tmp_path: Path) -> CocoPanoptic:
    tiny = write_tiny_panoptic(tmp_path, num_images=4, images_without_objects=[1], images_with_crowd=[2])
    return CocoPanoptic(tiny.folder, tiny.split)


def focused(source: CocoPanoptic, crop: Size | None = (32, 32), seed: int = 0) -> TrainDataset:
    return TrainDataset(source, TrainTransform(48, 96, (0.5, 2.0), random_flip=True, random_crop=crop), seed)


def is_same(first: Sample, second: Sample) -> bool:
    return torch.equal(first.image, second.image) and torch.equal(first.ids, second.ids)


@pytest.mark.parametrize("crop", [(32, 32), (20, 48), None], ids=str)
def test_sample_shows_its_target(source: CocoPanoptic, crop: Size | None) -> None:
    dataset = focused(source, crop)
    for index in range(4):
        for target in set(source.listed_classes(index)):
            for repeat in range(6):
                sample = dataset[SampleKey(0, index, repeat, target)]
                assert target in sample.classes.tolist()
                assert crop is None or all(a <= b for a, b in zip(sample.image.shape[1:], crop, strict=True))
                assert sample.image.shape[1:] == sample.ids.shape[1:]


def test_sample_depends_on_seed_epoch_image_and_repeat(source: CocoPanoptic) -> None:
    key = SampleKey(1, 0, 2, 2)
    assert is_same(focused(source)[key], focused(source)[key])
    others = [SampleKey(1, 0, 1, 2), SampleKey(1, 0, 0, 2), SampleKey(2, 0, 2, 2), SampleKey(1, 0, 2)]
    assert not any(is_same(focused(source)[other], focused(source)[key]) for other in others)
    assert not is_same(focused(source, seed=1)[key], focused(source)[key])


def test_target_that_the_pixels_do_not_show_gives_a_usual_sample(source: CocoPanoptic) -> None:
    """Image 1 has no object, so a list that names one is wrong."""
    sample = focused(source)[SampleKey(0, 1, 0, 3)]
    assert set(sample.classes.tolist()) <= {255, 0, 1}


def test_targets_of_overlapping_objects_are_shown(tmp_path: Path) -> None:
    data = CocoDetection(write_detection(tmp_path, ["train"]), "train")
    assert [sorted(data.listed_classes(index)) for index in range(3)] == [[0, 0, 1], [], [1]]
    dataset = TrainDataset(data, TrainTransform(24, 96, (0.5, 2.0), False, random_crop=(20, 20)), 0)
    for target in (0, 1):
        assert all(target in dataset[SampleKey(0, 0, repeat, target)].classes.tolist() for repeat in range(5))
