"""VPQ and STQ against slow versions, and on drawn videos."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.video_quality import Clip, Frame, association, ious, window_counts

from seamseg.metrics.video import VideoEvaluator, VideoScores, tube_keys

VOID, NUM_CLASSES, NUM_STUFF = 255, 4, 2
NAMES = ["sky", "road", "car", "person"]


def keys(frame: Frame) -> np.ndarray:
    flat = (part.ravel() for part in frame)
    return tube_keys(*flat, num_stuff=NUM_STUFF)


def add(evaluator: VideoEvaluator, clip: Clip, name: str = "a") -> None:
    for true, predicted in clip:
        pairs, pixels = np.unique(np.stack([keys(true), keys(predicted)]), axis=1, return_counts=True)
        evaluator.update(pairs[0], pairs[1], pixels)
    evaluator.end_clip(name)


def evaluate(clips: Sequence[Clip], windows: Sequence[int] = (1, 2, 3, 4)) -> VideoScores:
    evaluator = VideoEvaluator(NUM_CLASSES, NUM_STUFF, windows)
    for number, clip in enumerate(clips):
        add(evaluator, clip, str(number))
    return evaluator.compute(NAMES)


def random_frame(rng: np.random.Generator, crowd: bool) -> Frame:
    """Draw a frame of 4×5 pixels with few ids, so that tubes overlap by chance."""
    ids = rng.integers(1, 4, (4, 5))
    category_of_id = np.array([0, 2, 2, 3])
    classes = np.where(rng.random((4, 5)) < 0.4, rng.integers(0, 2, (4, 5)), category_of_id[ids])
    classes = np.where(rng.random((4, 5)) < 0.1, VOID, classes)
    return Frame(classes, ids, (ids == 2) & (classes == 2) & crowd)


def random_clip(rng: np.random.Generator, length: int) -> Clip:
    """Draw a video whose prediction is a copy of the truth with errors."""
    clip = []
    true = random_frame(rng, True)
    for _ in range(length):
        if rng.random() < 0.5:
            true = random_frame(rng, True)
        other, wrong = random_frame(rng, False), rng.random((4, 5)) < 0.3
        predicted = Frame(
            np.where(wrong, other.classes, true.classes),
            np.where(wrong, other.ids, true.ids),
            np.zeros((4, 5), np.bool_),
        )
        clip.append((true, predicted))
    return clip


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 4), min_size=1, max_size=2))
@settings(max_examples=40, deadline=None)
def test_scores_equal_those_from_sets_of_pixels(seed: int, lengths: list[int]) -> None:
    rng = np.random.default_rng(seed)
    clips = [random_clip(rng, length) for length in lengths]
    windows = (1, 2, 3)
    scores = evaluate(clips, windows)
    for window, found in zip(windows, scores.windows, strict=True):
        iou, tp, fp, fn = window_counts(clips, window, NUM_CLASSES, NUM_STUFF)
        expected = (iou / (tp + fp / 2 + fn / 2)).numpy()
        by_class = [line.by_window[windows.index(window)] for line in scores.per_class.values()]
        np.testing.assert_allclose(by_class, expected, rtol=1e-12)
        np.testing.assert_allclose(found.all.pq, np.nanmean(expected) if (tp + fp + fn).any() else math.nan)
    np.testing.assert_allclose(scores.aq, association(clips, NUM_STUFF), rtol=1e-12)
    by_class = ious(clips, NUM_CLASSES)
    np.testing.assert_allclose([line.iou for line in scores.per_class.values()], by_class, rtol=1e-12)
    np.testing.assert_allclose(scores.stq, math.sqrt(scores.aq * np.nanmean(by_class)), rtol=1e-12)


def drawn(pattern: Sequence[str], ids: dict[str, int]) -> Frame:
    """Draw a frame: `.` is road, `x` void, `#` a crowd of cars, other letters are cars with the given ids."""
    letters = np.array([list(row) for row in pattern])
    classes = np.where(letters == ".", 1, np.where(letters == "x", VOID, 2))
    numbers = np.vectorize(lambda letter: ids.get(letter, 0))(letters)
    return Frame(classes, numbers, letters == "#")


FRAME = ["aabb", "aabb", "...."]


def test_identity_switch_lowers_vpq_of_longer_windows_only() -> None:
    true = drawn(FRAME, {"a": 1, "b": 2})
    switched = drawn(FRAME, {"a": 2, "b": 1})
    scores = evaluate([[(true, true), (true, true), (true, switched), (true, switched)]], (1, 2, 4))
    assert [window.things.pq for window in scores.windows] == pytest.approx([1, 2 / 3, 0])
    assert [window.stuff.pq for window in scores.windows] == [1, 1, 1]
    assert scores.sq == 1
    # Each car is split into halves, and the IoU of each half with a predicted car is 8 / 24.
    assert scores.aq == pytest.approx(2 * 0.5 / 3)
    assert scores.stq == pytest.approx(math.sqrt(1 / 3))


def test_prediction_without_identities_has_a_perfect_vpq_1_and_a_low_stq() -> None:
    true = drawn(FRAME, {"a": 1, "b": 2})
    clip = [(true, drawn(FRAME, {"a": 10 * time + 1, "b": 10 * time + 2})) for time in range(4)]
    scores = evaluate([clip], (1, 2))
    assert [window.all.pq for window in scores.windows] == [1, 0.5]
    assert (scores.sq, scores.aq) == (1, 0.25)


def test_predictions_on_crowd_do_not_count_and_on_void_they_count_for_association() -> None:
    true = drawn(["a#x.", "a#x."], {"a": 1})
    everywhere = drawn(["aaa.", "aaa."], {"a": 5})
    assert evaluate([[(true, everywhere)]], (1,)).aq == pytest.approx(0.5)
    assert evaluate([[(true, drawn(["aa..", "aa.."], {"a": 5}))]], (1,)).aq == 1


def test_stuff_is_one_tube_whatever_its_ids() -> None:
    true = Frame(np.ones((2, 2), np.int64), np.zeros((2, 2), np.int64), np.zeros((2, 2), np.bool_))
    clip = [(true, true._replace(ids=np.full((2, 2), time))) for time in range(3)]
    scores = evaluate([clip], (1, 3))
    assert [window.stuff.pq for window in scores.windows] == [1, 1]
    assert math.isnan(scores.aq)
    assert json.loads(scores.to_json())["stq"] is None


def test_one_id_with_two_classes_is_two_tubes() -> None:
    true = drawn(["aa", "aa"], {"a": 1})
    as_person = Frame(np.full((2, 2), 3), true.ids, true.crowd)
    scores = evaluate([[(true, true), (true, as_person)]], (2,))
    assert scores.per_class["car"].vpq == 0
    assert scores.per_class["person"].vpq == 0
    assert scores.aq == pytest.approx(0.5)  # its class does not matter, but it is another tube


def test_videos_do_not_share_tubes_or_windows() -> None:
    true = drawn(FRAME, {"a": 1, "b": 2})
    other = drawn(FRAME, {"a": 2, "b": 1})
    scores = evaluate([[(true, true)], [(true, other)]], (1, 2))
    assert (scores.aq, scores.windows[0].all.pq) == (1, 1)
    assert math.isnan(scores.windows[1].all.pq)
    assert [(clip.name, clip.num_frames, clip.num_tubes, clip.stq) for clip in scores.clips] == [
        ("0", 1, 2, 1),
        ("1", 1, 2, 1),
    ]


def test_class_in_short_videos_only_has_the_mean_of_their_windows() -> None:
    car, person = drawn(["aa"], {"a": 1}), Frame(np.full((1, 2), 3), np.ones((1, 2), np.int64), np.zeros((1, 2), bool))
    scores = evaluate([[(car, car)] * 3, [(person, person)] * 2], (1, 2, 3))
    assert (scores.per_class["person"].vpq, scores.per_class["car"].vpq) == (1, 1)
    assert [math.isnan(value) for value in scores.per_class["person"].by_window] == [False, False, True]
    assert math.isnan(scores.per_class["road"].vpq)
