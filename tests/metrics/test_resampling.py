"""Resampled panoptic quality, compared with counting each drawn data set separately."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seamseg.metrics.matching import ImageCounts
from seamseg.metrics.resampling import Interval, compare_runs, draw_images, resampled_pq

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


def test_resampled_pq_equals_counting_each_drawn_data_set() -> None:
    chosen = images(7)
    draws = draw_images(7, np.random.default_rng(0), num_draws=20)
    assert (draws.sum(1) == 7).all()
    expected = [
        by_hand([image for image, times in zip(chosen, row, strict=True) for _ in range(times)]) for row in draws
    ]
    assert resampled_pq(chosen, NUM_CLASSES, draws) == pytest.approx(expected)


def test_interval_of_uniform_values_covers_95_percent() -> None:
    interval = Interval.of(np.arange(1001) / 1000)
    assert (interval.low, interval.high) == pytest.approx((0.025, 0.975))


def test_resampled_pq_of_images_without_classes_is_nan() -> None:
    nothing = ImageCounts.of_state("a", np.zeros((4, NUM_CLASSES)))
    assert math.isnan(nothing.pq)
    assert np.isnan(resampled_pq([nothing], NUM_CLASSES, np.ones((2, 1), np.int64))).all()


def test_interval_with_undefined_draws_skips_them() -> None:
    interval = Interval.of(np.array([np.nan, 0.5, 0.5, np.nan]))
    assert (interval.low, interval.high) == (0.5, 0.5)
    assert math.isnan(Interval.of(np.array([np.nan])).low)


def test_image_counts_from_dict_restores_to_dict() -> None:
    for image in [*images(3), ImageCounts.of_state("a", np.zeros((4, NUM_CLASSES)))]:
        back = ImageCounts.from_dict(image.to_dict())
        assert back.image_id == image.image_id
        assert np.array_equal(back.classes, image.classes)
        assert np.array_equal(back.counts, image.counts)
        assert back.pq == pytest.approx(image.pq, nan_ok=True)


def test_compare_runs_resamples_images_and_runs() -> None:
    good = [ImageCounts.of_state(0, np.array([[0.8], [1], [0], [0]]))]
    bad = [ImageCounts.of_state(0, np.array([[0.0], [0], [0], [1]]))]
    result = compare_runs([good, bad, bad], [good], 1)
    assert (result.first, result.second, result.difference) == pytest.approx((0.8 / 3, 0.8, 1.6 / 3))
    # One image, so the interval comes from the runs: three draws out of good, bad, bad are all bad in 8 of 27 cases.
    assert (result.first_interval.low, result.first_interval.high) == pytest.approx((0, 0.8))
    assert (result.difference_interval.low, result.difference_interval.high) == pytest.approx((0, 0.8))
    one, several = (compare_runs([images(7)] * runs, [images(7)], NUM_CLASSES).first_interval for runs in (1, 3))
    assert (several.low, several.high) == pytest.approx((one.low, one.high))
