"""`seamseg submit`: archives that the evaluation programs of the benchmarks can read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.predicted_folder import edit_predictions, unpacked, write_predictions

from seamseg.data.labels.cityscapes import CITYSCAPES
from seamseg.data.png import read_panoptic_png
from seamseg.structures import Categories

FRAMES = ["lindau_000000_000019", "munster_000001_000019"]
FULL = (1024, 2048)


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cityscapes")
    return write_predictions(folder, CITYSCAPES, [f"val/{one}_leftImg8bit.png" for one in FRAMES], FULL)


def write_truth(folder: Path, predicted: Path) -> Path:
    """Write Cityscapes annotation that is equal to the predictions."""
    content = json.loads((predicted / "panoptic.json").read_text())
    for name, entry in zip(FRAMES, content["annotations"], strict=True):
        ids = read_panoptic_png(predicted / "panoptic" / entry["file_name"])
        values = np.zeros(FULL, np.uint16)
        for number, segment in enumerate(entry["segments_info"]):
            label = segment["category_id"]
            values[ids == segment["id"]] = label if label < 24 else 1000 * label + number
        city = folder / "gtFine" / "val" / name.split("_")[0]
        city.mkdir(parents=True)
        cv2.imwrite(str(city / f"{name}_gtFine_instanceIds.png"), values)
        cv2.imwrite(
            str(city / f"{name}_gtFine_labelIds.png"), np.where(values < 1000, values, values // 1000).astype(np.uint8)
        )
        entry["image_id"] = name
    (folder / "gtFine" / "cityscapes_panoptic_val.json").write_text(json.dumps(content))
    (folder / "gtFine" / "cityscapes_panoptic_val").symlink_to(predicted / "panoptic")
    return folder


# The programs predate NumPy 2.4, which has no in1d and whose scalars their JSON writer rejects. One program caches
# results in its own folder, so its cache is redirected.
_PROGRAM = """
import importlib, json, numpy, pathlib, sys
numpy.in1d = numpy.isin
program = importlib.import_module("cityscapesscripts.evaluation." + sys.argv[1])
program.writeDict2JSON = lambda content, path: pathlib.Path(path).write_text(json.dumps(content, default=float))
if hasattr(program, "args"):
    program.args.gtInstancesFile, program.args.exportFile = sys.argv[2] + "/cache.json", sys.argv[3]
sys.argv = sys.argv[:1] + sys.argv[4:]
program.main()
"""


def evaluated(tmp_path: Path, archive: Path, program: str, predicted: Path, *arguments: object) -> dict[str, Any]:
    """Evaluate an archive with the program of Cityscapes, against annotation equal to the predictions."""
    pytest.importorskip("cityscapesscripts", reason="cityscapesScripts is not installed")
    truth = write_truth(tmp_path / "dataset", predicted)
    results = unpacked(archive, tmp_path / "results")
    environment = os.environ | {"CITYSCAPES_DATASET": str(truth), "CITYSCAPES_RESULTS": str(results)}
    out = tmp_path / "scores.json"
    command = [sys.executable, "-c", _PROGRAM, program, tmp_path, out, *arguments]
    words = [str(part) for part in command]  # the program writes a file to its working folder
    ended = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    scores: dict[str, Any] = json.loads(out.read_text())
    return scores


def test_submit_cityscapes_panoptic_gets_full_marks(command: Any, cityscapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "sent" / "cityscapes_panoptic_val.zip"
    result = command("submit", "cityscapes-panoptic", cityscapes, out)
    assert result.code == 0, result.err
    assert result.out.startswith("2 images with ")
    names = zipfile.ZipFile(out).namelist()
    assert names == [f"cityscapes_panoptic_val/{one}.png" for one in FRAMES] + ["cityscapes_panoptic_val.json"]
    arguments = ("--results_file", tmp_path / "scores.json")
    scores = evaluated(tmp_path, out, "evalPanopticSemanticLabeling", cityscapes, *arguments)
    assert scores["All"]["pq"] == scores["Things"]["sq"] == scores["Stuff"]["rq"] == 1


def test_submit_cityscapes_instances_gets_full_marks(command: Any, cityscapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "instances.zip"
    result = command("submit", "cityscapes-instances", cityscapes, out)
    assert result.code == 0, result.err
    scores = evaluated(tmp_path, out, "evalInstanceLevelSemanticLabeling", cityscapes)
    classes = {name: one["ap"] for name, one in scores["averages"]["classes"].items() if not np.isnan(one["ap"])}
    annotations = json.loads((cityscapes / "panoptic.json").read_text())["annotations"]
    used = {segment["category_id"] for entry in annotations for segment in entry["segments_info"]}
    assert set(classes) == {one.name for one in CITYSCAPES.classes if one.is_thing and one.original_id in used}
    assert len(classes) > 3
    assert list(classes.values()) == pytest.approx([1] * len(classes))


def test_submit_cityscapes_semantic_gets_full_marks(command: Any, cityscapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "semantic.zip"
    assert command("submit", "cityscapes-semantic", cityscapes, out).code == 0
    scores = evaluated(tmp_path, out, "evalPixelLevelSemanticLabeling", cityscapes)
    assert scores["averageScoreClasses"] == 1


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    entries = [
        {"id": 1, "name": "sky-other-merged", "isthing": 0},
        {"id": 2, "name": "road", "isthing": 0},
        {"id": 3, "name": "toothbrush", "isthing": 1},
        {"id": 4, "name": "car", "isthing": 1},
    ]
    names = ["000000000139.jpg", "000000000009.jpg", "000000000285.jpg"]
    return write_predictions(tmp_path_factory.mktemp("coco"), Categories.from_list(entries), names, (40, 60))


def test_submit_coco_contains_the_listed_images_with_the_benchmark_ids(
    command: Any, coco: Path, tmp_path: Path
) -> None:
    info = tmp_path / "image_info.json"
    info.write_text(
        json.dumps({"images": [{"id": i, "file_name": f"{i:012}.jpg", "height": 40, "width": 60} for i in (139, 9)]})
    )
    out = tmp_path / "panoptic_test-dev2017_ours_results.zip"
    result = command("submit", "coco", coco / "panoptic.json", out, "--images", info)
    assert (result.code, "ignored 1 predictions of other images" in result.err) == (0, True)
    unpacked(out, tmp_path)
    content = json.loads((tmp_path / "panoptic_test-dev2017_ours_results.json").read_text())
    assert [one["image_id"] for one in content["annotations"]] == [9, 139]
    used = {segment["category_id"] for one in content["annotations"] for segment in one["segments_info"]}
    assert used == {187, 149, 90, 3}
    for one in content["annotations"]:
        ids = read_panoptic_png(tmp_path / "panoptic_test-dev2017_ours_results" / one["file_name"])
        assert {segment["id"] for segment in one["segments_info"]} == set(np.unique(ids[ids > 0]).tolist())


def test_submit_vistas_uses_the_ids_of_the_chosen_version(command: Any, tmp_path: Path) -> None:
    entries = [{"id": 0, "name": "nature--sky", "isthing": 0}, {"id": 8, "name": "nature--water", "isthing": 0}]
    entries.append({"id": 1, "name": "animal--bird", "isthing": 1})
    names = ["-6PxkfiYSYjPLkJxlSLbCw.jpg", "z.jpg"]
    predicted = write_predictions(tmp_path / "predicted", Categories.from_list(entries), names, (30, 40))
    assert command("submit", "vistas", predicted, tmp_path / "a.zip").code == 0
    assert categories_in(tmp_path / "a.zip", "a.json") == {28, 32, 1}
    other = tmp_path / "panoptic_2020.json"
    numbers = [
        {"id": 50 + i, "name": "?", "supercategory": one["name"], "isthing": one["isthing"]}
        for i, one in enumerate(entries)
    ]
    other.write_text(json.dumps({"categories": numbers}))
    assert command("submit", "vistas", predicted, tmp_path / "b.zip", "--categories", other).code == 0
    assert categories_in(tmp_path / "b.zip", "b.json") == {50, 51, 52}


def categories_in(archive: Path, name: str) -> set[int]:
    with zipfile.ZipFile(archive) as file:
        annotations = json.loads(file.read(name))["annotations"]
    assert [one["image_id"] for one in annotations] == ["-6PxkfiYSYjPLkJxlSLbCw", "z"]
    return {segment["category_id"] for one in annotations for segment in one["segments_info"]}


def test_submit_invalid_arguments_are_refused(
    refuses: Callable[..., str], coco: Path, cityscapes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "out.zip"
    assert "must end with .zip" in refuses("submit", "vistas", coco, tmp_path / "out")
    assert "panoptic_SET_NAME_results.zip" in refuses("submit", "coco", coco, out)
    assert "has no category 'sky-other-merged'" in refuses("submit", "cityscapes-panoptic", coco, out)
    assert "does not exist" in refuses("submit", "vistas", tmp_path / "none", out)
    (tmp_path / "list.txt").write_text("bonn_000000_000000_leftImg8bit.png\n")
    sentence = refuses("submit", "cityscapes-semantic", cityscapes, out, "--images", tmp_path / "list.txt")
    assert "no prediction for 1 of the 1 expected images, such as bonn_000000_000000" in sentence
    assert not out.parent.exists()


def test_submit_existing_archive_is_replaced_only_with_the_option(
    refuses: Callable[..., str], command: Any, coco: Path, tmp_path: Path
) -> None:
    out = tmp_path / "panoptic_val2017_a_results.zip"
    out.write_bytes(b"mine")
    assert "already exists; pass --overwrite" in refuses("submit", "coco", coco, out)
    assert out.read_bytes() == b"mine"
    assert command("submit", "coco", coco, out, "--overwrite").code == 0
    assert zipfile.is_zipfile(out)


def test_submit_broken_prediction_leaves_no_archive(refuses: Callable[..., str], tmp_path: Path) -> None:
    entries = [{"id": 0, "name": "nature--sky", "isthing": 0}, {"id": 8, "name": "nature--water", "isthing": 0}]
    entries.append({"id": 1, "name": "animal--bird", "isthing": 1})
    predicted = write_predictions(tmp_path / "predicted", Categories.from_list(entries), ["a.jpg"], (30, 40))
    with edit_predictions(predicted) as content:
        content["annotations"][0]["segments_info"].pop()
    assert "which its JSON file does not list" in refuses("submit", "vistas", predicted, tmp_path / "out" / "a.zip")
    assert list((tmp_path / "out").iterdir()) == []
