"""`seamseg convert` of exports of labeling tools, and predictions for them, on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.tool_exports import TOOLS, write_classes, write_export, write_json


def arguments(tool: str, folder: Path) -> list[object]:
    source = write_export(tool, folder / "in")
    images = ["--image-folder", folder / "in"] if tool == "cvat" else []
    classes = write_classes(folder, "stuff: [road]\nthings: [car, person]")
    return ["convert", tool, source, folder / "out", "--classes", classes, *images]


@pytest.mark.parametrize("tool", TOOLS)
def test_converted_export_passes_the_check(command: Any, tmp_path: Path, tool: str) -> None:
    code, out, err = command(*arguments(tool, tmp_path), "--val-every", 2)
    assert code == 0
    assert len(out.splitlines()) == 2
    assert out.count("1 image, 1 polygon with edges that cross") == 2
    assert err.count("left out of") == 1
    assert "person" in err
    assert command("check", tmp_path / "out").code == 0
    listed = json.loads((tmp_path / "out/annotations/panoptic_val.json").read_text())
    assert listed["images"][0]["file_name"] == "ü b.png"
    assert [one["category_id"] for one in listed["annotations"][0]["segments_info"]] == [1, 2]


@pytest.mark.parametrize("tool", TOOLS)
def test_export_without_class_file_prints_the_labels_and_writes_nothing(
    refuses: Callable[..., str], tmp_path: Path, tool: str
) -> None:
    given = arguments(tool, tmp_path)
    position = given.index("--classes")
    message = refuses(*given[:position], *given[position + 2 :])
    assert "'road', 'car'" in message
    assert "--classes" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tool", ["label-studio", "labelme"])
def test_boxes_instead_of_outlines_are_offered_only_where_the_export_has_them(
    command: Any, tmp_path: Path, tool: str
) -> None:
    given = arguments(tool, tmp_path)
    assert "'box'" in command(*given, "--without-outline", "box").err
    for path in (tmp_path / "in").glob("*.json"):
        content = json.loads(path.read_text())
        shape = content["shapes"][0] if tool == "labelme" else content[0]["annotations"][0]["result"][0]["value"]
        shape["points"] = shape["points"][:2]
        write_json(path, content)
    code, _, err = command(*given)
    assert code == 2
    assert "--without-outline skip" in err
    assert "--without-outline box" not in err


def test_label_studio_annotator_is_chosen_by_an_option(
    command: Any, refuses: Callable[..., str], tmp_path: Path
) -> None:
    given = arguments("label-studio", tmp_path)
    path = tmp_path / "in/export.json"
    tasks = json.loads(path.read_text())
    tasks[0]["annotations"].append(tasks[0]["annotations"][0] | {"completed_by": 2})
    write_json(path, tasks)
    assert "task 1 by '1' and '2'" in refuses(*given)
    assert command(*given, "--annotator", 2).code == 0


def test_predict_for_labeling_tools_converts_to_the_same_segments(
    command: Any, run_dir: Path, data: Path, tmp_path: Path
) -> None:
    images, out = data / "images/val", tmp_path / "predicted"
    assert command("predict", run_dir, images, out, "--write", "panoptic,labelstudio,cvat").code == 0
    predicted = json.loads((out / "panoptic.json").read_text())
    (tmp_path / "cvat/annotations").mkdir(parents=True)
    (out / "cvat.json").rename(tmp_path / "cvat/annotations/instances_default.json")
    kinds = {True: "things", False: "stuff"}
    named = {
        kind: [one["name"] for one in predicted["categories"] if one["isthing"] == flag] for flag, kind in kinds.items()
    }
    classes = write_classes(tmp_path, json.dumps(named))
    converted = command(
        "convert", "cvat", tmp_path / "cvat", tmp_path / "back", "--classes", classes, "--image-folder", images
    )
    assert converted.code == 0
    assert len(json.loads((out / "labelstudio.json").read_text())) == len(predicted["images"])
    assert command("predict", run_dir, images, out, "--write", "panoptic,labelstudio,cvat", "--resume").code == 0
    score = command("score", "--gt", tmp_path / "back/annotations/panoptic_train.json", "--pred", out / "panoptic.json")
    assert score.code == 0
    assert "PQ 100.0" in " ".join(score.out.split())


def test_predict_for_labeling_tools_refuses_videos(refuses: Callable[..., str], run_dir: Path, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    message = refuses("predict", run_dir, tmp_path / "a.avi", tmp_path / "out", "--write", "overlay,labelstudio,cvat")
    assert "--write labelstudio,cvat" in message
    assert not (tmp_path / "out").exists()
