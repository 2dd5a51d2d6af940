"""The commands and examples of docs/prediction.md run in order, and its tables match the code."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from support.tiny_experiment import narrow_body, tiny_experiment
from torch.distributed.run import get_args_parser

import seamseg.cli
from seamseg.builders import build_initialized_network
from seamseg.cli.predict import MISSING_KINDS
from seamseg.config import save_experiment
from seamseg.export.model_file import MODEL_FILE, ModelFile, save_model
from seamseg.predict.outputs import OUTPUT_KINDS
from seamseg.predict.result import Result, ResultSegment
from seamseg.structures import Categories, Category

PAGE = Path(__file__).resolve().parents[2] / "docs" / "prediction.md"
TEXT = PAGE.read_text()
BLOCKS = [(match[1], match[2]) for match in re.finditer(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)]
CATEGORIES = Categories((Category("sky", False, (1, 2, 3), 1), Category("car", True, (4, 5, 6), 2)))


def prepare(folder: Path) -> None:
    """Write the files that the page assumes."""
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(3)]
    (folder / "IMAGES" / "b").mkdir(parents=True)
    cv2.imwrite(str(folder / "IMAGES" / "a.png"), images[0])
    cv2.imwrite(str(folder / "IMAGES" / "b" / "c.jpg"), images[1])
    video = cv2.VideoWriter(str(folder / "street.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for image in images:
        video.write(image)
    video.release()
    experiment = tiny_experiment(None, "fusion.score_threshold=0.1")
    network = build_initialized_network(experiment, CATEGORIES)
    (folder / "MODEL").mkdir()
    model = ModelFile(save_experiment(experiment), CATEGORIES.to_list(), network.state_dict())
    save_model(folder / "MODEL" / MODEL_FILE, model)


@pytest.fixture(scope="module")
def ran(page_folder: Path) -> tuple[Path, dict[str, Any]]:
    """Folder in which the commands and examples were run, and variables that the examples define."""
    names: dict[str, Any] = {}
    with narrow_body(), torch.random.fork_rng():
        prepare(page_folder)
        for kind, code in BLOCKS:
            if kind == "python":
                exec(compile(code, PAGE, "exec"), names)
            else:
                run_commands(code)
    return page_folder, names


def run_commands(code: str) -> None:
    for line in code.splitlines():
        program, *arguments = shlex.split(line)
        if program == "torchrun":
            launched = get_args_parser().parse_args(arguments)
            assert (launched.module, launched.training_script) == (True, "seamseg")
            seamseg.cli.parse(launched.training_script_args)
        else:
            assert program == "seamseg"
            assert seamseg.cli.main([*arguments, "--device", "cpu"]) == 0, line


def test_commands_and_examples_of_the_page_run(ran: tuple[Path, dict[str, Any]]) -> None:
    folder, names = ran
    for out in ("OUT", "OUT_ALL", "OUT_SURE", "OUT_AUGMENTED", "OUT_TILES"):
        index = json.loads((folder / out / "panoptic.json").read_text())
        assert [image["file_name"] for image in index["images"]] == ["a.png", "b/c.jpg"]
        assert index["info"]["image_folder"] == str(folder / "IMAGES")
    assert {path.name for path in (folder / "OUT_VIDEO").glob("[!.]*")} == {"overlay.mp4", "panoptic", "panoptic.json"}
    tracked = {"overlay.mp4", "panoptic", "panoptic.json", "step", "categories.json"}
    assert {path.name for path in (folder / "OUT_TRACKED").glob("[!.]*")} == tracked
    videos = json.loads((folder / "OUT_CLIPS" / "panoptic.json").read_text())["videos"]
    assert [video["video_id"] for video in videos] == ["IMAGES", "b"]
    assert cv2.imread(str(folder / "overlay.png")).shape == (48, 64, 3)
    assert isinstance(names["result"], Result)
    assert names["second"].image.shape == (60, 80, 3)
    assert names["mask"].sum() == names["result"].segments[0].area
    assert json.loads(names["text"])


def test_table_of_outputs_names_the_written_files(ran: tuple[Path, dict[str, Any]]) -> None:
    table = dict(re.findall(r"^\| `(\w+)` \| (`[^|]*) \|", TEXT, re.MULTILINE))
    assert set(table) == set(OUTPUT_KINDS)
    for clip_file in re.findall(r"`([^`]+)`", table.pop("step")):
        name = clip_file.replace("CLIP", "street").replace("NAME", "000000")
        assert (ran[0] / "OUT_TRACKED" / name).is_file()
    for files in table.values():
        for file in re.findall(r"`([^`]+)`", files):
            for name in ("a", "b/c"):
                assert (ran[0] / "OUT_ALL" / file.replace("NAME", name)).is_file()


def test_page_lists_every_member_of_a_result() -> None:
    listed = set(re.findall(r"^\| `\.(\w+)(?:\(\))?` \|", TEXT, re.MULTILINE))
    public = {name for name in dir(Result) if not name.startswith("_")} | {"image"}
    assert listed == public
    row = next(line for line in TEXT.splitlines() if line.startswith("| `.segments`"))
    assert set(re.findall(r"`\.(\w+)`", row)) - {"segments"} == set(ResultSegment.__dataclass_fields__)


@pytest.mark.parametrize("task", ["instance", "detection", "semantic"])
def test_table_of_tasks_lists_the_possible_outputs(task: str) -> None:
    row = next(line for line in TEXT.splitlines() if line.startswith(f"| {task} |"))
    assert set(re.findall(r"`(\w+)`", row.split("|")[2])) == set(OUTPUT_KINDS) - set(MISSING_KINDS[task])


def test_page_lists_every_raw_array(ran: tuple[Path, dict[str, Any]]) -> None:
    row = next(line for line in TEXT.splitlines() if line.startswith("| `raw`"))
    named = set(re.findall(r"`(\w+)`", row)) - {"raw"}
    assert set(np.load(ran[0] / "OUT_ALL" / "raw" / "a.npz").files) == named
