"""Tasks other than the default: instance and detection models from training to prediction, and data of one kind."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from support.detection_folder import write_detection
from support.tiny_dataset import write_tiny_panoptic
from support.tiny_experiment import narrow_body, write_tiny_config

import seamseg
from seamseg.cli import main
from seamseg.data.png import read_panoptic_png
from seamseg.runtime.log import read_metrics

SIZES = ("small", "medium", "large")
FIGURES = (
    *("ap", "ap50", "ap75", *(f"ap_{size}" for size in SIZES)),
    *("ar1", "ar10", "ar100", *(f"ar_{size}" for size in SIZES)),
)
SETTINGS = ("training.epochs=1", "fusion.score_threshold=0.1", "roi.score_threshold=0.01")
LOSSES = {
    "instance": {"rpn_objectness", "rpn_boxes", "roi_classes", "roi_boxes", "roi_masks"},
    "detection": {"rpn_objectness", "rpn_boxes", "roi_classes", "roi_boxes"},
}
PARTS = {"instance": ("mask", "box"), "detection": ("box",)}
each_task = pytest.mark.parametrize("task", LOSSES)
Runs = dict[str, Path]


@pytest.fixture(scope="session")
def runs(data: Path) -> Runs:
    """A finished run of each task; tests must not change them."""
    folders = {}
    with narrow_body():
        for task in LOSSES:
            folders[task] = data.parent / f"{task}-run"
            config = write_tiny_config(data.parent / f"{task}.yaml", data, *SETTINGS, f"task={task}")
            assert main(["train", str(config), "--run-dir", str(folders[task]), "--device", "cpu"]) == 0
    return folders


@each_task
def test_train_logs_the_losses_and_figures_of_the_task(task: str, runs: Runs) -> None:
    training, validation = read_metrics(runs[task])[0], read_metrics(runs[task])[-1]
    assert set(training) == {"kind", "iteration", "time", "total", "lr", *LOSSES[task]} & set(training) | LOSSES[task]
    figures = {f"{part}_{name}" for part in PARTS[task] for name in FIGURES}
    assert figures <= set(validation)
    assert not any(name.startswith(("pq", "miou")) for name in validation)
    assert (runs[task] / "model.safetensors").is_file()


@each_task
def test_evaluate_json_and_table_have_the_figures_of_the_validation(
    task: str, command: Any, runs: Runs, data: Path, tmp_path: Path
) -> None:
    path = tmp_path / "scores.json"
    result = command("evaluate", runs[task], "--data", data, "--split", "val", "--json", path)
    assert result.code == 0
    scores, logged = json.loads(path.read_text()), read_metrics(runs[task])[-1]
    for part in PARTS[task]:
        assert list(scores[part]) == list(FIGURES)
        assert {f"{part}_{name}": value for name, value in scores[part].items()}.items() <= logged.items()
    assert (scores["mask"] is None) == (task == "detection")
    assert list(scores["per_class"]) == ["car", "person"]
    assert (scores["num_images"], len(scores["images"]), scores["unreadable"]) == (3, 3, [])
    assert "box: AP " in result.out
    assert ("mask: AP " in result.out) == (task == "instance")


def coco_truth(data: Path) -> COCO:
    """Make the annotation of things from the panoptic files, without code of the package except for the PNG reader."""
    index = json.loads((data / "annotations" / "panoptic_val.json").read_text())
    things = {category["id"] for category in index["categories"] if category["isthing"]}
    annotations: list[dict[str, Any]] = []
    for entry in index["annotations"]:
        ids = read_panoptic_png(data / "annotations" / "panoptic_val" / entry["file_name"])
        for segment in entry["segments_info"]:
            if segment["category_id"] in things:
                mask = np.asfortranarray((ids == segment["id"]).astype(np.uint8))
                annotations.append(
                    {key: segment[key] for key in ("category_id", "bbox", "area", "iscrowd")}
                    | {
                        "id": len(annotations) + 1,
                        "image_id": entry["image_id"],
                        "segmentation": coco_mask.encode(mask),
                    }
                )
    truth = COCO()
    truth.dataset = {"images": index["images"], "categories": index["categories"], "annotations": annotations}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return truth


@each_task
def test_predicted_results_give_pycocotools_the_figures_of_evaluate(
    task: str, command: Any, runs: Runs, data: Path, tmp_path: Path
) -> None:
    command("evaluate", runs[task], "--data", data, "--split", "val", "--json", tmp_path / "scores.json")
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert command("predict", runs[task], data / "images" / "val", tmp_path / "out").code == 0
    truth = coco_truth(data)
    ids = {image["file_name"]: image["id"] for image in truth.dataset["images"]}
    results = json.loads((tmp_path / "out" / "instances.json").read_text())
    assert ("segmentation" in results[0]) == (task == "instance")
    for part, kind in (("box", "bbox"), ("mask", "segm"))[: len(PARTS[task])]:
        unused = "bbox" if kind == "segm" else "segmentation"
        listed = [{key: value for key, value in one.items() if key != unused} for one in results]
        listed = [one | {"image_id": ids[one["file_name"]]} for one in listed]
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(truth, truth.loadRes(listed), kind)
            evaluation.params.catIds = [10, 20]
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        expected = [-1 if value is None else value for value in scores[part].values()]
        assert evaluation.stats.tolist() == pytest.approx(expected, abs=0.01)  # results have rounded boxes and scores


@each_task
def test_score_of_results_gives_the_figures_of_evaluate(
    task: str, command: Any, runs: Runs, data: Path, tmp_path: Path
) -> None:
    command("evaluate", runs[task], "--data", data, "--split", "val", "--json", tmp_path / "evaluated.json")
    assert command("predict", runs[task], data / "images" / "val", tmp_path / "out").code == 0
    truth, out = data / "annotations" / "panoptic_val.json", tmp_path / "scored.json"
    arguments = ("score", "--gt", truth, "--pred", tmp_path / "out" / "instances.json", "--json", out)
    result = command(*arguments, "--per-image", tmp_path / "images.csv", "--analysis", tmp_path / "analysis")
    assert result.code == 0, result.err
    evaluated, scored = (json.loads(path.read_text()) for path in (tmp_path / "evaluated.json", out))
    for part in PARTS[task]:
        for name, value in evaluated[part].items():
            assert scored[part][name] == (None if value is None else pytest.approx(value, abs=0.01))  # rounded boxes
    assert (scored["mask"], "box: AP " in result.out) == (scored["mask"] if task == "instance" else None, True)
    assert len((tmp_path / "images.csv").read_text().splitlines()) == 4
    (tmp_path / "list.txt").write_text("001.png\n")
    assert command(*arguments, "--images", tmp_path / "list.txt").code == 0
    assert [image["image_id"] for image in json.loads(out.read_text())["images"]] == [101]


@each_task
def test_augmented_evaluate_gives_the_figures_of_augmented_results(
    task: str, command: Any, runs: Runs, data: Path, tmp_path: Path
) -> None:
    options = ("--scales", "0.7,1.2", "--flip")
    arguments = ("evaluate", runs[task], "--data", data, "--split", "val", *options, "--json", tmp_path / "scores.json")
    assert command(*arguments).code == 0
    assert command("predict", runs[task], data / "images" / "val", tmp_path / "out", *options).code == 0
    files = ("--gt", data / "annotations" / "panoptic_val.json", "--pred", tmp_path / "out" / "instances.json")
    assert command("score", *files, "--json", tmp_path / "scored.json").code == 0
    evaluated, scored = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("scores", "scored"))
    for part in PARTS[task]:
        assert scored[part]["ar100"] == pytest.approx(evaluated[part]["ar100"], abs=0.01)  # rounded boxes and scores


@each_task
@pytest.mark.parametrize("subcommand", ["evaluate", "predict"])
def test_merging_class_scores_of_objects_is_refused(
    task: str, subcommand: str, refuses: Callable[..., str], runs: Runs, data: Path, tmp_path: Path
) -> None:
    rest = ("--data", data, "--split", "val") if subcommand == "evaluate" else (data / "images", tmp_path / "out")
    assert "merge=vote" in refuses(subcommand, runs[task], *rest, "--flip", "--merge", "vote")


@each_task
def test_predict_writes_overlays_and_results_by_default(
    task: str, command: Any, runs: Runs, photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert command("predict", runs[task], photo, out).code == 0
    assert {path.name for path in out.glob("[!.]*")} == {"overlay", "instances.json", "categories.json"}
    results = json.loads((out / "instances.json").read_text())
    assert 0 < len(results) <= 10
    for one in results:
        x, y, width, height = one["bbox"]
        assert 0 <= x < x + width <= 90.01
        assert 0 <= y < y + height <= 60.01
        assert one["category_id"] in (10, 20)
        if task == "instance":
            assert coco_mask.decode(one["segmentation"]).shape == (60, 90)
    assert not np.array_equal(cv2.imread(str(out / "overlay" / "photo.jpg")), cv2.imread(str(photo)))


def test_predicted_masks_of_instances_may_overlap(command: Any, runs: Runs, photo: Path, tmp_path: Path) -> None:
    assert command("predict", runs["instance"], photo, tmp_path / "out", "--write", "instances").code == 0
    results = json.loads((tmp_path / "out" / "instances.json").read_text())
    assert sum(coco_mask.decode(one["segmentation"]).astype(int) for one in results).max() > 1


@each_task
def test_predict_merges_passes_like_the_library(
    task: str, command: Any, runs: Runs, photo: Path, tmp_path: Path
) -> None:
    options = ("--scales", "0.7,1.2", "--flip", "--write", "instances,raw")
    result = command("predict", runs[task], photo, tmp_path / "out", *options)
    assert (result.code, result.out) == (0, f"objects detected in 1 image: {tmp_path / 'out'}\n")
    found = json.loads((tmp_path / "out" / "instances.json").read_text())
    model = seamseg.load_model(runs[task], "cpu", scales=(0.7, 1.2), flip=True)
    result = model.predict(photo)
    assert [one | {"file_name": "photo.png"} for one in result.to_coco()] == found
    with np.load(tmp_path / "out" / "raw" / "photo.npz") as arrays:
        assert len(arrays["boxes"]) == len(found) == len(arrays["mask_logits"])
        assert arrays["semantic_logits"].size == 0


@each_task
def test_result_has_the_members_of_the_task(task: str, runs: Runs, photo: Path) -> None:
    result = seamseg.load_model(runs[task], "cpu").predict(photo)
    detections = result.detections
    assert detections is not None
    assert len(detections) > 0
    assert (result.panoptic, result.semantic, result.segments) == (None, None, ())
    assert repr(result) == f"Result(60×90, {len(detections)} objects)"
    assert result.overlay().shape == (60, 90, 3)
    if task == "detection":
        assert result.instances is None
        return
    assert result.instances is not None
    for number, one in enumerate(result.instances):
        assert one.mask.shape == (60, 90)
        assert one.score == pytest.approx(float(detections.scores[number]))
        assert (one.class_name, one.class_index) in (("car", 2), ("person", 3))


@each_task
@pytest.mark.parametrize("kinds", ["panoptic", "semantic", "instances,semantic"])
def test_predict_of_segments_is_refused(
    task: str, refuses: Callable[..., str], runs: Runs, photo: Path, tmp_path: Path, kinds: str
) -> None:
    message = refuses("predict", runs[task], photo, tmp_path / "out", "--write", kinds)
    assert kinds.removeprefix("instances,") in message
    assert "overlay, instances, raw" in message
    assert not (tmp_path / "out").exists()


@each_task
def test_predict_video_draws_recorded_frames_again(
    task: str, command: Any, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = cv2.VideoWriter(str(tmp_path / "street.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for _ in range(4):
        video.write(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    video.release()
    arguments = ("predict", runs[task], tmp_path / "street.mp4")
    assert command(*arguments, tmp_path / "whole").code == 0
    with monkeypatch.context() as patched:
        patched.setattr("seamseg.predict.video_file.VideoWriter.add", raise_at(3))
        assert command(*arguments, tmp_path / "out").code == 2
    assert len(list((tmp_path / "out" / ".frames").iterdir())) >= 2
    assert command(*arguments, tmp_path / "out", "--resume").code == 0
    frames = [list_frames(tmp_path / name / "overlay.mp4") for name in ("whole", "out")]
    assert len(frames[0]) == 4
    assert np.array_equal(*frames)
    assert (tmp_path / "whole" / "instances.json").read_text() == (tmp_path / "out" / "instances.json").read_text()


def raise_at(number: int) -> Callable[..., None]:
    from seamseg.predict.video_file import VideoWriter

    add, calls = VideoWriter.add, []

    def fails(self: VideoWriter, picture: Any) -> None:
        calls.append(1)
        if len(calls) == number:
            raise OSError("stopped")
        add(self, picture)

    return fails


def list_frames(path: Path) -> list[Any]:
    capture = cv2.VideoCapture(str(path))
    found: list[Any] = []
    while True:
        readable, frame = capture.read()
        if not readable:
            return found
        found.append(frame)


@each_task
def test_evaluate_analysis_has_tables_and_the_worst_images(
    task: str, command: Any, runs: Runs, data: Path, tmp_path: Path
) -> None:
    arguments = ("evaluate", runs[task], "--data", data, "--split", "val", "--sheet", tmp_path / "sheet.png")
    assert command(*arguments, "--analysis", tmp_path / "analysis").code == 0
    assert {path.name for path in (tmp_path / "analysis").iterdir()} == {"classes.csv", "images.csv", "worst.png"}
    with (tmp_path / "analysis" / "classes.csv").open() as file:
        assert [row["class"] for row in csv.DictReader(file)] == ["car", "person"]
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[1] > 500


@each_task
def test_export_model_card_is_that_of_the_task(task: str, command: Any, runs: Runs, tmp_path: Path) -> None:
    assert command("export-model", runs[task], tmp_path / "card").code == 0
    text = (tmp_path / "card" / "README.md").read_text()
    assert ("mask AP" in text) == (task == "instance")
    assert "| box AP |" in text
    assert "| PQ |" not in text
    assert "stuff (" not in text


REGION_SETTINGS = (
    "roi.mask_scoring=true",
    "roi.mask_head=pointrend",
    "roi.box_head=conv4",
    "roi.box_channels=16",
    "loss_weights.roi_mask_scores=20",
    "roi.cascade=[0.5,0.6,0.7]",
)


def test_subcommands_accept_a_model_with_other_region_heads(
    command: Any, data: Path, photo: Path, tmp_path: Path
) -> None:
    config = write_tiny_config(tmp_path / "tiny.yaml", data, *SETTINGS, *REGION_SETTINGS, "fusion.score_threshold=0")
    run, out, scores = tmp_path / "run", tmp_path / "out", tmp_path / "scores.json"
    assert command("train", config, "--run-dir", run, "--device", "cpu").code == 0
    training, validation = read_metrics(run)[0], read_metrics(run)[-1]
    optional = ("roi_mask_scores", "roi_points", "roi_classes_2", "roi_boxes_3")
    assert min(training[name] for name in optional) > 0
    evaluated = command(
        "evaluate", run, "--data", data, "--split", "val", "--json", scores, "--analysis", tmp_path / "a"
    )
    assert evaluated.code == 0
    assert json.loads(scores.read_text())["things"]["pq"] == validation["pq_things"]
    assert command("predict", run, photo, out, "--write", "panoptic,instances,raw").code == 0
    listed = [one["score"] for one in json.loads((out / "instances.json").read_text())]
    assert listed == sorted(listed, reverse=True)
    assert max(listed) > 0
    assert command("export-model", run, tmp_path / "exported").code == 0
    result = seamseg.load_model(tmp_path / "exported", "cpu").predict(photo)
    assert result.detections.scores.tolist() == pytest.approx(listed, abs=1e-4)
    assert command("report", out, tmp_path / "report").code == 0
    assert command("compare", scores, scores).code == 0


@each_task
def test_panoptic_subcommands_refuse_objects(
    task: str, command: Any, refuses: Callable[..., str], runs: Runs, data: Path, photo: Path, tmp_path: Path
) -> None:
    assert command("predict", runs[task], photo, tmp_path / "out").code == 0
    assert "panoptic" in refuses("report", tmp_path / "out", tmp_path / "report")
    scores = tmp_path / "scores.json"
    assert command("evaluate", runs[task], "--data", data, "--split", "val", "--limit", 1, "--json", scores).code == 0
    assert "only panoptic scores" in refuses("compare", scores, scores)


@each_task
def test_detection_data_are_trained_and_scored_like_their_files(
    task: str, command: Any, refuses: Callable[..., str], tmp_path: Path
) -> None:
    data = write_detection(tmp_path / "data")
    config = write_tiny_config(tmp_path / "tiny.yaml", data, *SETTINGS, f"task={task}", "training.epochs=6")
    ended = command("train", config, "--run-dir", tmp_path / "run")
    assert ended.code == 0, ended.err
    evaluated, scored = tmp_path / "evaluated.json", tmp_path / "scored.json"
    assert command("evaluate", tmp_path / "run", "--data", data, "--split", "val", "--json", evaluated).code == 0
    assert command("predict", tmp_path / "run", data / "images" / "val", tmp_path / "out").code == 0
    truth, results = data / "annotations" / "instances_val.json", tmp_path / "out" / "instances.json"
    assert command("score", "--gt", truth, "--pred", results, "--json", scored).code == 0
    one, other = (json.loads(path.read_text()) for path in (evaluated, scored))
    assert list(one["per_class"]) == list(other["per_class"]) == ["car", "person"]
    counts = [[line["num_objects"] for line in side["per_class"].values()] for side in (one, other)]
    assert counts == [[2, 2], [2, 2]]
    for part in PARTS[task]:
        for name, value in one[part].items():
            assert other[part][name] == (None if value is None else pytest.approx(value, abs=0.01)), name
    assert "panoptic" in refuses("train", config, "task=panoptic", "--run-dir", tmp_path / "other")


def write_data(folder: Path, stuff: tuple[str, ...], things: tuple[str, ...]) -> Path:
    for seed, split in enumerate(("train", "val")):
        write_tiny_panoptic(folder, split=split, num_images=2, stuff=stuff, things=things, seed=seed)
    return folder


@pytest.mark.parametrize(
    ("stuff", "things", "lacks", "kind"),
    [
        ((), ("car", "person"), "no semantic head", "things"),
        (("sky", "road"), (), "no heads for proposals", "stuff"),
    ],
)
def test_panoptic_data_of_one_kind_are_trained_scored_and_predicted(
    command: Any,
    tmp_path: Path,
    stuff: tuple[str, ...],
    things: tuple[str, ...],
    lacks: str,
    kind: str,
) -> None:
    data = write_data(tmp_path / "data", stuff, things)
    config = write_tiny_config(tmp_path / "tiny.yaml", data, "training.epochs=1", "fusion.score_threshold=0.1")
    ended = command("train", config, "--run-dir", tmp_path / "run")
    assert ended.code == 0, ended.err
    assert [line for line in ended.err.splitlines() if lacks in line] == [
        line for line in ended.err.splitlines() if "so the network has no" in line
    ]
    assert ended.err.count("so the network has no") == 1
    arguments = ("evaluate", tmp_path / "run", "--data", data, "--split", "val", "--json", tmp_path / "scores.json")
    assert command(*arguments).code == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert (scores["miou_semantic"] is None) == (kind == "things")
    assert (scores["box_ap"] is None) == (kind == "stuff")
    assert scores["all"] == scores[kind]
    assert command("predict", tmp_path / "run", data / "images" / "val", tmp_path / "out").code == 0
    segments = [one for entry in annotations_of(tmp_path / "out" / "panoptic.json") for one in entry["segments_info"]]
    assert {one["category_id"] for one in segments} <= {10, 20}


def annotations_of(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["annotations"]
    return found


@each_task
def test_train_on_data_without_things_is_refused(task: str, refuses: Callable[..., str], tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", ("sky", "road"), ())
    config = write_tiny_config(tmp_path / "tiny.yaml", data, f"task={task}")
    message = refuses("train", config, "--run-dir", tmp_path / "run")
    assert "thing" in message
