"""Resampled panoptic quality: against drawing and counting one data set after the other."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seamseg.metrics.matching import ImageCounts
from seamseg.metrics.resampling import Interval, draw_images, resampled_pq

NUM_CLASSES = 4


def images(num: int) -> list[ImageCounts]:
    generator = np.random.default_rng(1)
    states = generator.integers(0, 3, (num, 4, NUM_CLASSES)).astype(float)
    states[:, 0] = states[:, 1] * generator.uniform(0.5, 1, (num, NUM_CLASSES))
    states[:, :, 3] = 0  # never appears
    return [ImageCounts.of_state(index, state) for index, state in enumerate(states)]


def by_hand(chosen: list[ImageCounts]) -> float:
    lines: dict[int, np.ndarray] = {}
    for image in chosen:
        for column, klass in enumerate(image.classes.tolist()):
            lines[klass] = lines.get(klass, np.zeros(4)) + image.counts[:, column]
    return float(np.mean([iou / (hits + false / 2 + missed / 2) for iou, hits, false, missed in lines.values()]))


def test_equals_counting_each_drawn_data_set() -> None:
    some = images(7)
    draws = draw_images(7, np.random.default_rng(0), num_draws=20)
    assert (draws.sum(1) == 7).all()
    expected = [by_hand([image for image, times in zip(some, row, strict=True) for _ in range(times)]) for row in draws]
    assert resampled_pq(some, NUM_CLASSES, draws) == pytest.approx(expected)


def test_an_interval_holds_its_share() -> None:
    interval = Interval.of(np.arange(1001) / 1000)
    assert (interval.low, interval.high) == pytest.approx((0.025, 0.975))


def test_images_without_any_class() -> None:
    nothing = ImageCounts.of_state("a", np.zeros((4, NUM_CLASSES)))
    assert math.isnan(nothing.pq)
    assert np.isnan(resampled_pq([nothing], NUM_CLASSES, np.ones((2, 1), np.int64))).all()


def test_an_interval_leaves_undefined_draws_out() -> None:
    interval = Interval.of(np.array([np.nan, 0.5, 0.5, np.nan]))
    assert (interval.low, interval.high) == (0.5, 0.5)
    assert math.isnan(Interval.of(np.array([np.nan])).low)


def test_counts_survive_json() -> None:
    for image in [*images(3), ImageCounts.of_state("a", np.zeros((4, NUM_CLASSES)))]:
        back = ImageCounts.from_dict(image.to_dict())
        assert back.image_id == image.image_id
        assert np.array_equal(back.classes, image.classes)
        assert np.array_equal(back.counts, image.counts)
        assert back.pq == pytest.approx(image.pq, nan_ok=True)
