"""Tracking of drawn things: motion, hidden things, classes, the state, and the assignment."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence

import numpy as np
import pytest

from seamseg.algos.tracking import Tracker, _assign
from seamseg.errors import SettingsError

Box = tuple[int, int, int, int]  # first row, first column, end row, end column


def frame(boxes: dict[int, Box], size: tuple[int, int] = (40, 80)) -> np.ndarray:
    """Draw boxes by id; later ones cover earlier ones."""
    ids = np.zeros(size, np.int64)
    for number, (y0, x0, y1, x1) in boxes.items():
        ids[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = number
    return ids


def track(tracker: Tracker, boxes: dict[int, Box], category: int = 2) -> dict[int, int]:
    """Return the number of the track of each box."""
    found = tracker.update(frame(boxes), dict.fromkeys(boxes, category), dict.fromkeys(boxes, 0.9))
    return {one: number for one, (number, _) in found.items()}


def crossing(time: int, order: Sequence[int] = (1, 2)) -> dict[int, Box]:
    """Two boxes that pass each other in the same row; the second is in front."""
    one, two = 5 + 5 * time, 65 - 5 * time
    return {order[0]: (10, one, 22, one + 10), order[1]: (12, two, 24, two + 10)}


def test_moving_things_keep_their_numbers_whatever_their_ids_in_the_frame() -> None:
    tracker, rng = Tracker(3, 10), np.random.default_rng(0)
    for time in range(10):
        first, second = (rng.permutation(5)[:2] + 1).tolist()
        boxes = {first: (5, 4 * time, 15, 4 * time + 8), second: (20, 60 - 3 * time, 30, 68 - 3 * time)}
        found = track(tracker, boxes)
        if time == 0:
            expected = [found[first], found[second]]
            assert sorted(expected) == [1, 2]
        assert [found[first], found[second]] == expected


def test_things_that_pass_each_other_keep_their_numbers() -> None:
    tracker = Tracker(3, 10)
    found = [track(tracker, crossing(time)) for time in range(13)]
    assert found[0][1] != found[0][2]
    assert all(one[2] == found[0][2] for one in found)
    seen = [one[1] for one in found if 1 in one]
    assert seen == [found[0][1]] * len(seen)
    assert len(seen) >= 11


@pytest.mark.parametrize(("hidden", "is_same"), [(4, True), (5, False)])
def test_hidden_thing_keeps_its_number_for_as_many_frames_as_the_gap(hidden: int, is_same: bool) -> None:
    tracker = Tracker(3, gap=4)
    for time in range(5):
        assert track(tracker, {1: (10, 4 * time, 20, 4 * time + 10)}) == {1: 1}
    for _ in range(hidden):
        assert track(tracker, {}) == {}
    column = 4 * (5 + hidden)
    assert (track(tracker, {1: (10, column, 20, column + 10)}) == {1: 1}) == is_same


def test_thing_that_leaves_is_not_confused_with_one_far_away() -> None:
    tracker = Tracker(3, 10)
    for time in range(3):
        track(tracker, {1: (10, 4 - 4 * time, 20, 14 - 4 * time)})
    assert track(tracker, {1: (10, 60, 20, 70)}) == {1: 2}


def test_new_thing_gets_a_new_number_and_numbers_are_not_used_twice() -> None:
    tracker = Tracker(3, gap=0)
    assert track(tracker, {1: (0, 0, 5, 5)}) == {1: 1}
    assert track(tracker, {}) == {}
    assert track(tracker, {1: (0, 0, 5, 5)}) == {1: 2}


def test_class_of_a_thing_is_the_one_with_the_largest_sum_of_scores() -> None:
    tracker, ids = Tracker(4, 10), frame({7: (5, 5, 20, 20)})
    votes = [(2, 0.9), (3, 0.5), (3, 0.3), (3, 0.3)]
    found = [tracker.update(ids, {7: category}, {7: score})[7] for category, score in votes]
    assert found == [(1, 2), (1, 2), (1, 2), (1, 3)]


def test_segments_of_another_class_are_only_taken_if_none_of_the_same_class_is_near() -> None:
    tracker = Tracker(4, 10)
    tracker.update(frame({1: (5, 5, 20, 20)}), {1: 2}, {1: 1.0})
    ids = frame({1: (5, 5, 20, 13), 2: (5, 13, 20, 20)})
    assert tracker.update(ids, {1: 3, 2: 2}, {1: 1.0, 2: 1.0}) == {1: (2, 3), 2: (1, 2)}


def test_things_without_a_pixel_are_left_out() -> None:
    assert Tracker(3, 10).update(frame({1: (5, 5, 20, 20)}), {1: 2, 4: 2}, {1: 1.0, 4: 1.0}) == {1: (1, 2)}


@pytest.mark.parametrize("seed", range(5))
def test_assignment_has_the_largest_sum_of_all(seed: int) -> None:
    affinities = np.random.default_rng(seed).random((4, 3)) * np.random.default_rng(seed + 9).integers(0, 2, (4, 3))
    rows, columns = _assign(affinities)
    best = max(
        sum(affinities[row, column] for column, row in enumerate(chosen))
        for chosen in itertools.permutations(range(4), 3)
    )
    assert affinities[rows, columns].sum() == pytest.approx(best)
    assert (affinities[rows, columns] > 0).all()


@pytest.mark.parametrize("stop", [0, 3, 7])
def test_restored_tracker_continues_exactly_as_the_first_one(stop: int) -> None:
    whole, resumed = Tracker(3, 3), Tracker(3, 3)
    frames = [crossing(time, (5, 3)) | ({9: (30, 20, 36, 30)} if time % 4 else {}) for time in range(12)]
    expected = [track(whole, boxes) for boxes in frames]
    found = [track(resumed, boxes) for boxes in frames[:stop]]
    state = resumed.state()
    resumed = Tracker(3, 3)
    resumed.restore(state)
    found += [track(resumed, boxes) for boxes in frames[stop:]]
    assert found == expected
    for key, value in whole.state().items():
        assert np.array_equal(value, resumed.state()[key]), key


@pytest.mark.parametrize(
    "change",
    [
        {"counters": np.array([1, 2, 7])},
        {"tracks": np.array([[1, 0, 0, -3, 5, 1, 1, 0]])},
        {"velocities": np.zeros((3, 4))},
        {"votes": np.zeros(2)},
        {"masks": np.zeros(2, np.str_)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_state_that_does_not_fit_is_refused(change: dict[str, np.ndarray]) -> None:
    tracker = Tracker(3, 10)
    track(tracker, {1: (5, 5, 20, 20)})
    with pytest.raises(ValueError, match=r"."):
        Tracker(3, 10).restore(tracker.state() | change)


def test_tracker_without_scipy_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(SettingsError, match=r"seamseg\[track\]"):
        Tracker(3, 10)
