"""The commands of docs/scoring.md run on small files, and the page explains every number of a scores file."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.panoptic_pairs import CATEGORIES, Side, listed, write_png, write_side
from support.predicted_folder import write_predictions

from seamseg.cli import main
from seamseg.cli.submit import TRACKS
from seamseg.structures import Categories

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scoring.md"
IDS = np.array([[1, 1, 1, 1, 2, 2, 2, 2, 0, 0]] * 6)
IMAGES = {
    "coco": "000000000139.jpg",
    "vistas": "-6Pxk.jpg",
    "cityscapes": "ulm_000000_000019_leftImg8bit.png",
}
CLASSES = {
    "coco": ("road", "car"),
    "vistas": ("construction--flat--road", "object--vehicle--car"),
    "cityscapes": ("road", "car"),
}


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [line.split() for line in "".join(blocks).splitlines()]


@pytest.fixture
def scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Scores that the first command writes, in the folder in which the other commands run."""
    side = Side(IDS, listed(IDS, {1: 7, 2: 3}, set()))
    shutil.move(write_side(tmp_path, "GT", [side, side]), tmp_path / "GT.json")
    found = Side(IDS, [segment | {"score": 0.9} for segment in side.segments])
    shutil.move(write_side(tmp_path, "PRED", [found, found], bare=True), tmp_path / "PRED.json")
    monkeypatch.chdir(tmp_path)
    program, *arguments = commands()[0]
    assert program == "seamseg"
    assert main(arguments) == 0
    scores: dict[str, Any] = json.loads(Path("scores.json").read_text())
    return scores


def test_scores_of_the_page_are_written_and_compared(scored: dict[str, Any]) -> None:
    assert Path("images.csv").is_file()
    for name in ("A", "B", *(f"{side}{run}" for side in "AB" for run in range(3))):
        shutil.copy("scores.json", f"{name}.json")
    for command in commands()[2:4]:
        assert main(command[1:]) == 0


def test_page_explains_every_number_of_the_calibration(scored: dict[str, Any]) -> None:
    assert main(commands()[1][1:]) == 0
    content = json.loads(Path("calibration/calibration.json").read_text())
    explained = set(re.findall(r"`([a-z_]+)`", PAGE.read_text()))
    assert {*content, *content["things"], *content["things"]["all"]} <= explained


def test_page_explains_every_number_of_the_scores(scored: dict[str, Any]) -> None:
    explained = set(re.findall(r"`([a-z_]+)`", PAGE.read_text()))
    line = next(iter(scored["per_class"].values()))
    assert {*scored, *scored["all"], *line} - {"per_class", "boundary_pq", "iou_semantic"} <= explained


def test_video_commands_run_and_every_number_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frames = [
        {"image_id": str(n), "file_name": f"{n}.png", "segments_info": listed(IDS, {1: 7, 2: 3}, set())}
        for n in range(6)
    ]
    content = {"annotations": [{"video_id": "a", "annotations": frames}], "categories": CATEGORIES}
    for name in ("video_val", "panoptic"):
        Path(f"{name}.json").write_text(json.dumps(content))
    for folder in ("video_val", "panoptic", "panoptic_maps/val", "step"):
        Path(folder, "a").mkdir(parents=True)
        for number in range(6):
            write_png(Path(folder, "a", f"{number}.png"), IDS)
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    for line in "".join(blocks).splitlines():
        assert main(line.split()[1:]) == 0
    scores = json.loads(Path("video_scores.json").read_text())
    assert scores["vpq"] == scores["stq"] == 1
    explained = set(re.findall(r"`([a-z_]+)`", PAGE.read_text()))
    line = next(iter(scores["per_class"].values()))
    assert {*scores, *scores["windows"][0], *line, *scores["clips"][0]} <= explained


def test_submission_commands_write_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = commands()[4:]
    assert {line[2] for line in lines} == {track.name for track in TRACKS}
    for program, *arguments in lines:
        assert program == "seamseg"
        server = arguments[1].split("-")[0]
        entries = [{"id": i, "name": name, "isthing": i} for i, name in enumerate(CLASSES[server])]
        size = (1024, 2048) if server == "cityscapes" else (20, 30)
        shutil.rmtree("PREDICTIONS", ignore_errors=True)
        categories: list[dict[str, Any]] = [
            *entries,
            {"id": 2, "name": "sky" if server != "vistas" else "nature--sky", "isthing": 0},
        ]
        if server == "coco":
            categories[2]["name"] = "sky-other-merged"
        write_predictions(Path("PREDICTIONS"), Categories.from_list(categories), [IMAGES[server]], size)
        found = {"file_name": IMAGES[server], "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
        Path("PREDICTIONS", "instances.json").write_text(json.dumps([found]))
        listed_images = {"file_name": IMAGES[server], "id": 139, "height": size[0], "width": size[1]}
        text = json.dumps({"images": [listed_images]})
        Path("LIST.json").write_text(text)
        Path("image_info_test-dev2017.json").write_text(text)
        assert main([part.replace("LIST", "LIST.json") for part in arguments]) == 0
        assert Path(arguments[3]).is_file()
