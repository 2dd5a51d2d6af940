"""Scenes on disk: layout, consistency of JSON and PNG files, reproducibility, interruption."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from seamseg.scenes import write_scenes

SIZE = (64, 128)
SPLITS = {"train": 3, "val": 2}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "set"
    write_scenes(folder, SPLITS["train"], SPLITS["val"], SIZE, seed=11)
    return folder


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read_json(folder: Path, split: str) -> dict[str, Any]:
    return json.loads((folder / "annotations" / f"panoptic_{split}.json").read_text())


def read_ids(folder: Path, split: str, name: str) -> npt.NDArray[np.int64]:
    image = cv2.imread(str(folder / "annotations" / f"panoptic_{split}" / name), cv2.IMREAD_COLOR).astype(np.int64)
    blue, green, red = image[..., 0], image[..., 1], image[..., 2]
    return red + 256 * green + 65536 * blue


def test_write_scenes_uses_coco_panoptic_layout(written: Path) -> None:
    expected = {"annotations/panoptic_train.json", "annotations/panoptic_val.json"}
    for split, count in SPLITS.items():
        for number in range(1, count + 1):
            expected |= {f"images/{split}/{number:06d}.jpg", f"annotations/panoptic_{split}/{number:06d}.png"}
    assert set(digests(written)) == expected


@pytest.mark.parametrize("split", SPLITS)
def test_json_file_lists_every_image_and_annotation_once(written: Path, split: str) -> None:
    content = read_json(written, split)
    assert len(content["images"]) == len(content["annotations"]) == SPLITS[split]
    assert {entry["id"] for entry in content["images"]} == {entry["image_id"] for entry in content["annotations"]}
    for entry in content["images"]:
        picture = cv2.imread(str(written / "images" / split / entry["file_name"]))
        assert picture.shape == (entry["height"], entry["width"], 3) == (*SIZE, 3)


def test_categories_are_complete_and_equal_in_both_splits(written: Path) -> None:
    categories = read_json(written, "train")["categories"]
    assert categories == read_json(written, "val")["categories"]
    assert all(set(entry) == {"id", "name", "isthing", "color"} for entry in categories)
    things = {entry["name"] for entry in categories if entry["isthing"]}
    stuff = {entry["name"] for entry in categories if not entry["isthing"]}
    assert {"car", "person", "sign", "light"} <= things
    assert {"sky", "building", "road", "pavement", "vegetation"} <= stuff


@pytest.mark.parametrize("split", SPLITS)
def test_json_file_matches_the_png_files(written: Path, split: str) -> None:
    content = read_json(written, split)
    known = {entry["id"] for entry in content["categories"]}
    for annotation in content["annotations"]:
        ids = read_ids(written, split, annotation["file_name"])
        assert set(np.unique(ids)) - {0} == {segment["id"] for segment in annotation["segments_info"]}
        assert len({segment["id"] for segment in annotation["segments_info"]}) == len(annotation["segments_info"])
        for segment in annotation["segments_info"]:
            rows, columns = np.nonzero(ids == segment["id"])
            left, top = columns.min(), rows.min()
            assert segment["area"] == len(rows)
            assert segment["bbox"] == [left, top, columns.max() - left + 1, rows.max() - top + 1]
            assert segment["category_id"] in known
            assert segment["iscrowd"] in (0, 1)


@pytest.mark.parametrize("split", SPLITS)
def test_stuff_class_is_one_segment_per_scene(written: Path, split: str) -> None:
    content = read_json(written, split)
    stuff = {entry["id"] for entry in content["categories"] if not entry["isthing"]}
    for annotation in content["annotations"]:
        classes = [s["category_id"] for s in annotation["segments_info"] if s["category_id"] in stuff]
        assert len(classes) == len(set(classes))


def test_write_scenes_when_repeated_gives_equal_bytes(written: Path, tmp_path: Path) -> None:
    write_scenes(tmp_path / "again", SPLITS["train"], SPLITS["val"], SIZE, seed=11)
    assert digests(tmp_path / "again") == digests(written)


def test_scene_bytes_do_not_depend_on_the_number_of_scenes(written: Path, tmp_path: Path) -> None:
    write_scenes(tmp_path / "fewer", 1, 1, SIZE, seed=11)
    fewer, more = digests(tmp_path / "fewer"), digests(written)
    assert all(more[name] == digest for name, digest in fewer.items() if not name.endswith(".json"))


def test_pictures_differ_across_scenes_splits_and_seeds(written: Path, tmp_path: Path) -> None:
    write_scenes(tmp_path / "other", 1, 1, SIZE, seed=12)
    everything = {
        **{f"other/{name}": digest for name, digest in digests(tmp_path / "other").items()},
        **digests(written),
    }
    pictures = [digest for name, digest in everything.items() if name.endswith(".jpg")]
    assert len(pictures) == len(set(pictures)) == 7


def test_progress_is_called_for_every_scene(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_scenes(tmp_path, 2, 1, (32, 48), 0, lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_write_scenes_when_interrupted_leaves_no_json_and_can_be_repeated(written: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path, SPLITS["train"], SPLITS["val"], SIZE, 11, stop)
    assert (tmp_path / "images" / "val" / "000001.jpg").exists()
    assert not list(tmp_path.rglob("*.json"))
    write_scenes(tmp_path, SPLITS["train"], SPLITS["val"], SIZE, 11)
    assert digests(tmp_path) == digests(written)


def test_write_scenes_given_folder_with_annotations_raises_and_keeps_it(written: Path) -> None:
    before = digests(written)
    with pytest.raises(ValueError, match=r"set already .*\(panoptic_train\.json, panoptic_val\.json\)"):
        write_scenes(written, 1, 1, SIZE, seed=0)
    assert digests(written) == before


@pytest.mark.parametrize(
    ("num_train", "num_val", "size", "seed", "fact"),
    [
        (0, 1, SIZE, 0, "split train .* 0 scenes"),
        (1, -1, SIZE, 0, "split val .* -1 scenes"),
        (1, 1, (64, 31), 0, "64x31 pixels .* 32 pixels"),
        (1, 1, SIZE, -1, "seed -1 "),
    ],
)
def test_write_scenes_given_invalid_arguments_raises(
    tmp_path: Path, num_train: int, num_val: int, size: tuple[int, int], seed: int, fact: str
) -> None:
    with pytest.raises(ValueError, match=fact):
        write_scenes(tmp_path / "none", num_train, num_val, size, seed)
    assert not (tmp_path / "none").exists()
