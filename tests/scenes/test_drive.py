"""Drives: the same things in all frames, their movement, and the data set on disk."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seamseg.data.formats.coco import CocoPanoptic
from seamseg.data.formats.vipseg import open_videos
from seamseg.data.png import read_panoptic_png
from seamseg.errors import SettingsError
from seamseg.scenes import Scene, render_drive, write_drives

SIZE, NUM_FRAMES = (48, 96), 6


@pytest.fixture(scope="module")
def drives() -> list[list[Scene]]:
    return [list(render_drive((5, number), SIZE, NUM_FRAMES)) for number in range(3)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drives") / "set"
    write_drives(folder, 1, 2, 3, SIZE, seed=3)
    return folder


def test_render_drive_repeats_and_depends_on_the_seed(drives: list[list[Scene]]) -> None:
    again = next(render_drive((5, 0), SIZE, NUM_FRAMES))
    assert np.array_equal(again.picture, drives[0][0].picture)
    assert again.segments == drives[0][0].segments
    assert not np.array_equal(drives[0][0].picture, drives[1][0].picture)


def test_owners_of_a_drive_keep_their_class_and_crowd_flag(drives: list[list[Scene]]) -> None:
    for drive in drives:
        kinds: dict[int, tuple[str, bool]] = {}
        for segment in (segment for scene in drive for segment in scene.segments):
            assert kinds.setdefault(segment.owner, (segment.name, segment.crowd)) == (segment.name, segment.crowd)


def test_things_of_a_drive_are_near_their_place_in_the_frame_before(drives: list[list[Scene]]) -> None:
    shared = moved = 0
    for drive in drives:
        for before, after in pairwise(drive):
            centers = []
            for scene in (before, after):
                places = {
                    one.owner: np.argwhere(scene.ids == one.id).mean(0) for one in scene.segments if one.area < 400
                }
                centers.append(places)
            for owner in centers[0].keys() & centers[1].keys():
                distance = float(np.linalg.norm(centers[0][owner] - centers[1][owner]))
                assert distance < 25
                shared, moved = shared + 1, moved + (distance > 0.2)
    assert shared > 20
    assert moved > shared / 2


def test_pictures_of_a_drive_change_slowly(drives: list[list[Scene]]) -> None:
    for drive in drives:
        pictures = [scene.picture.astype(float) for scene in drive]
        steps = [np.abs(one - other).mean() for one, other in pairwise(pictures)]
        other = drives[0] if drive is not drives[0] else drives[1]
        assert 0 < max(steps) < np.abs(pictures[0] - other[0].picture).mean()


def test_write_drives_stores_the_same_segments_in_both_layouts(written: Path) -> None:
    data = CocoPanoptic(written, "val")
    assert data.sizes == [SIZE] * 6
    categories, clips = open_videos(written / "annotations" / "video_val.json", None)
    assert categories == data.categories
    assert {name: len(frames) for name, frames in clips.items()} == {"0001": 3, "0002": 3}
    content = json.loads((written / "annotations" / "panoptic_val.json").read_text())
    flat = [one["segments_info"] for one in content["annotations"]]
    videos = json.loads((written / "annotations" / "video_val.json").read_text())["annotations"]
    assert [one["segments_info"] for video in videos for one in video["annotations"]] == flat
    for frames in clips.values():
        for frame in frames:
            assert set(np.unique(read_panoptic_png(frame.png)).tolist()) <= set(frame.ids.tolist())


def test_write_drives_ids_keep_their_class(written: Path) -> None:
    for video in json.loads((written / "annotations" / "video_val.json").read_text())["annotations"]:
        kinds: dict[int, Any] = {}
        frames = [{one["id"]: one for one in frame["segments_info"]} for frame in video["annotations"]]
        for key, one in (pair for frame in frames for pair in frame.items()):
            assert kinds.setdefault(key, one["category_id"]) == one["category_id"]
        assert frames[0].keys() & frames[1].keys()


def test_write_drives_same_arguments_give_the_same_bytes(written: Path, tmp_path: Path) -> None:
    write_drives(tmp_path / "again", 1, 2, 3, SIZE, seed=3)
    for path in (path for path in written.rglob("*") if path.is_file()):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(written)).read_bytes(), path


def test_write_drives_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="0 frames"):
        write_drives(tmp_path / "set", 1, 1, 0, SIZE, seed=0)
    assert not (tmp_path / "set").exists()
