"""Calibration: hand-computed cases, loops over single predictions, and any division of the images among ranks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from oracles.calibration import bin_of, calibration_error, risks

from seamseg.errors import DataError
from seamseg.metrics.calibration import (
    DETECTION_CASES,
    LEAST_IN_BIN,
    NUM_BINS,
    TOP_LEVEL,
    Calibration,
    CalibrationCounter,
    RiskCoverage,
    ThingReliability,
    confidence_levels,
)

NAMES = ("sky", "car", "person")


def cases(*rows: tuple[int, float, bool], box: tuple[float, float, float, float] = (0.5, 0.5, 0.1, 0.1)) -> Any:
    return np.array([(*row, *box) for row in rows], DETECTION_CASES)


def random_cases(num: int, seed: int = 0) -> Any:
    """Return overconfident detections whose errors depend on their place; many scores are equal or on bin borders."""
    rng = np.random.default_rng(seed)
    found = np.zeros(num, DETECTION_CASES)
    found["class"] = rng.integers(1, 3, num)
    found["score"] = np.where(rng.random(num) < 0.5, rng.integers(0, NUM_BINS + 1, num) / NUM_BINS, rng.random(num))
    for name in ("y", "x", "height", "width"):
        found[name] = rng.random(num) ** 3
    found["right"] = rng.random(num) < found["score"] * (1 - found["y"])
    return found


def computed(*some: Any) -> Calibration:
    counter = CalibrationCounter(len(NAMES))
    for one in some:
        counter.add_things(one)
    return counter.compute(NAMES)


def test_ece_of_three_things_by_hand() -> None:
    """Two in the bin up to 14/15: mean score .9, one of them right; one in the last bin, right."""
    things = computed(cases((1, 0.88, True), (1, 0.92, False), (2, 1.0, True))).things
    assert things.all.num == 3
    assert things.all.accuracy == pytest.approx(2 / 3)
    assert things.all.ece == pytest.approx((2 * 0.4 + 0) / 3)
    assert things.per_class["car"].ece == pytest.approx(0.4)
    assert things.per_class["person"].ece == 0
    assert set(things.per_class) == {"car", "person"}
    assert things.bins[13] == pytest.approx((2, 0.9, 0.5))
    assert things.bins[14] == (1, 1.0, 1.0)
    assert math.isnan(things.bins[0][1])


def test_ece_of_scores_on_borders_counts_them_in_the_lower_bin() -> None:
    scores = [0.0, 1 / 15, 2 / 15, 0.2, 3 / 5, 1.0]
    things = computed(cases(*((1, score, True) for score in scores))).things
    numbers = [num for num, _, _ in things.bins]
    assert [numbers[i] for i in (0, 1, 2, 8, 14)] == [2, 1, 1, 1, 1]
    assert sum(numbers) == 6


def test_levels_on_borders_are_in_the_bins_of_the_exact_fractions() -> None:
    """65535 is a multiple of 15, so some levels are exactly on a border."""
    border = np.arange(NUM_BINS + 1) * (TOP_LEVEL // NUM_BINS)
    levels = np.concatenate([border, border[:-1] + 1, [TOP_LEVEL - 1]]).astype(np.uint16)[None]
    counter = CalibrationCounter(1)
    counter.add_pixels(levels, np.zeros(levels.shape, int), np.zeros(levels.shape, int))
    expected = np.zeros(NUM_BINS, int)
    for level in levels[0].tolist():
        expected[max(0, math.ceil(level * NUM_BINS / TOP_LEVEL) - 1)] += 1
    assert [num for num, _, _ in counter.compute(["road"]).pixels.bins] == expected.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_calibration_errors_equal_a_loop_over_detections(seed: int) -> None:
    found = random_cases(3000, seed)
    things = computed(found).things

    def expected(some: Any, *axes: str, num: int, least: int) -> float:
        rows = [[one[axis] for axis in axes] for one in some]
        return calibration_error(some["score"], some["right"], rows, num, least)

    for line, some in (
        (things.all, found),
        (things.per_class["car"], found[found["class"] == 1]),
        (things.per_class["person"], found[found["class"] == 2]),
    ):
        assert isinstance(line, ThingReliability)
        assert line.ece == pytest.approx(expected(some, num=15, least=1))
        assert line.d_ece_position == pytest.approx(expected(some, "y", "x", num=8, least=8))
        assert line.d_ece_size == pytest.approx(expected(some, "height", "width", num=8, least=8))
        assert line.d_ece == pytest.approx(expected(some, "y", "x", "height", "width", num=5, least=8))
    for score, (low, high) in ((0.3, (4, 4)), (1.0, (14, 14)), (0.0, (0, 0))):
        assert low <= bin_of(score, NUM_BINS) <= high


def test_d_ece_sees_errors_that_cancel_in_the_ece() -> None:
    """All things at the top are right, none at the bottom is, and all have a score of one half."""
    top = cases(*[(1, 0.5, True)] * LEAST_IN_BIN, box=(0.1, 0.5, 0.1, 0.1))
    bottom = cases(*[(1, 0.5, False)] * LEAST_IN_BIN, box=(0.9, 0.5, 0.1, 0.1))
    line = computed(top, bottom).things.all
    assert isinstance(line, ThingReliability)
    assert (line.ece, line.d_ece_position, line.d_ece_size, line.d_ece) == (0, 0.5, 0, 0.5)


def test_d_ece_leaves_out_bins_with_few_detections() -> None:
    few = cases(*[(1, 0.5, True)] * (LEAST_IN_BIN - 1))
    line = computed(few).things.all
    assert isinstance(line, ThingReliability)
    assert math.isnan(line.d_ece)
    assert line.ece == 0.5
    many = cases(*[(1, 1.0, True)] * LEAST_IN_BIN, box=(0.9, 0.9, 0.1, 0.1))
    both = computed(few, many).things.all
    assert isinstance(both, ThingReliability)
    assert both.d_ece == 0


def test_boxes_beyond_the_image_are_in_the_outermost_bins() -> None:
    found = cases(*[(1, 0.5, True)] * LEAST_IN_BIN, box=(-0.2, 1.3, 1.5, 0.0))
    line = computed(found).things.all
    assert isinstance(line, ThingReliability)
    assert line.d_ece == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_risk_coverage_equals_the_expected_risk_at_every_number_of_predictions(seed: int) -> None:
    found = random_cases(150, seed)
    things = computed(found).things
    expected = risks(found["score"].tolist(), found["right"].tolist())
    assert things.aurc == pytest.approx(float(sum(expected) / len(expected)))
    ideal = sorted(found["right"].tolist(), reverse=True)
    best = risks([-place for place in range(len(ideal))], ideal)
    assert things.e_aurc == pytest.approx(float(sum(expected) - sum(best)) / len(expected))
    ordered = sorted(found["score"].tolist(), reverse=True)
    for coverage, risk, score in things.curve:
        k = round(coverage * len(found))
        assert risk == pytest.approx(float(expected[k - 1]))
        assert score == ordered[k - 1]
    assert things.curve[-1][0] == 1


def test_area_by_hand() -> None:
    """Surest first: right, wrong, right, wrong. Risks: 0, 1/2, 1/3, 1/2; the best order: 0, 0, 1/3, 1/2."""
    curve = RiskCoverage(np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 1, 1, 1]), np.array([0, 1, 0, 1]))
    assert curve.area == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert curve.best_area == pytest.approx((1 / 3 + 1 / 2) / 4)
    assert curve.points() == (
        (0.25, 0.0, 0.9),
        (0.5, 0.5, 0.8),
        (0.75, pytest.approx(1 / 3), 0.7),
        (1.0, 0.5, 0.6),
    )


@pytest.mark.parametrize(("right", "area"), [(True, 0.0), (False, 1.0)])
def test_area_of_only_right_or_wrong_predictions_is_the_best(right: bool, area: float) -> None:
    things = computed(cases((1, 0.3, right), (1, 0.7, right))).things
    assert (things.aurc, things.e_aurc) == pytest.approx((area, 0))


def test_area_of_billions_of_pixels_is_accurate() -> None:
    """With one level, the risk is the same at every coverage."""
    curve = RiskCoverage(np.array([0.9, 0.4]), np.array([4 * 10**9, 10**9]), np.array([10**9, 25 * 10**7]))
    assert curve.area == pytest.approx(0.25, abs=1e-12)


def pixel_maps(seed: int = 0) -> list[tuple[Any, Any, Any]]:
    rng = np.random.default_rng(seed)
    maps = []
    for size in ((20, 30), (7, 5)):
        truth = rng.choice([0, 1, 2, 255], size)
        predicted = np.where(rng.random(size) < 0.7, truth, rng.choice([0, 1, 2, 255], size))
        maps.append((confidence_levels(rng.choice([0.0, 0.2, 1 / 3, 0.61, 0.999, 1.0], size)), predicted, truth))
    return maps


def test_pixels_equal_a_loop_over_pixels() -> None:
    counter = CalibrationCounter(3)
    rows = []
    for levels, predicted, truth in pixel_maps():
        counter.add_pixels(levels, predicted, truth)
        for level, mine, true in zip(levels.flat, predicted.flat, truth.flat, strict=True):
            if mine != 255 and true != 255:
                rows.append((int(mine), level / TOP_LEVEL, bool(mine == true)))
    pixels = counter.compute(NAMES).pixels
    for line, some in [(pixels.all, rows)] + [
        (pixels.per_class[name], [row for row in rows if row[0] == number]) for number, name in enumerate(NAMES)
    ]:
        _, scores, right = zip(*some, strict=True)
        assert (line.num, line.accuracy) == (len(some), pytest.approx(sum(right) / len(some)))
        assert line.confidence == pytest.approx(sum(scores) / len(scores))
        assert line.ece == pytest.approx(calibration_error(scores, right, [()] * len(some), NUM_BINS, 1))
    _, scores, right = zip(*rows, strict=True)
    expected = risks(scores, right)
    assert pixels.aurc == pytest.approx(float(sum(expected) / len(expected)))


def test_counter_of_any_division_of_the_images_gives_equal_results() -> None:
    maps, found = pixel_maps(), random_cases(500)
    whole, ranks = CalibrationCounter(3), [CalibrationCounter(3) for _ in range(3)]
    whole.add_things(found)
    for number in range(10):
        ranks[number % 2].add_things(found[number::10])
    for number, one in enumerate(maps):
        whole.add_pixels(*one)
        ranks[1 - number].add_pixels(*one)
    joined, reversed_ranks = CalibrationCounter(3), CalibrationCounter(3)
    joined.merge(rank.state for rank in ranks)
    reversed_ranks.merge(rank.state for rank in ranks[::-1])
    expected = repr(whole.compute(NAMES))
    assert repr(joined.compute(NAMES)) == expected
    assert repr(reversed_ranks.compute(NAMES)) == expected


def test_nothing_counted_gives_no_calibration() -> None:
    counter = CalibrationCounter(2)
    counter.add_things(np.zeros(0, DETECTION_CASES))
    void = np.full((2, 2), 255)
    counter.add_pixels(np.zeros((2, 2), np.uint16), void, np.zeros((2, 2), int))
    counter.add_pixels(np.zeros((2, 2), np.uint16), np.zeros((2, 2), int), void)
    assert counter.compute(["a", "b"]) == Calibration(None, None)
    assert CalibrationCounter(0).compute([]) == Calibration(None, None)


@pytest.mark.parametrize("score", [-0.1, 1.5, math.nan])
def test_score_outside_of_probabilities_is_refused(score: float) -> None:
    with pytest.raises(DataError, match=f"{score:g}"):
        computed(cases((1, score, True)))


def test_confidence_levels_round_to_the_nearest() -> None:
    assert confidence_levels(np.array([0.0, 0.4 / 65535, 1.6 / 65535, 0.5, 1.0], np.float32)).tolist() == [
        *(0, 0, 2, 32768, 65535)
    ]
