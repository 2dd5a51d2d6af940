"""`--calibration` of `seamseg score` and `evaluate`, and confidence maps: their files agree with each other."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from oracles.calibration import calibration_error
from support.panoptic_pairs import Side, listed, write_side

from seamseg.builders import PredictionOptions, build_predictor, open_model

FILES = {"calibration.json", "calibration.csv", "calibration.png"}


def scored_side(ids: Any, categories: dict[int, int], scores: dict[int, float]) -> Side:
    segments = listed(ids, categories, set())
    for segment in segments:
        segment["score"] = scores[segment["id"]]
    return Side(ids, segments)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Sky (1) with two cars (2, 3) and void at the right; one predicted car matches, one is wrong, one is on void."""
    ids = np.ones((6, 12), np.int64)
    ids[1:5, 1:4], ids[1:5, 6:9], ids[:, 10:] = 2, 3, 0
    found = ids.copy()
    found[:, 10:], found[found == 3], found[5, 5:9] = 4, 1, 5
    true = Side(ids, listed(ids, {1: 7, 2: 3, 3: 3}, set()))
    predicted = scored_side(found, {1: 7, 2: 3, 4: 3, 5: 3}, {1: 1.0, 2: 0.9, 4: 0.8, 5: 0.6})
    return write_side(tmp_path, "truth", [true]), write_side(tmp_path, "results", [predicted], bare=True)


def test_score_calibration_counts_things_like_panoptic_quality(
    command: Any, files: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = command("score", "--gt", files[0], "--pred", files[1], "--calibration", out, "--json", tmp_path / "a.json")
    assert result.code == 0
    assert {path.name for path in out.iterdir()} == FILES
    content = json.loads((out / "calibration.json").read_text())
    assert json.loads((tmp_path / "a.json").read_text())["calibration"] == content
    assert content["pixels"] is None
    things = content["things"]
    assert (things["all"]["num"], things["all"]["accuracy"]) == (2, 0.5)  # the one on void does not count
    assert things["all"]["ece"] == pytest.approx((0.1 + 0.6) / 2)
    assert things["all"]["d_ece"] is None
    assert things["aurc"] == pytest.approx((0 + 1 / 2) / 2)
    assert "calibration of things: ECE 35.0" in result.out
    lines = list(csv.DictReader((out / "calibration.csv").open()))
    assert [(line["kind"], line["class"], line["num"]) for line in lines] == [
        ("things", "all", "2"),
        ("things", "car", "2"),
    ]
    assert lines[0]["d_ece"] == ""


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_score_calibration_reads_confidence_maps(
    command: Any, files: tuple[Path, Path], tmp_path: Path, dtype: Any
) -> None:
    """Half of the maximum everywhere: 4 pixels of the sky and the one car in it are wrong."""
    top = np.iinfo(dtype).max
    level = np.full((6, 12), top // 5 * 2, dtype)  # both maxima are divisible by 5
    (tmp_path / "confidence").mkdir()
    cv2.imwrite(str(tmp_path / "confidence" / "000.png"), level)
    out = tmp_path / "out"
    assert command("score", "--gt", files[0], "--pred", files[1], "--calibration", out).code == 0
    pixels = json.loads((out / "calibration.json").read_text())["pixels"]
    assert pixels["all"]["num"] == 60
    wrong = 12 + 4
    assert pixels["all"]["accuracy"] == pytest.approx(1 - wrong / 60)
    assert pixels["all"]["confidence"] == pytest.approx(0.4)
    assert pixels["all"]["ece"] == pytest.approx(1 - wrong / 60 - 0.4)
    assert pixels["aurc"] == pytest.approx(wrong / 60)


def test_score_calibration_with_unusable_confidence_maps_names_the_file(
    refuses: Any, files: tuple[Path, Path], tmp_path: Path
) -> None:
    maps = tmp_path / "maps"
    given = ("score", "--gt", files[0], "--pred", files[1], "--calibration", tmp_path / "out", "--confidence", maps)
    maps.mkdir()
    path = maps / "000.png"
    assert f"{path} is missing" in refuses(*given)
    path.write_bytes(b"broken")
    assert f"{path} cannot be decoded" in refuses(*given)
    cv2.imwrite(str(path), np.zeros((6, 11), np.uint8))
    assert f"{path} is 6×11" in refuses(*given)
    cv2.imwrite(str(path), np.zeros((6, 12, 3), np.uint8))
    assert f"{path} is 6×12×3" in refuses(*given)
    path.write_bytes(cv2.imencode(".tiff", np.full((6, 12), 0.5, np.float32))[1].tobytes())
    assert "float32" in refuses(*given)
    assert not (tmp_path / "out").exists()


def test_score_calibration_ignores_an_empty_confidence_folder(
    command: Any, files: tuple[Path, Path], tmp_path: Path
) -> None:
    """`predict --overwrite` removes the maps of an earlier run, but not their folders."""
    (tmp_path / "confidence" / "clip").mkdir(parents=True)
    out = tmp_path / "out"
    assert command("score", "--gt", files[0], "--pred", files[1], "--calibration", out).code == 0
    assert json.loads((out / "calibration.json").read_text())["pixels"] is None


def test_score_calibration_of_nothing_says_so_and_leaves_no_earlier_picture(command: Any, tmp_path: Path) -> None:
    """All things are in a void image."""
    ids = np.zeros((4, 4), np.int64)
    found = ids + 2
    truth = write_side(tmp_path, "a", [Side(ids, [])])
    results = write_side(tmp_path, "b", [scored_side(found, {2: 3}, {2: 0.5})], bare=True)
    out = tmp_path / "out"
    out.mkdir()
    (out / "calibration.png").write_bytes(b"of an earlier run")
    result = command("score", "--gt", truth, "--pred", results, "--calibration", out)
    assert result.code == 0
    assert "calibration: no prediction counts" in result.out
    assert json.loads((out / "calibration.json").read_text()) == {"things": None, "pixels": None}
    assert not (out / "calibration.png").exists()


def test_score_calibration_without_scores_and_maps_is_refused(refuses: Any, tmp_path: Path) -> None:
    ids = np.ones((4, 4), np.int64)
    side = Side(ids, listed(ids, {1: 3}, set()))
    truth, results = write_side(tmp_path, "a", [side]), write_side(tmp_path, "b", [side], bare=True)
    given = ("score", "--gt", truth, "--pred", results)
    assert "confidence" in refuses(*given, "--calibration", tmp_path / "out")
    assert "--calibration" in refuses(*given, "--confidence", tmp_path)


def test_score_calibration_of_objects_leaves_out_detections_on_crowd(
    command: Any, refuses: Any, tmp_path: Path
) -> None:
    truth: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 40, "width": 40}],
        "categories": [{"id": 3, "name": "car"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 10, 10], "area": 100, "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 3, "bbox": [20, 20, 20, 20], "area": 400, "iscrowd": 1},
        ],
    }
    for one in truth["annotations"]:
        x, y, width, height = one["bbox"]
        one["segmentation"] = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    boxes = {0.9: [0, 0, 10, 9], 0.8: [1, 0, 10, 10], 0.7: [25, 25, 10, 10], 0.3: [12, 0, 5, 5]}
    results = [{"image_id": 1, "category_id": 3, "bbox": box, "score": score} for score, box in boxes.items()]
    paths = tmp_path / "truth.json", tmp_path / "results.json"
    for path, content in zip(paths, (truth, results), strict=True):
        path.write_text(json.dumps(content))
    given = ("score", "--gt", paths[0], "--pred", paths[1], "--calibration", tmp_path / "out")
    assert command(*given).code == 0
    things = json.loads((tmp_path / "out" / "calibration.json").read_text())["things"]
    assert (things["all"]["num"], things["all"]["accuracy"]) == (3, pytest.approx(1 / 3))
    assert things["all"]["ece"] == pytest.approx((0.1 + 0.8 + 0.3) / 3)
    paths[1].write_text(json.dumps([results[0] | {"score": 7.5}]))
    assert "score 7.5" in refuses(*given)


@pytest.fixture
def predicted(command: Any, run_dir: Path, data: Path, tmp_path: Path) -> Path:
    out, images = tmp_path / "predicted", data / "images" / "val"
    assert command("predict", run_dir, images, out, "--write=panoptic,semantic,confidence", "--device=cpu").code == 0
    return out


def read(path: Path) -> Any:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_confidence_maps_equal_the_confidence_of_the_library(predicted: Path, run_dir: Path, data: Path) -> None:
    device = torch.device("cpu")
    predictor = build_predictor(open_model(run_dir, device), device, PredictionOptions(confidence=True))
    for path in sorted((data / "images" / "val").iterdir()):
        image = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
        found = predictor.predict([predictor.prepare(image)])[0]
        levels = read(predicted / "confidence" / f"{path.stem}.png")
        assert levels.dtype == np.uint16
        assert levels.shape == image.shape[:2]
        assert np.abs(levels / 65535 - found.confidence.numpy()).max() <= 0.5001 / 65535
        assert ((levels == 0) == (read(predicted / "semantic" / f"{path.stem}.png") == 255)).all()


def test_evaluate_and_score_of_predictions_compute_equal_calibration(
    command: Any, run_dir: Path, data: Path, predicted: Path, tmp_path: Path
) -> None:
    truth = data / "annotations" / "panoptic_val.json"
    given = ("--split=val", "--device=cpu", "--calibration", tmp_path / "model", "--scales=1.0,1.2")
    assert command("evaluate", run_dir, "--data", data, *given).code == 0
    images = data / "images" / "val"
    out = tmp_path / "again"
    kinds = ("--write=panoptic,confidence", "--precision=float32")
    assert command("predict", run_dir, images, out, *kinds, "--scales=1.0,1.2", "--device=cpu").code == 0
    assert (
        command("score", "--gt", truth, "--pred", out / "panoptic.json", "--calibration", tmp_path / "files").code == 0
    )
    one, other = (json.loads((tmp_path / name / "calibration.json").read_text()) for name in ("model", "files"))
    assert one["pixels"]["all"]["num"] == other["pixels"]["all"]["num"] > 0
    assert one["things"]["all"]["num"] == other["things"]["all"]["num"] > 0
    for kind in ("pixels", "things"):
        for key in ("accuracy", "confidence", "ece"):
            assert one[kind]["all"][key] == pytest.approx(other[kind]["all"][key], abs=2e-5)


def test_pixel_calibration_of_files_equals_a_loop_over_pixels(
    command: Any, data: Path, predicted: Path, tmp_path: Path
) -> None:
    truth = data / "annotations" / "panoptic_val.json"
    given = ("score", "--gt", truth, "--pred", predicted / "panoptic.json", "--calibration", tmp_path / "out")
    assert command(*given).code == 0
    scores, right = [], []
    content, results = (json.loads(path.read_text()) for path in (truth, predicted / "panoptic.json"))
    names = {image["id"]: Path(image["file_name"]).stem for image in content["images"]}
    found = {image["id"]: Path(image["file_name"]).stem for image in results["images"]}
    maps: list[dict[str, Any]] = []
    for one, stems, folder in ((content, names, truth.with_suffix("")), (results, found, predicted / "panoptic")):
        maps.append({})
        for entry in one["annotations"]:
            bgr = read(folder / entry["file_name"]).astype(int)
            ids = bgr[..., 2] + 256 * bgr[..., 1] + 65536 * bgr[..., 0]
            classes = {segment["id"]: segment["category_id"] for segment in entry["segments_info"]}
            maps[-1][stems[entry["image_id"]]] = [[classes.get(value) for value in row] for row in ids.tolist()]
    for stem, true in maps[0].items():
        levels = read(predicted / "confidence" / f"{stem}.png") / 65535
        for rows in zip(true, maps[1][stem], levels.tolist(), strict=True):
            for mine, other, score in zip(*rows, strict=True):
                if mine is not None and other is not None:
                    scores.append(score)
                    right.append(mine == other)
    pixels = json.loads((tmp_path / "out" / "calibration.json").read_text())["pixels"]
    assert pixels["all"]["num"] == len(scores) > 0
    assert pixels["all"]["ece"] == pytest.approx(calibration_error(scores, right, [()] * len(scores), 15, 1))
    assert pixels["all"]["confidence"] == pytest.approx(math.fsum(scores) / len(scores))
