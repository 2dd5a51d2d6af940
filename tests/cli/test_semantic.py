"""A semantic model from training to prediction, and what other subcommands say about it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from support.published_semantic import published_content, semantic_state, write_semantic
from support.tiny_experiment import narrow_body, write_tiny_config

import seamseg
from seamseg.cli import main
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.data.png import read_panoptic_png
from seamseg.export import published_semantic
from seamseg.runtime.log import read_metrics

CLASSES = ["sky", "road", "car", "person"]
SETTINGS = ("task=semantic", "sem.head=deeplab", "training.epochs=1")


@pytest.fixture(scope="session")
def semantic_run(data: Path) -> Path:
    """A finished run of a semantic network; tests must not change it."""
    folder = data.parent / "semantic-run"
    config = write_tiny_config(data.parent / "semantic.yaml", data, *SETTINGS)
    with narrow_body():
        assert main(["train", str(config), "--run-dir", str(folder), "--device", "cpu"]) == 0
    return folder


def test_train_logs_only_the_semantic_loss_and_chooses_the_best_model_by_miou(semantic_run: Path) -> None:
    entries = read_metrics(semantic_run)
    training = [entry for entry in entries if entry["kind"] == "train"]
    assert {key for key in training[0] if "rpn" in key or "roi" in key} == set()
    assert training[0]["total"] == training[0]["semantic"] > 0
    (validation,) = [entry for entry in entries if entry["kind"] == "validation"]
    assert {"miou", "pixel_accuracy", "mean_class_accuracy", "num_unreadable"} <= set(validation)
    assert (semantic_run / "model.safetensors").is_file()


def test_train_resume_with_another_task_is_refused(refuses: Callable[..., str], semantic_run: Path, data: Path) -> None:
    config = data.parent / "semantic.yaml"
    message = refuses("train", config, "task=panoptic", "sem.head=mini_deeplab", "--resume", "--run-dir", semantic_run)
    assert "task" in message


def test_evaluate_json_equals_the_validation_of_the_run(
    command: Any, semantic_run: Path, data: Path, tmp_path: Path
) -> None:
    result = command("evaluate", semantic_run, "--data", data, "--split", "val", "--json", tmp_path / "scores.json")
    assert result.code == 0
    scores, logged = json.loads((tmp_path / "scores.json").read_text()), read_metrics(semantic_run)[-1]
    for name in ("miou", "pixel_accuracy", "mean_class_accuracy"):
        assert scores[name] == logged[name]
        assert 0 <= scores[name] <= 1
    assert list(scores["per_class"]) == CLASSES
    assert np.array(scores["confusion"]).shape == (4, 5)
    assert (scores["num_images"], scores["unreadable"]) == (3, [])
    rows = [line.split()[1] for line in result.out.splitlines() if line.startswith("│")]
    assert rows[-1] == "mean"
    assert set(rows[:-1]) <= set(CLASSES)
    assert "pixel accuracy" in result.out


def test_evaluate_on_class_maps_equals_the_scores_on_panoptic_data(
    command: Any, semantic_run: Path, data: Path, tmp_path: Path
) -> None:
    source = CocoPanoptic(data, "val")
    for part in ("images", "annotations"):
        (tmp_path / "maps" / part / "val").mkdir(parents=True)
    for index in range(len(source)):
        image = source.image_path(index)
        (tmp_path / "maps" / "images" / "val" / image.name).symlink_to(image)
        class_map = source.read_annotation(index).semantics.numpy()
        labels = np.where(class_map == 255, 0, class_map + 1).astype(np.uint8)
        assert cv2.imwrite(str(tmp_path / "maps" / "annotations" / "val" / f"{image.stem}.png"), labels)
    (tmp_path / "maps" / "classes.txt").write_text("\n".join(CLASSES))
    scores = []
    for root in (data, tmp_path / "maps"):
        path = tmp_path / "scores.json"
        assert command("evaluate", semantic_run, "--data", root, "--split", "val", "--json", path).code == 0
        scores.append({key: json.loads(path.read_text())[key] for key in ("miou", "pixel_accuracy", "confusion")})
    assert scores[0] == scores[1]


def test_evaluate_scores_equal_those_of_the_written_class_maps(
    command: Any, semantic_run: Path, data: Path, tmp_path: Path
) -> None:
    """`predict` and `evaluate` interpolate logits to the size of the image in the same way."""
    command("evaluate", semantic_run, "--data", data, "--split", "val", "--json", tmp_path / "scores.json")
    scores = json.loads((tmp_path / "scores.json").read_text())
    arguments = ["--precision", "float32"]  # as evaluate
    assert command("predict", semantic_run, data / "images" / "val", tmp_path / "out", *arguments).code == 0
    index = json.loads((data / "annotations" / "panoptic_val.json").read_text())
    numbers = {category["id"]: CLASSES.index(category["name"]) for category in index["categories"]}
    right = total = 0
    for entry in index["annotations"]:
        ids = read_panoptic_png(data / "annotations" / "panoptic_val" / entry["file_name"])
        true = np.full(ids.shape, 255)
        for segment in entry["segments_info"]:
            true[ids == segment["id"]] = numbers[segment["category_id"]]
        found = cv2.imread(str(tmp_path / "out" / "semantic" / entry["file_name"]), cv2.IMREAD_UNCHANGED)
        right += int(((found == true) & (true != 255)).sum())
        total += int((true != 255).sum())
    assert right / total == pytest.approx(scores["pixel_accuracy"])


def test_evaluate_sheet_and_analysis_are_written(command: Any, semantic_run: Path, data: Path, tmp_path: Path) -> None:
    arguments = ("evaluate", semantic_run, "--data", data, "--split", "val")
    assert command(*arguments, "--sheet", tmp_path / "sheet.png", "--analysis", tmp_path / "analysis").code == 0
    names = {"classes.csv", "confusion_pixels.csv", "confusion_pixels.png", "worst.png"}
    assert {path.name for path in (tmp_path / "analysis").iterdir()} == names
    with (tmp_path / "analysis" / "classes.csv").open() as file:
        assert [row["class"] for row in csv.DictReader(file)] == CLASSES
    for path in (tmp_path / "sheet.png", tmp_path / "analysis" / "worst.png"):
        assert cv2.imread(str(path)).shape[1] > 500


def test_predict_writes_class_maps_and_overlays_by_default(
    command: Any, semantic_run: Path, photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert command("predict", semantic_run, photo, out).code == 0
    assert {path.name for path in out.glob("[!.]*")} == {"overlay", "semantic", "categories.json"}
    classes = cv2.imread(str(out / "semantic" / "photo.png"), cv2.IMREAD_UNCHANGED)
    assert classes.shape == (60, 90)
    assert classes.max() < len(CLASSES)
    categories = json.loads((out / "categories.json").read_text())
    assert [category["name"] for category in categories] == CLASSES
    assert [category["isthing"] for category in categories] == [0, 0, 0, 0]


def test_predict_equals_the_library_and_merges_passes(
    command: Any, semantic_run: Path, photo: Path, tmp_path: Path
) -> None:
    options = ("--scales", "0.7,1,1.2", "--flip", "--write", "semantic,raw", "--merge")
    maps = {}
    for merge in ("logits", "mean", "max", "vote"):
        out = tmp_path / merge
        assert command("predict", semantic_run, photo, out, *options, merge).code == 0
        maps[merge] = cv2.imread(str(out / "semantic" / "photo.png"), cv2.IMREAD_UNCHANGED)
        model = seamseg.load_model(semantic_run, "cpu", scales=(0.7, 1, 1.2), flip=True, merge=merge)
        result = model.predict(photo)
        assert np.array_equal(result.semantic.numpy(), maps[merge])
        assert (result.detections, result.instances, result.task) == (None, None, "semantic")
        assert not any(segment.is_thing or segment.is_crowd for segment in result.segments)
        assert len(result.to_coco()) == len(np.unique(maps[merge]))
    assert not np.array_equal(maps["mean"], maps["max"])
    with np.load(tmp_path / "mean" / "raw" / "photo.npz") as arrays:
        assert arrays["boxes"].shape == (0, 4)
        assert len(arrays["semantic_logits"]) == len(CLASSES)


def test_predict_resume_with_another_merge_is_refused(
    command: Any, refuses: Callable[..., str], semantic_run: Path, photo: Path, tmp_path: Path
) -> None:
    assert command("predict", semantic_run, photo, tmp_path / "out", "--flip").code == 0
    arguments = ("predict", semantic_run, photo, tmp_path / "out", "--flip", "--merge", "vote", "--resume")
    assert "other" in refuses(*arguments)


@pytest.mark.parametrize("kinds", ["panoptic", "instances", "semantic,instances"])
def test_predict_of_instances_is_refused(
    refuses: Callable[..., str], semantic_run: Path, photo: Path, tmp_path: Path, kinds: str
) -> None:
    message = refuses("predict", semantic_run, photo, tmp_path / "out", "--write", kinds)
    assert kinds.removeprefix("semantic,") in message
    assert "overlay, semantic, raw" in message
    assert not (tmp_path / "out").exists()


def test_predict_video_draws_an_overlay(command: Any, semantic_run: Path, tmp_path: Path) -> None:
    video = cv2.VideoWriter(str(tmp_path / "street.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for level in (0, 100, 200):
        video.write(np.full((48, 64, 3), level, np.uint8))
    video.release()
    assert command("predict", semantic_run, tmp_path / "street.mp4", tmp_path / "out").code == 0
    assert (tmp_path / "out" / "overlay.mp4").stat().st_size > 0
    assert len(list((tmp_path / "out" / "semantic").iterdir())) == 3


def test_export_model_card_is_that_of_a_semantic_model(command: Any, semantic_run: Path, tmp_path: Path) -> None:
    assert command("export-model", semantic_run, tmp_path / "card").code == 0
    text = (tmp_path / "card" / "README.md").read_text()
    assert "semantic segmentation" in text
    assert "| mIoU |" in text
    assert "| PQ |" not in text


@pytest.mark.parametrize("subcommand", ["export-onnx", "export-torch"])
def test_export_of_a_graph_is_refused(
    refuses: Callable[..., str], semantic_run: Path, tmp_path: Path, subcommand: str
) -> None:
    message = refuses(subcommand, semantic_run, tmp_path / "model.bin")
    assert str(semantic_run) in message
    assert "semantic" in message


@pytest.mark.parametrize("subcommand", ["report", "score"])
def test_panoptic_subcommands_refuse_the_results(
    command: Any, refuses: Callable[..., str], semantic_run: Path, data: Path, tmp_path: Path, subcommand: str
) -> None:
    assert command("predict", semantic_run, data / "images" / "val", tmp_path / "out").code == 0
    truth = data / "annotations" / "panoptic_val.json"
    arguments = {
        "report": (tmp_path / "out", tmp_path / "report"),
        "score": ("--gt", truth, "--pred", tmp_path / "out" / "panoptic.json"),
    }
    message = refuses(subcommand, *arguments[subcommand])
    assert str(tmp_path / "out") in message
    assert "panoptic.json" in message


def test_compare_refuses_semantic_scores(
    command: Any, refuses: Callable[..., str], semantic_run: Path, data: Path, tmp_path: Path
) -> None:
    path = tmp_path / "scores.json"
    assert command("evaluate", semantic_run, "--data", data, "--split", "val", "--json", path).code == 0
    message = refuses("compare", path, path)
    assert str(path) in message
    assert "semantic" in message


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The published model file with a narrow body; its images are small."""
    monkeypatch.setitem(published_semantic.SETTINGS["data"], "shortest_side", 64)
    return write_semantic(tmp_path / "wide_resnet38_deeplab_vistas.pth.tar", semantic_state())


def test_published_file_predicts_like_its_imported_folder(
    command: Any, published: Path, photo: Path, tmp_path: Path
) -> None:
    code, out, notes = command("import-model", published, tmp_path / "model")
    assert (code, out) == (0, f"imported: {tmp_path / 'model'}\n")
    assert len(notes.splitlines()) == 2
    for model, folder in ((published, "one"), (tmp_path / "model", "two")):
        assert command("predict", model, photo, tmp_path / folder).code == 0
    one, other = (
        cv2.imread(str(tmp_path / folder / "semantic" / "photo.png"), cv2.IMREAD_UNCHANGED) for folder in ("one", "two")
    )
    assert np.array_equal(one, other)
    categories = json.loads((tmp_path / "one" / "categories.json").read_text())
    assert categories[0]["name"] == "construction--barrier--curb"


@pytest.mark.parametrize("subcommand", ["predict", "import-model"])
def test_published_file_of_another_network_is_refused(
    refuses: Callable[..., str], published: Path, photo: Path, tmp_path: Path, subcommand: str
) -> None:
    content = published_content(semantic_state())
    del content["state_dict"]["head"]["red_bn.weight"]
    torch.save(content, published)
    arguments = (published, photo, tmp_path / "out") if subcommand == "predict" else (published, tmp_path / "out")
    message = refuses(subcommand, *arguments)
    assert "head.red_bn.weight" in message
    assert published.name in message


@pytest.mark.parametrize("subcommand", ["predict", "import-model"])
@pytest.mark.parametrize("size", [0, 1000])
def test_published_file_that_is_truncated_is_refused(
    refuses: Callable[..., str], published: Path, photo: Path, tmp_path: Path, subcommand: str, size: int
) -> None:
    published.write_bytes(published.read_bytes()[:size])
    arguments = (published, photo, tmp_path / "out") if subcommand == "predict" else (published, tmp_path / "out")
    assert published.name in refuses(subcommand, *arguments)
