"""`seamseg rank`: the order of images, the list of the first ones, and resuming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest


def test_rank_orders_images_by_expected_error_and_lists_them(
    command: Any, run_dir: Path, data: Path, tmp_path: Path
) -> None:
    out, images = tmp_path / "ranked", data / "images" / "val"
    result = command("rank", run_dir, images, out, "--top=2", "--device=cpu", "--precision=float32")
    assert result.code == 0
    ranking = json.loads((out / "ranking.json").read_text())
    assert {entry["file_name"] for entry in ranking} == {path.name for path in images.iterdir()}
    errors = [entry["expected_error"] for entry in ranking]
    assert errors == sorted(errors, reverse=True)
    listed_paths = (out / "top.txt").read_text().splitlines()
    assert [Path(path).name for path in listed_paths] == [entry["file_name"] for entry in ranking[:2]]
    assert all(entry["file_name"] in result.out for entry in ranking[:2])
    assert ranking[2]["file_name"] not in result.out
    labels = ("--write=labelstudio", "--device=cpu")
    assert command("predict", run_dir, out / "top.txt", tmp_path / "labels", *labels).code == 0
    assert len(json.loads((tmp_path / "labels" / "labelstudio.json").read_text())) == 2
    again = command("rank", run_dir, images, out, "--resume", "--device=cpu", "--precision=float32")
    assert "(3 of them in an earlier run)" in again.out
    assert json.loads((out / "ranking.json").read_text()) == ranking
    assert len((out / "top.txt").read_text().splitlines()) == 3


def test_rank_of_confidence_maps_is_their_mean(command: Any, run_dir: Path, data: Path, tmp_path: Path) -> None:
    images, maps = data / "images" / "val", tmp_path / "maps"
    assert command("predict", run_dir, images, maps, "--write=confidence", "--device=cpu").code == 0
    assert command("rank", run_dir, images, tmp_path / "ranked", "--device=cpu").code == 0
    for entry in json.loads((tmp_path / "ranked" / "ranking.json").read_text()):
        levels = cv2.imread(str(maps / "confidence" / f"{Path(entry['file_name']).stem}.png"), cv2.IMREAD_UNCHANGED)
        assert entry["pixels"] == pytest.approx(1 - levels.mean() / 65535, abs=1e-4)


def test_rank_of_a_video_is_refused(refuses: Any, run_dir: Path, tmp_path: Path) -> None:
    assert "frames" in refuses("rank", run_dir, tmp_path / "a.mp4", tmp_path / "out")
