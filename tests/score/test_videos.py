"""Scores of video files in both layouts, and tracking of drawn drives with perfect segments."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from oracles.video_quality import Frame, association

from seamseg.algos.tracking import Tracker
from seamseg.data.formats.coco_json import open_annotation
from seamseg.errors import DataError
from seamseg.metrics.video import VideoScores
from seamseg.scenes import write_drives
from seamseg.score.videos import open_predictions, open_truth, score_videos

CATEGORIES = [
    {"id": 3, "name": "car", "isthing": 1},
    {"id": 7, "name": "road", "isthing": 0},
    {"id": 9, "name": "person", "isthing": 1},
]
VOID = 255


def write_png(path: Path, ids: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.stack([ids >> 16, ids >> 8 & 255, ids & 255], -1).astype(np.uint8))


Clips = dict[str, list[np.ndarray]]
"""Maps of the videos: 0 is void, 7 road; of other values, the hundreds are the category and the rest the id."""


def write_vipseg(folder: Path, clips: Clips, crowd: int = -1, **extra: Any) -> Path:
    videos = []
    for name, maps in clips.items():
        frames = []
        for number, ids in enumerate(maps):
            write_png(folder / "pan" / name / f"{number:03}.png", ids)
            segments = [
                {
                    "id": value,
                    "category_id": value // 100 or 7,
                    "iscrowd": int(value == crowd),
                    "area": int((ids == value).sum()),
                }
                for value in np.unique(ids).tolist()
                if value
            ]
            frames.append({"image_id": f"{number:03}", "file_name": f"{number:03}.png", "segments_info": segments})
        videos.append({"video_id": name, "annotations": frames})
    path = folder / "pan.json"
    path.write_text(json.dumps({"annotations": videos, "categories": CATEGORIES} | extra))
    return path


def write_step(folder: Path, clips: Clips, crowd: int = -1) -> Path:
    """Write the same maps in the other format; the red channel is an index into CATEGORIES."""
    index = {0: 1, 3: 0, 9: 2}
    for name, maps in clips.items():
        for number, ids in enumerate(maps):
            red = np.where(ids == 0, VOID, np.vectorize(index.get)(ids // 100))
            instances = np.where((ids < 100) | (ids == crowd), 0, ids % 100 + 300)  # more than one byte
            write_png(
                folder / "step" / name / f"{number:03}.png", red + (instances >> 8 << 8) + ((instances & 255) << 16)
            )
    (folder / "step" / "categories.json").write_text(json.dumps(CATEGORIES))
    return folder / "step"


def score(gt: Path, pred: Path, windows: tuple[int, ...] = (1, 2)) -> VideoScores:
    truth = open_truth(gt, None)
    return score_videos(truth, open_predictions(pred, None, truth), windows)


def random_clips(seed: int) -> tuple[Clips, Clips]:
    rng = np.random.default_rng(seed)
    true = {name: [rng.choice([0, 7, 301, 302, 901], (4, 5)) for _ in range(3)] for name in ("a", "b")}
    wrong = {
        name: [np.where(rng.random((4, 5)) < 0.3, rng.choice([7, 301, 305, 901], (4, 5)), ids) for ids in maps]
        for name, maps in true.items()
    }
    return true, wrong


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("crowd", [-1, 302])
def test_scores_are_the_same_in_both_formats(tmp_path: Path, seed: int, crowd: int) -> None:
    true, predicted = random_clips(seed)
    writers: list[Callable[..., Path]] = [write_vipseg, write_step]
    gt = [write(tmp_path / "gt", true, crowd) for write in writers]
    pred = [write(tmp_path / "pred", predicted) for write in writers]
    texts = {score(one, other).to_json() for one in gt for other in pred}
    assert len(texts) == 1
    clips = [
        [
            tuple(
                Frame(np.select([ids == 0, ids == 7, ids < 900], [VOID, 0, 1], 2), ids, (ids == crowd) & (side == 0))
                for side, ids in enumerate(pair)
            )
            for pair in zip(true[name], predicted[name], strict=True)
        ]
        for name in true
    ]
    assert json.loads(texts.pop())["aq"] == pytest.approx(association(clips, num_stuff=1))


def test_single_videos_match_whatever_their_names_and_only_annotated_frames_count(tmp_path: Path) -> None:
    maps = [np.full((2, 3), 301), np.full((2, 3), 301)]
    gt = write_vipseg(tmp_path / "gt", {"lane": maps[:1]})
    pred = write_vipseg(tmp_path / "pred", {"street": maps})
    assert score(gt, pred, (1,)).stq == 1


def test_results_without_a_video_or_frame_are_refused(tmp_path: Path) -> None:
    maps = [np.full((2, 3), 301)] * 2
    gt = write_vipseg(tmp_path / "gt", {"a": maps, "b": maps})
    with pytest.raises(DataError, match="video b"):
        score(gt, write_vipseg(tmp_path / "one", {"a": maps, "c": maps}))
    with pytest.raises(DataError, match="001"):
        score(gt, write_vipseg(tmp_path / "two", {"a": maps, "b": maps[:1]}))


def test_windows_longer_than_all_videos_are_refused(tmp_path: Path) -> None:
    path = write_vipseg(tmp_path, {"a": [np.full((2, 3), 301)] * 2})
    with pytest.raises(DataError, match=r"3 frames.*--windows 1$"):
        score(path, path, (1, 3))
    with pytest.raises(DataError, match=r"4 frames.*--windows 2$"):
        score(path, path, (4,))


def test_frames_of_another_size_and_unlisted_ids_are_refused(tmp_path: Path) -> None:
    gt = write_vipseg(tmp_path / "gt", {"a": [np.full((2, 3), 301)]})
    pred = write_vipseg(tmp_path / "pred", {"a": [np.full((2, 4), 301)]})
    with pytest.raises(DataError, match="2×4"):
        score(gt, pred, (1,))
    write_png(tmp_path / "pred" / "pan" / "a" / "000.png", np.full((2, 3), 305))
    with pytest.raises(DataError, match="305"):
        score(gt, pred, (1,))


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"annotations": []}, "no videos"),
        ({"annotations": {}}, "annotations"),
        ({"annotations": [{"video_id": "../a", "annotations": []}]}, r"\.\./a"),
        ({"annotations": [{"video_id": 3, "annotations": []}]}, "video_id"),
        ({"annotations": [{"video_id": "a", "annotations": []}]}, "video a contains no annotations"),
        ({"annotations": [{"video_id": "a", "annotations": [{"image_id": "0"}]}]}, "video a.*file_name"),
        ({"annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": []}]}, "without --video"),
    ],
)
def test_wrong_video_files_are_refused(tmp_path: Path, change: dict[str, Any], fact: str) -> None:
    path = write_vipseg(tmp_path, {"a": [np.full((2, 3), 301)]}, **change)
    with pytest.raises(DataError, match=fact):
        open_truth(path, None)


def test_videos_are_refused_as_images(tmp_path: Path) -> None:
    path = write_vipseg(tmp_path, {"a": [np.full((2, 3), 301)]})
    with pytest.raises(DataError, match="score --video"):
        open_annotation(path, None)


def test_nested_clips_have_the_same_names_in_both_formats(tmp_path: Path) -> None:
    maps = [np.full((2, 3), 301)]
    clips = {"day": maps, "day/a": maps, "night/b/c": maps}
    vipseg, step = write_vipseg(tmp_path, clips), write_step(tmp_path, clips)
    (step / ".hidden").mkdir()
    write_png(step / ".hidden" / "000.png", maps[0])
    for gt, pred in ((vipseg, step), (step, vipseg)):
        scores = score(gt, pred, (1,))
        assert sorted(clip.name for clip in scores.clips) == list(clips)
        assert scores.stq == 1


def test_videos_listed_twice_are_refused(tmp_path: Path) -> None:
    path = write_vipseg(tmp_path, {"a": [np.full((2, 3), 301)]})
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"annotations": content["annotations"] * 2}))
    with pytest.raises(DataError, match="video a twice"):
        open_truth(path, None)


def test_step_folder_without_categories_has_those_of_kitti_step(tmp_path: Path) -> None:
    for name in ("0002", "0006"):
        write_png(tmp_path / name / "000000.png", np.array([[0, 13 + (1 << 16), 11, 255]]))
    truth = open_truth(tmp_path, None)
    assert truth.categories.names[truth.categories.num_stuff :] == ("person", "car")
    assert list(truth.clips) == ["0002", "0006"]
    write_png(tmp_path / "0002" / "000000.png", np.array([[0, 19]]))
    with pytest.raises(DataError, match="class 19"):
        score(tmp_path, tmp_path, (1,))


def test_step_folder_without_pngs_or_with_a_wrong_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither PNGs"):
        open_truth(tmp_path, None)
    write_png(tmp_path / "000000.png", np.zeros((1, 1), np.int64))
    assert list(open_truth(tmp_path, None).clips) == [tmp_path.name]
    for text in ("{}", "[]", "nonsense"):
        (tmp_path / "categories.json").write_text(text)
        with pytest.raises(DataError, match=r"categories\.json"):
            open_truth(tmp_path, None)


def relabeled(
    ids: np.ndarray, classes: dict[int, int], chosen: dict[int, int]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Give the things of a frame new ids."""
    new = np.zeros_like(ids)
    for old in classes:
        new[ids == old] = chosen.get(old, old)
    info = [{"id": chosen.get(old, old), "category_id": category} for old, category in classes.items()]
    return new, info


def test_tracker_finds_the_identities_of_drives_and_ids_of_single_frames_do_not(tmp_path: Path) -> None:
    write_drives(tmp_path, 1, 3, 12, (64, 128), seed=5)
    gt = tmp_path / "annotations" / "video_val.json"
    truth = open_truth(gt, None)
    rng = np.random.default_rng(0)
    results: dict[str, list[Any]] = {"tracked": [], "frames": []}
    original = [category["id"] for category in truth.categories.to_list()]
    for name, frames in truth.clips.items():
        tracker = Tracker(len(truth.categories), 10)
        listed: dict[str, list[Any]] = {key: [] for key in results}
        for frame in frames:
            ids = cv2.imread(str(frame.png))[..., ::-1].astype(np.int64) @ (1, 256, 65536)
            rows = zip(frame.ids.tolist(), frame.classes.tolist(), frame.crowd.tolist(), strict=True)
            segments = {one: category for one, category, crowd in rows if one and not crowd}
            things = [one for one, category in segments.items() if category >= truth.categories.num_stuff]
            shuffled = dict(zip(things, (10**6 + rng.permutation(len(things))).tolist(), strict=True))
            found = tracker.update(ids, {one: segments[one] for one in things}, dict.fromkeys(things, 0.9))
            chosen = {"frames": shuffled, "tracked": {one: 10**6 + number for one, (number, _) in found.items()}}
            for key, numbers in chosen.items():
                new, info = relabeled(ids, {one: original[category] for one, category in segments.items()}, numbers)
                write_png(tmp_path / key / name / frame.png_file, new)
                listed[key].append({"image_id": frame.image_id, "file_name": frame.png_file, "segments_info": info})
        for key in results:
            results[key].append({"video_id": name, "annotations": listed[key]})
    scores = {}
    for key, videos in results.items():
        (tmp_path / f"{key}.json").write_text(json.dumps({"annotations": videos}))
        scores[key] = score(gt, tmp_path / f"{key}.json", (1, 2, 3, 4))
    assert scores["tracked"].vpq > 0.98
    assert scores["tracked"].stq > 0.93
    assert scores["frames"].windows[0].all.pq == scores["tracked"].windows[0].all.pq == 1
    assert scores["frames"].vpq < scores["tracked"].vpq - 0.1
    assert scores["frames"].stq < scores["tracked"].stq - 0.2
