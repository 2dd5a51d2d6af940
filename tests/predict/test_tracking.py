"""Constant ids of predicted frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from seamseg.algos.tracking import Tracker
from seamseg.predict.predictor import Prediction
from seamseg.predict.tracking import FrameTracker, renumbered
from seamseg.structures import Categories, Category, Detections, PanopticSegmentation, SemanticLogits

CATEGORIES = Categories(
    (
        Category("sky", False, (1, 2, 3), 1),
        Category("road", False, (1, 2, 4), 2),
        Category("car", True, (4, 5, 6), 3),
        Category("person", True, (4, 5, 7), 4),
    )
)
ROWS = [[1, 1, 1, 1], [3, 3, 2, 2], [4, 4, 0, 0]]


@dataclass(frozen=True)
class Frame:
    name: str

    @property
    def file_name(self) -> str:
        return self.name


def segmentation(rows: list[list[int]] = ROWS) -> PanopticSegmentation:
    """Road, a car, a person, crowd of people, a person without a pixel, and void."""
    return PanopticSegmentation(
        torch.tensor(rows),
        torch.tensor([255, 1, 2, 3, 3, 3]),
        torch.tensor([False, False, False, False, True, False]),
        torch.tensor([0, 1, 0.75, 0.5, 0.25, 0.5]),
    )


def prediction() -> Prediction:
    none = torch.zeros(0)
    objects = Detections(torch.zeros(0, 4), none.long(), none, torch.zeros(0, 1, 1))
    return Prediction(segmentation(), objects, SemanticLogits(torch.zeros(4, 1, 1), (3, 4), (3, 4)))


def test_renumbered_gives_stuff_the_number_of_its_class_and_things_that_of_their_track() -> None:
    tracker = Tracker(4, 10)
    found = renumbered(segmentation(), tracker, CATEGORIES)
    assert found.ids.tolist() == [[2, 2, 2, 2], [6, 6, 5, 5], [4, 4, 0, 0]]
    assert found.classes.tolist() == [255, 255, 1, 255, 3, 2, 3]
    assert found.crowd.tolist() == [False] * 4 + [True, False, False]
    assert found.filled_scores.tolist() == [0, 0, 1, 0, 0.25, 0.75, 0.5]
    swapped = torch.tensor([0, 1, 3, 2, 4, 5])[segmentation().ids]
    again = PanopticSegmentation(swapped, torch.tensor([255, 1, 3, 2, 3, 3]), segmentation().crowd)
    assert torch.equal(renumbered(again, tracker, CATEGORIES).ids, found.ids)


def test_frame_tracker_numbers_each_clip_from_the_beginning(tmp_path: Path) -> None:
    tracker = FrameTracker(tmp_path, CATEGORIES, 10)
    first = tracker.track("a/1", prediction()).segmentation
    later = PanopticSegmentation(torch.zeros(3, 4).long(), torch.tensor([255]), torch.tensor([False]))
    tracker.track("a/2", Prediction(later, prediction().detections, prediction().semantics))
    assert torch.equal(tracker.track("b/1", prediction()).segmentation.ids, first.ids)


def test_frame_tracker_resumes_after_recorded_frames_and_complete_clips(tmp_path: Path) -> None:
    frames = [Frame(name) for name in ("a/1", "a/2", "b/1", "b/2")]
    tracker = FrameTracker(tmp_path, CATEGORIES, 10)
    for frame in frames:
        tracker.track(frame.name, prediction())
    names = [frame.name for frame in frames]
    assert [tracker.kept_frames(frames, set(names[:number])) for number in range(5)] == [
        set(names[:number]) for number in range(5)
    ]
    assert tracker.kept_frames(frames, {"a/1", "b/1", "b/2"}) == {"a/1", "b/1", "b/2"}
    assert tracker.kept_frames(frames, {"a/2", "b/1"}) == {"b/1"}
    for path in tmp_path.rglob("*.tracks"):
        path.write_bytes(b"damaged")
    kept = [len(tracker.kept_frames(frames, set(names[:number]))) for number in range(5)]
    assert kept == [0, 0, 2, 2, 4]


def test_frame_tracker_continues_several_clips_with_the_same_ids(tmp_path: Path) -> None:
    frames = [Frame(name) for name in ("a/1", "a/2", "b/1", "b/2")]
    whole = FrameTracker(tmp_path, CATEGORIES, 10)
    expected = {frame.name: whole.track(frame.name, prediction()).segmentation.ids for frame in frames}
    resumed = FrameTracker(tmp_path, CATEGORIES, 10)
    assert resumed.kept_frames(frames, {"a/1", "b/1"}) == {"a/1", "b/1"}
    for name in ("a/2", "b/2"):
        assert torch.equal(resumed.track(name, prediction()).segmentation.ids, expected[name])
