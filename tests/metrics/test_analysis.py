"""Analysis of panoptic quality, compared with counting the cases of an oracle, and on maps drawn by hand."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from support.outcome_pairs import drawn, expected, random_pair

from seamseg.metrics.analysis import Analysis, Confusion
from seamseg.metrics.evaluator import PanopticEvaluator
from seamseg.metrics.overlaps import Overlaps
from seamseg.metrics.resampling import Interval, PQIntervals, draw_images, pq_intervals, resampled_pq
from seamseg.structures import PanopticSegmentation

NAMES = ("sky", "road", "car", "person")
Pairs = list[tuple[PanopticSegmentation, PanopticSegmentation]]


def enlarged(segments: PanopticSegmentation, factor: int) -> PanopticSegmentation:
    ids = segments.ids.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
    return PanopticSegmentation(ids, segments.classes, segments.crowd)


def analyzed(pairs: Pairs) -> Analysis:
    evaluator = PanopticEvaluator(len(NAMES), 2, boundary=False)
    for number, (prediction, truth) in enumerate(pairs):
        evaluator.count([number], Overlaps.between(prediction, truth))
    return evaluator.compute(NAMES).analysis


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """Random pairs at three scales, so that segments of all sizes occur."""
    return [tuple(enlarged(side, 1 + 4 * (seed // 3 % 3)) for side in random_pair(seed)) for seed in range(36)]  # type: ignore[misc]


@pytest.fixture(scope="module")
def cases() -> list[tuple[object, ...]]:
    """Cases of ``pairs``, counted by the oracle at the smallest scale."""
    found: list[tuple[object, ...]] = []
    for seed in range(36):
        scale = 1 + 4 * (seed // 3 % 3)
        found += [(*case[:4], case[4] * scale**2, case[5]) for case in expected(*random_pair(seed))]
    return found


def size_of(area: int) -> str:
    return "small" if area < 1024 else "medium" if area < 9216 else "large"


def test_by_size_of_random_pairs_equals_the_oracle(pairs: Pairs, cases: list[tuple[object, ...]]) -> None:
    found = analyzed(pairs).by_size
    assert list(found) == ["small", "medium", "large"]
    for name, quality in found.items():
        chosen = [case for case in cases if size_of(case[4]) == name]  # type: ignore[arg-type]
        per_class = []
        for number, klass in enumerate(NAMES):
            hits = [case[5] for case in chosen if case[1] == number and case[3] == "matched"]
            false = sum(case[1] == number and not case[0] for case in chosen)
            missed = sum(case[1] == number and bool(case[0]) and case[3] != "matched" for case in chosen)
            weight = len(hits) + false / 2 + missed / 2
            per_class.append(sum(hits) / weight if weight else math.nan)  # type: ignore[arg-type]
            assert quality.per_class[klass] == pytest.approx(per_class[-1], abs=1e-12, nan_ok=True)
        if quality.all.n:
            assert quality.all.pq == pytest.approx(np.nanmean(per_class), abs=1e-12)
        assert quality.tp == sum(case[3] == "matched" for case in chosen)
        assert quality.fp == sum(not case[0] for case in chosen)
        assert quality.fn == sum(bool(case[0]) and case[3] != "matched" for case in chosen)
    assert min(found["small"].tp, found["medium"].tp) > 3


def test_by_size_at_the_area_limits_uses_the_larger_size() -> None:
    """Segments of 32×32 pixels are medium and those of 96×96 large; squares with a side one pixel shorter are not."""
    for side, name in ((31, "small"), (32, "medium"), (95, "medium"), (96, "large")):
        ids = torch.zeros(100, 100, dtype=torch.int64)
        ids[:side, :side] = 1
        segments = PanopticSegmentation(ids, torch.tensor([255, 2]), torch.zeros(2, dtype=torch.bool))
        assert {size: one.tp for size, one in analyzed([(segments, segments)]).by_size.items() if one.tp} == {name: 1}


def test_by_size_of_a_false_prediction_uses_its_own_area() -> None:
    truth = enlarged(drawn("11111 11111", [0]), 40)
    prediction = enlarged(drawn("11112 11111", [0, 2]), 40)
    found = analyzed([(prediction, truth)]).by_size
    assert [(one.tp, one.fp, one.fn) for one in found.values()] == [(0, 0, 0), (0, 1, 0), (1, 0, 0)]


def test_outcomes_of_random_pairs_equal_the_oracle(pairs: Pairs, cases: list[tuple[object, ...]]) -> None:
    counts = Counter((case[1], case[0], case[3]) for case in cases)
    barely = Counter(case[1] for case in cases if case[3] == "matched" and case[5] <= 0.6)  # type: ignore[operator]
    for number, (name, found) in enumerate(analyzed(pairs).outcomes.items()):
        assert name == NAMES[number]
        assert (found.matched, found.barely_matched) == (counts[number, True, "matched"], barely[number])
        true = [counts[number, True, key] for key in ("classification", "localization", "missed")]
        assert [found.classification, found.localization, found.missed] == true
        false = [counts[number, False, key] for key in ("classification", "localization", "duplicate", "background")]
        numbers = [found.false_classification, found.false_localization, found.duplicate, found.background]
        assert numbers == false
        assert (found.num_lost, found.num_false) == (sum(true), sum(false))


def test_confusion_of_random_pairs_equals_the_oracle(pairs: Pairs, cases: list[tuple[object, ...]]) -> None:
    confusion = analyzed(pairs).confusion
    segments = np.zeros((5, 5), int)
    for is_true, own, other, outcome, _, _ in cases:
        if is_true:
            segments[own, 4 if other == 255 else other] += 1  # type: ignore[index]
        elif outcome == "background":
            segments[4, own] += 1  # type: ignore[index]
    assert np.array_equal(confusion.segments, segments)
    pixels = np.zeros((4, 5), int)
    for prediction, truth in pairs:
        predicted = prediction.classes.masked_fill(prediction.crowd, 255)[prediction.ids]
        for true, other in zip(truth.semantics.flatten().tolist(), predicted.flatten().tolist(), strict=True):
            if true != 255:
                pixels[true, 4 if other == 255 else other] += 1
    assert np.array_equal(confusion.pixels, pixels)


def test_largest_confusions_are_sorted_by_number_of_segments() -> None:
    segments = np.array([[9, 2, 7], [3, 9, 0], [5, 5, 0]])
    confusion = Confusion(("sky", "road"), segments, np.zeros((2, 3), np.int64))
    assert confusion.largest(5) == [("road", "sky", 3), ("sky", "road", 2)]
    assert confusion.largest(1) == [("road", "sky", 3)]


def test_worst_images_are_sorted_by_pq_and_errors() -> None:
    truth = drawn("11122 11122 11122 33000 33000", [0, 2, 3])
    nothing, half = drawn("00000 00000 00000 00000 00000", []), drawn("11100 11100 11100 33000 33000", [0, 2, 3])
    wrong = drawn("44422 44422 44422 00000 00000", [0, 3, 2, 1])
    void = drawn("00000 00000 00000 00000 00000", [])
    worst = analyzed([(truth, truth), (half, truth), (nothing, truth), (wrong, truth), (nothing, void)]).worst
    assert [one.image_id for one in worst] == [
        3,
        2,
        1,
        0,
    ]  # of the two without a match, the one with more errors is first
    assert [(one.tp, one.fp, one.fn) for one in worst] == [(0, 2, 3), (0, 0, 3), (2, 0, 1), (3, 0, 0)]
    assert worst[2].pq == pytest.approx(2 / 3)


def test_intervals_equal_those_of_the_drawn_data_sets(pairs: Pairs) -> None:
    evaluator = PanopticEvaluator(len(NAMES), 2, boundary=False)
    for number, (prediction, truth) in enumerate(pairs):
        evaluator.count([number], Overlaps.between(prediction, truth))
    scores = evaluator.compute(NAMES)
    generator = np.random.default_rng(0)
    draws = np.concatenate([draw_images(len(pairs), generator, 100) for _ in range(10)])
    parts = (slice(None), slice(2, None), slice(2))
    expected_intervals = PQIntervals(*(Interval.of(resampled_pq(scores.images, 4, draws, part)) for part in parts))
    found = scores.analysis.intervals
    assert found is not None
    for name, whole in (("all", scores.all), ("things", scores.things), ("stuff", scores.stuff)):
        one, other = getattr(found, name), getattr(expected_intervals, name)
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-12)
        assert one.low < whole.pq < one.high
    assert found == pq_intervals(scores.images, 4, 2), "intervals must be reproducible"


def test_intervals_of_one_image_are_none() -> None:
    truth = drawn("112", [0, 2])
    assert analyzed([(truth, truth)]).intervals is None
    assert analyzed([]).worst == ()
