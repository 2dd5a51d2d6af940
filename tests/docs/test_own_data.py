"""The commands and examples of docs/own-data.md run in order."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.tiny_experiment import narrow_body
from support.tool_exports import TOOLS

from seamseg.cli import main
from seamseg.convert.drawn_job import read_label_classes
from seamseg.data.formats.coco import CocoPanoptic

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "own-data.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def ran(page_folder: Path) -> Path:
    """Folder in which the commands and examples were run."""
    (drawing,) = blocks("python")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", drawing], cwd=page_folder, env=environment, check=True)
    classes, settings, labels, merged = blocks("yaml")
    (page_folder / "street/classes.yaml").write_text(classes)
    (page_folder / "custom.yaml").write_text(settings)
    (page_folder / "labels.yaml").write_text(labels)
    (page_folder / "merged.yaml").write_text(merged)
    with narrow_body(16):
        for line in "".join(blocks("bash")).splitlines():
            program, *arguments = line.split()
            assert program == "seamseg"
            assert main(arguments) == 0, line
    return page_folder


def test_labels_of_the_page_become_a_data_set(ran: Path) -> None:
    splits = {name: CocoPanoptic(ran / "street-panoptic", name) for name in ("train", "val")}
    assert {name: len(split) for name, split in splits.items()} == {"train": 16, "val": 4}
    assert splits["train"].categories.names == ("sky", "road", "car", "person")
    assert splits["train"].categories.classes[3].color == (220, 20, 60)
    for split in splits.values():
        for index in range(len(split)):
            annotation, name = split.read_annotation(index), split.image_path(index).stem
            classes = cv2.imread(str(ran / f"street/classes/{name}.png"), cv2.IMREAD_UNCHANGED)
            instances = cv2.imread(str(ran / f"street/instances/{name}.png"), cv2.IMREAD_UNCHANGED)
            assert (annotation.semantics.numpy() == classes.astype(int) - 1).all()
            pairs = set(zip(annotation.ids.ravel().tolist(), (classes * 10 + instances).ravel().tolist(), strict=True))
            assert len(pairs) == len(np.unique(annotation.ids))


def test_check_reports_no_errors_and_draws_a_contact_sheet(ran: Path) -> None:
    report = json.loads((ran / "report.json").read_text())
    assert (report["errors"], report["warnings"]) == (0, 0)
    assert cv2.imread(str(ran / "sheet.png")).shape[1] == 2000


def test_model_is_trained_scored_and_used_for_prediction(ran: Path) -> None:
    assert (ran / "runs/street/model.safetensors").is_file()
    assert 0 <= json.loads((ran / "scores.json").read_text())["all"]["pq"] <= 1
    assert len(list((ran / "predicted/overlay").glob("*.jpg"))) == 20


def test_data_set_is_converted_back_for_other_tools(ran: Path) -> None:
    for split, number in (("train", 16), ("val", 4)):
        objects = json.loads((ran / f"street-detection/annotations/instances_{split}.json").read_text())
        assert len(objects["images"]) == number
        assert len(list((ran / f"street-semantic/annotations/semantic_{split}").glob("*.png"))) == number


def test_options_of_the_page_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """Commands that require external data are not run; only their options are checked."""
    options = set(re.findall(r"--[a-z][a-z-]+", PAGE.read_text()))
    text = ""
    for subcommand in (
        ["train"],
        ["evaluate"],
        ["predict"],
        ["check"],
        ["rank"],
        ["make-scenes"],
        *(["convert", kind] for kind in ("masks", "detection", "remap", *TOOLS)),
    ):
        with pytest.raises(SystemExit):
            main([*subcommand, "--help"])
        text += capsys.readouterr().out
    assert {option for option in options if option not in text} == set()


def test_merged_classes_of_the_page_are_written(ran: Path) -> None:
    merged = CocoPanoptic(ran / "street-merged", "train")
    assert merged.categories.names == ("background", "vehicle")
    assert len(merged) == 16


def test_labels_of_labeling_tools_become_the_classes_of_the_page(ran: Path) -> None:
    labels = ["road", "sky", "car", "truck", "Pedestrian", "ignore"]
    classes = read_label_classes(ran / "labels.yaml", labels, Path("export"))
    assert classes.categories.names == ("road", "sky", "vehicle", "person")
    assert [classes.class_of_label[label] for label in labels] == [0, 1, 2, 2, 3, 255]
