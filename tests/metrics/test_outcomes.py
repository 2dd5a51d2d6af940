"""Outcomes of segments, on maps drawn by hand and compared with an oracle that uses sets of pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.outcome_pairs import VOID, Pair, drawn, expected, random_pair

from seamseg.metrics.matching import match
from seamseg.metrics.outcomes import (
    CASES,
    FALSE_ERRORS,
    TRUE_ERRORS,
    SegmentOutcome,
    judge,
    segment_cases,
)
from seamseg.metrics.overlaps import Overlaps


def joined(pairs: Sequence[Pair]) -> Overlaps:
    """Return the overlaps of several images in one table."""
    columns: dict[str, list[NDArray[Any]]] = {field.name: [] for field in fields(Overlaps)}
    num_true = num_predicted = 0
    for image, pair in enumerate(pairs):
        one = Overlaps.between(*pair)
        shifts = {"true_images": image, "predicted_images": image, "true": num_true, "predicted": num_predicted}
        for name, parts in columns.items():
            parts.append(getattr(one, name) + shifts[name] if name in shifts else getattr(one, name))
        num_true, num_predicted = num_true + one.num_true, num_predicted + one.num_predicted
    return Overlaps(**{name: np.concatenate(parts) for name, parts in columns.items()})


def plain(*pairs: Pair) -> list[tuple[object, ...]]:
    rows = segment_cases(match(joined(pairs)))
    assert rows.dtype == CASES
    return [(*row[:3], SegmentOutcome(row[3]).word, row[4], pytest.approx(row[5], abs=1e-12)) for row in rows.tolist()]


TRUTH = drawn("11122 11122 11122 33000 33000", [0, 2, 3])


def test_equal_maps_match_every_segment() -> None:
    assert plain((TRUTH, TRUTH)) == [
        (True, 0, 0, "matched", 9, 1), (True, 2, 2, "matched", 6, 1), (True, 3, 3, "matched", 4, 1),
    ]  # fmt: skip


def test_right_class_with_a_poor_shape_is_a_localization_error() -> None:
    # The prediction covers 2 of the 6 pixels of segment 2, and 1 pixel outside.
    found = plain((drawn("11111 11222 11111 33000 33000", [0, 2, 3]), TRUTH))
    assert (True, 2, 2, "localization", 6, 2 / 7) in found
    assert (False, 2, 2, "localization", 3, 2 / 7) in found


def test_other_class_in_the_same_place_is_a_classification_error() -> None:
    found = plain((drawn("11122 11122 11120 33000 33000", [0, 3, 3]), TRUTH))
    assert found[1] == (True, 2, 3, "classification", 6, 5 / 6)
    assert found[3:] == [(False, 3, 2, "classification", 5, 5 / 6)]


def test_segment_without_a_counterpart_is_missed_or_background() -> None:
    found = plain((drawn("11100 11100 11100 33000 33000", [0, 2, 2]), TRUTH))
    assert found[1] == (True, 2, VOID, "missed", 6, 0)
    # A prediction of class 2 is exactly where segment 3 is, so neither is missed or background.
    assert found[2:] == [(True, 3, 2, "classification", 4, 1), (False, 2, 3, "classification", 4, 1)]
    found = plain((drawn("11112 11112 11112", [0, 3]), drawn("11111 11111 11111", [0])))
    assert found == [(True, 0, 0, "matched", 15, 12 / 15), (False, 3, VOID, "background", 3, 0)]


def test_small_piece_of_the_right_class_does_not_hide_a_classification_error() -> None:
    truth = drawn("1111111111", [2])
    found = plain((drawn("1222222222", [2, 3]), truth))
    assert found[0] == (True, 2, 3, "classification", 10, 0.9)
    assert (False, 2, 2, "localization", 1, 0.1) in found
    assert plain((drawn("1000000000 0000000000", [2]), drawn("1111111111 1000000000", [2])))[0][3] == "missed"


def test_second_prediction_on_a_matched_object_is_a_duplicate() -> None:
    found = plain((drawn("1111122200", [2, 2]), drawn("1111111100", [2])))
    assert found == [(True, 2, 2, "matched", 8, 5 / 8), (False, 2, 2, "duplicate", 3, 3 / 8)]
    # Without the first prediction, or with another class for it, nothing is a duplicate.
    assert plain((drawn("0000011100", [2]), drawn("1111111100", [2])))[1][3] == "localization"
    assert plain((drawn("1111122200", [3, 2]), drawn("1111111100", [2])))[2][3] == "localization"


def test_small_piece_of_a_matched_object_is_background() -> None:
    found = plain((drawn("1111111111 1111111112", [2, 2]), drawn("1111111111 1111111111", [2])))
    assert found == [(True, 2, 2, "matched", 20, 19 / 20), (False, 2, VOID, "background", 1, 0)]


def test_best_overlapped_object_decides_between_duplicate_and_localization() -> None:
    # Prediction 2 covers 3 pixels of object 1, which prediction 1 matches, and 2 pixels of object 2, without a match.
    found = plain((drawn("1111122222", [2, 2]), drawn("1111111122", [2, 2])))
    assert found[1:] == [(True, 2, 2, "localization", 2, 2 / 5), (False, 2, 2, "localization", 5, 2 / 5)]
    # If object 2 has 6 pixels, prediction 2 overlaps object 1 better.
    found = plain(
        (drawn("1111122222 0000000000 0000000000", [2, 2]), drawn("1111111122 0000000022 0000000022", [2, 2]))
    )
    assert found[1:] == [(True, 2, 2, "localization", 6, 2 / 9), (False, 2, 2, "duplicate", 5, 3 / 10)]


def test_unmatched_object_decides_among_equal_overlaps() -> None:
    # Prediction 2 covers one pixel of each object; prediction 1 matches one of the objects.
    for prediction in (drawn("11122000", [2, 2]), drawn("00022111", [2, 2])):
        assert plain((prediction, drawn("11112222", [2, 2])))[2] == (
            False,
            2,
            2,
            "localization",
            2,
            1 / 5,
        )


def test_object_merged_with_a_matched_one_is_a_localization_error() -> None:
    found = plain((drawn("1111111111", [2]), drawn("1111111222", [2, 2])))
    assert found == [(True, 2, 2, "matched", 7, 7 / 10), (True, 2, 2, "localization", 3, 3 / 10)]


def test_void_and_crowd_segments_are_ignored() -> None:
    truth = drawn("11122 11122", [2, 0], crowd=(1,))
    assert plain((drawn("33322 33322", [2, 0, 2]), truth)) == [(True, 0, 0, "matched", 4, 1)]
    assert plain((drawn("11100", [3]), drawn("00022", [1, 0]))) == [(True, 0, VOID, "missed", 2, 0)]


def test_segment_cases_without_segments_are_empty() -> None:
    assert plain((drawn("000", []), drawn("000", []))) == []


@pytest.mark.parametrize("seed", range(50))
def test_cases_of_a_random_pair_equal_the_oracle(seed: int) -> None:
    assert plain(random_pair(seed)) == expected(*random_pair(seed))


def test_cases_of_many_images_equal_those_of_single_images() -> None:
    pairs = [random_pair(seed) for seed in range(30)]
    each = [expected(*pair) for pair in pairs]
    together = [case for side in (True, False) for cases in each for case in cases if case[0] == side]
    assert plain(*pairs) == together
    images = [image for image, cases in enumerate(each) for case in cases if case[0]]
    assert segment_cases(match(joined(pairs)))["image"][: len(images)].tolist() == images
    counts_of_each = [match(Overlaps.between(*pair)).counts(4) for pair in pairs]
    assert np.array_equal(match(joined(pairs)).counts(4), np.concatenate(counts_of_each, 1))
    counts = Counter((case[0], case[3]) for case in together)
    kinds = [
        (True, SegmentOutcome.MATCHED),
        *((True, one) for one in TRUE_ERRORS),
        *((False, one) for one in FALSE_ERRORS),
    ]
    assert set(counts) == {(side, one.word) for side, one in kinds}
    assert min(counts.values()) >= 5


@pytest.mark.parametrize("seed", range(50))
def test_outcomes_of_an_image_add_up_to_panoptic_quality(seed: int) -> None:
    overlaps = Overlaps.between(*random_pair(seed))
    matching = match(overlaps)
    true, predicted = judge(matching)
    _, num_matched, num_false, num_missed = matching.counts(4)[:, 0]
    for side, classes, errors, wrong in (
        (true, overlaps.true_classes, TRUE_ERRORS, num_missed),
        (predicted, overlaps.predicted_classes, FALSE_ERRORS, num_false),
    ):
        matched = side.outcomes == SegmentOutcome.MATCHED
        assert np.bincount(classes[matched], minlength=4).tolist() == num_matched.tolist()
        assert np.bincount(classes[np.isin(side.outcomes, errors)], minlength=4).tolist() == wrong.tolist()
        unpaired = SegmentOutcome.BACKGROUND, SegmentOutcome.MISSED, SegmentOutcome.IGNORED
        without_partner = np.isin(side.outcomes, unpaired)
        assert ((side.partners < 0) == without_partner).all()
        assert (side.iou[without_partner] == 0).all()
        assert set(side.outcomes) <= {SegmentOutcome.MATCHED, *errors, SegmentOutcome.IGNORED}


@pytest.mark.parametrize("seed", range(20))
def test_partner_of_a_random_segment_has_the_reported_iou(seed: int) -> None:
    prediction, truth = random_pair(seed)
    void = truth.semantics == VOID
    for number, side in enumerate(judge(match(Overlaps.between(prediction, truth)))):
        for segment, (outcome, partner, iou) in enumerate(zip(side.outcomes, side.partners, side.iou, strict=True)):
            if partner >= 0:
                t, p = (segment, partner) if number == 0 else (partner, segment)
                true, predicted = truth.ids == t, (prediction.ids == p) & ~void
                assert iou == pytest.approx(float((true & predicted).sum() / (true | predicted).sum()))
                assert (truth.classes[t] != prediction.classes[p]) == (outcome == SegmentOutcome.CLASSIFICATION)
