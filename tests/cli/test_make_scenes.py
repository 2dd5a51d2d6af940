"""`seamseg make-scenes`: a data set for training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seamseg.data.formats.coco import CocoPanoptic

SMALL = ("--train", 2, "--val", 1, "--size", "48x96", "--seed", 3)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_make_scenes_writes_a_readable_data_set(command: Any, tmp_path: Path) -> None:
    code, out, err = command("make-scenes", tmp_path / "scenes", *SMALL)
    assert (code, out) == (0, f"2 + 1 scenes: {tmp_path / 'scenes'}\n")
    assert "3/3" in err
    for split, number in (("train", 2), ("val", 1)):
        data = CocoPanoptic(tmp_path / "scenes", split)
        assert data.sizes == [(48, 96)] * number
        assert data.read_image(0).shape == (48, 96, 3)


def test_make_scenes_same_arguments_give_the_same_bytes(command: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        command("make-scenes", tmp_path / name, *SMALL)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    command("make-scenes", tmp_path / "c", *SMALL[:-1], 4)
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


def test_make_scenes_data_can_be_trained_on_and_evaluated(command: Any, config: Path, tmp_path: Path) -> None:
    command("make-scenes", tmp_path / "scenes", *SMALL)
    arguments = ["train", config, f"data.root={tmp_path / 'scenes'}", "--run-dir", tmp_path / "run"]
    assert command(*arguments).code == 0
    assert command("evaluate", tmp_path / "run", "--data", tmp_path / "scenes", "--split", "val").code == 0


@pytest.mark.parametrize(
    ("option", "value", "culprit"),
    [("--train", 0, "split train"), ("--val", -1, "split val"), ("--size", "8x8", "8x8"), ("--seed", -1, "seed -1")],
)
def test_make_scenes_numbers_out_of_range_are_refused(
    refuses: Callable[..., str], tmp_path: Path, option: str, value: object, culprit: str
) -> None:
    assert culprit in refuses("make-scenes", tmp_path / "scenes", *SMALL, option, value)
    assert not (tmp_path / "scenes").exists()


def test_make_scenes_folder_with_annotations_is_refused(refuses: Callable[..., str], data: Path) -> None:
    assert refuses("make-scenes", data, *SMALL).startswith(f"{data} already contains annotations")


@pytest.mark.parametrize("size", ["48", "48x", "axb", "48x96x3", "4.8x9"])
def test_make_scenes_malformed_size_is_refused(command: Any, tmp_path: Path, size: str) -> None:
    code, _, err = command("make-scenes", tmp_path / "scenes", "--size", size)
    assert code == 2
    assert f"'{size}' is not of the form HxW, such as 256x512" in err


def test_make_scenes_video_writes_drives_to_train_and_score(command: Any, tmp_path: Path) -> None:
    options = ("--video", "--train", 1, "--val", 1, "--frames", 2, "--size", "48x96", "--seed", 3)
    code, out, _ = command("make-scenes", tmp_path / "drives", *options)
    assert (code, out) == (0, f"1 + 1 drives of 2 frames: {tmp_path / 'drives'}\n")
    assert CocoPanoptic(tmp_path / "drives", "train").sizes == [(48, 96)] * 2
    truth = tmp_path / "drives" / "annotations" / "video_val.json"
    code, out, _ = command("score", "--video", "--gt", truth, "--pred", truth, "--windows", "1,2")
    assert code == 0
    assert "VPQ 100.0" in out


def test_make_scenes_frames_without_video_are_refused(refuses: Callable[..., str], tmp_path: Path) -> None:
    assert "--video" in refuses("make-scenes", tmp_path / "drives", "--frames", 3)
