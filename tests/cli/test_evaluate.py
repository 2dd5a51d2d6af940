"""`seamseg evaluate`: scores as a table and as JSON, and the other files."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from support.tiny_dataset import write_tiny_panoptic

from seamseg.export.model_file import ModelFile, save_model
from seamseg.export.model_folder import load_model_file
from seamseg.networks import PyramidNet
from seamseg.runtime.log import read_metrics
from seamseg.structures import PackedSequence, Predictions

QUALITY = {"pq", "sq", "rq", "n"}
LINE = {"pq", "sq", "rq", "tp", "fp", "fn", "iou", "iou_semantic", "pq_dagger", "boundary_pq"}


def test_evaluate_json_has_all_scores_as_fractions(command: Any, run_dir: Path, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "scores.json"
    assert command("evaluate", run_dir, "--data", data, "--split", "val", "--json", path).code == 0
    scores = json.loads(path.read_text())
    assert set(scores) == {
        "all",
        "things",
        "stuff",
        "per_class",
        "miou",
        "miou_semantic",
        "box_ap",
        "mask_ap",
        "box",
        "mask",
        "pq_dagger",
        "boundary",
        "images",
        "analysis",
        "unreadable",
    }
    assert scores["unreadable"] == []
    assert set(scores["images"][0]) == {"image_id", "classes", "iou", "tp", "fp", "fn"}
    assert set(scores["all"]) == set(scores["things"]) == set(scores["stuff"]) == QUALITY
    assert [scores[part]["n"] for part in ("all", "things", "stuff")] == [4, 2, 2]
    assert list(scores["per_class"]) == ["sky", "road", "car", "person"]
    assert all(set(line) == LINE for line in scores["per_class"].values())
    fractions = [scores[name] for name in ("miou", "miou_semantic", "box_ap", "mask_ap")]
    fractions += [line[name] for line in scores["per_class"].values() for name in ("pq", "sq", "rq", "iou")]
    assert all(0 <= value <= 1 for value in fractions)
    assert [scores[part]["ap"] for part in ("box", "mask")] == [scores["box_ap"], scores["mask_ap"]]
    assert all(len(scores[part]) == 12 for part in ("box", "mask"))


def test_evaluate_best_model_equals_its_validation_scores(
    command: Any, run_dir: Path, data: Path, tmp_path: Path
) -> None:
    command("evaluate", run_dir, "--data", data, "--split", "val", "--json", tmp_path / "scores.json")
    scores, logged = json.loads((tmp_path / "scores.json").read_text()), read_metrics(run_dir)[-1]
    assert scores["all"]["pq"] == logged["pq"]
    assert scores["miou"] == logged["miou"]
    assert scores["mask_ap"] == logged["mask_ap"]


def test_evaluate_prints_a_table_with_one_row_per_class(command: Any, run_dir: Path, data: Path) -> None:
    _, out, err = command("evaluate", run_dir, "--data", data, "--split", "val")
    rows = [line for line in out.splitlines() if line.startswith("│")]
    assert [row.split()[1] for row in rows] == ["sky", "road", "car", "person", "all", "things", "stuff"]
    assert "mIoU of the semantic head" in out
    assert "3/3" in err


def test_evaluate_run_folder_and_its_model_files_give_equal_tables(command: Any, run_dir: Path, data: Path) -> None:
    tables = [
        command("evaluate", model, "--data", data, "--split", "val").out
        for model in (run_dir, run_dir / "model.safetensors", run_dir / "checkpoint-00000002.pt")
    ]
    assert tables[0] == tables[1] == tables[2]


def test_evaluate_eval_norm_changes_the_scores_and_zero_does_not(command: Any, run_dir: Path, data: Path) -> None:
    plain, zero, mixed = (
        command("evaluate", run_dir, "--data", data, "--split", "val", *options).out
        for options in ([], ["--eval-norm", 0], ["--eval-norm", 0.5])
    )
    assert plain == zero != mixed


def test_evaluate_augmented_predicts_on_each_scale_and_its_mirror_image(
    command: Any, run_dir: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs: list[torch.Tensor] = []
    plain = PyramidNet.predict

    def recorded(network: PyramidNet, images: PackedSequence) -> Predictions:
        inputs.append(images.entry(0))
        return plain(network, images)

    monkeypatch.setattr(PyramidNet, "predict", recorded)
    options = ("--scales", "0.5,1", "--flip", "--merge", "mean")
    arguments = ("--data", data, "--split", "val", "--sheet", tmp_path / "sheet.png")
    assert command("evaluate", run_dir, *arguments, *options, "--json", tmp_path / "evaluated.json").code == 0
    assert [tuple(one.shape[1:]) for one in inputs[:4]] == [(32, 44), (32, 44), (64, 89), (64, 89)]
    assert len(inputs) == 4 * 3
    assert torch.equal(inputs[1], inputs[0].flip(-1))
    assert torch.equal(inputs[3], inputs[2].flip(-1))
    assert command("evaluate", run_dir, *arguments, "--json", tmp_path / "plain.json").code == 0
    evaluated, unaugmented = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("evaluated", "plain"))
    assert evaluated["miou_semantic"] != unaugmented["miou_semantic"]


def test_evaluate_limit_scores_only_the_first_images(command: Any, run_dir: Path, data: Path, tmp_path: Path) -> None:
    code, _, err = command(
        "evaluate", run_dir, "--data", data, "--split", "train", "--limit", 1, "--json", tmp_path / "scores.json"
    )
    assert code == 0
    assert "1/1" in err
    counts = json.loads((tmp_path / "scores.json").read_text())["per_class"]
    segments = json.loads((data / "annotations" / "panoptic_train.json").read_text())["annotations"][0]["segments_info"]
    objects = [segment for segment in segments if not segment["iscrowd"]]
    assert sum(line["tp"] + line["fn"] for line in counts.values()) == len(objects)


def test_evaluate_sheet_writes_a_picture(command: Any, run_dir: Path, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "sheet.png"
    assert command("evaluate", run_dir, "--data", data, "--split", "val", "--sheet", path).code == 0
    picture = cv2.imread(str(path))
    assert picture is not None
    assert picture.shape[1] > 3 * 400


def test_evaluate_analysis_writes_twelve_files(command: Any, run_dir: Path, data: Path, tmp_path: Path) -> None:
    folder, scores = tmp_path / "analysis", tmp_path / "scores.json"
    given = ("--data", data, "--split", "val", "--json", scores, "--analysis", folder)
    assert command("evaluate", run_dir, *given).code == 0
    assert json.loads((folder / "analysis.json").read_text()) == json.loads(scores.read_text())["analysis"]
    assert len(list(folder.iterdir())) == 12
    lost = {row["class"]: row for row in csv.DictReader((folder / "lost.csv").open())}
    counts = json.loads(scores.read_text())["per_class"]
    assert {name: int(row["things"]) for name, row in lost.items()} == {
        name: counts[name]["tp"] + counts[name]["fn"] for name in lost
    }
    assert (folder / "images.csv").read_text().splitlines()[0] == "image_id,pq,iou_sum,tp,fp,fn"
    assert cv2.imread(str(folder / "worst.png")).shape[1] > 3 * 400

    again = command("evaluate", run_dir, *given, "--flip")
    assert again.code == 0
    assert "--analysis does not say where things were lost" in again.err
    assert {"lost.csv", "lost.png"}.isdisjoint(path.name for path in folder.iterdir()), "of the earlier analysis"
    assert len(list(folder.iterdir())) == 10


def test_evaluate_unreadable_images_are_skipped_and_listed(
    command: Any, run_dir: Path, data: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(data, tmp_path / "data"))
    (folder / "images" / "val" / "001.png").write_bytes(b"broken")
    (folder / "annotations" / "panoptic_val" / "000.png").unlink()
    path = tmp_path / "scores.json"
    code, out, err = command("evaluate", run_dir, "--data", folder, "--split", "val", "--json", path)
    assert code == 3
    assert "sky" in out
    assert f"skipped: {folder / 'images' / 'val' / '001.png'} cannot be decoded" in err
    assert "2 images could not be read" in err
    scores = json.loads(path.read_text())
    names = [entry["file_name"] for entry in scores["unreadable"]]
    assert names == ["annotations/panoptic_val/000.png", "images/val/001.png"]
    assert str(folder / names[1]) in scores["unreadable"][1]["error"]
    assert [image["image_id"] for image in scores["images"]] == [102]


def test_evaluate_without_readable_images_is_refused(
    refuses: Callable[..., str], run_dir: Path, data: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(data, tmp_path / "data"))
    for path in (folder / "images" / "val").iterdir():
        path.write_bytes(b"broken")
    sentence = refuses("evaluate", run_dir, "--data", folder, "--split", "val", "--json", tmp_path / "scores.json")
    assert "none of 3 images" in sentence
    assert str(folder / "images" / "val" / "000.png") in sentence
    assert not (tmp_path / "scores.json").exists()


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        ({"model": "none"}, "there is no model none"),
        ({"--data": "none"}, "the data set folder none does not exist"),
        ({"--split": "test"}, "no split matching 'test'"),
        ({"--eval-norm": "-1"}, "statistics must be in 0 … 1, not -1"),
        ({"--limit": "0"}, "the limit on the number of images is 0"),
        ({"--device": "abacus"}, "there is no device abacus"),
    ],
)
def test_evaluate_invalid_arguments_are_refused(
    refuses: Callable[..., str], run_dir: Path, data: Path, arguments: dict[str, str], culprit: str
) -> None:
    given = {"model": str(run_dir), "--data": str(data), "--split": "val"} | arguments
    model = given.pop("model")
    assert culprit in refuses("evaluate", model, *(word for option in given.items() for word in option))


def test_evaluate_ambiguous_split_prefix_is_refused(refuses: Callable[..., str], run_dir: Path, tmp_path: Path) -> None:
    for split in ("val_a", "val_b"):
        write_tiny_panoptic(tmp_path, split=split, num_images=1)
    sentence = refuses("evaluate", run_dir, "--data", tmp_path, "--split", "val")
    assert sentence == f"{tmp_path} has several splits matching 'val'*; its splits are val_a, val_b"


def test_evaluate_data_with_other_classes_is_refused(
    refuses: Callable[..., str], run_dir: Path, tmp_path: Path
) -> None:
    write_tiny_panoptic(tmp_path, split="val", num_images=1, things=["car", "dog"])
    sentence = refuses("evaluate", run_dir, "--data", tmp_path, "--split", "val")
    assert f"the data set {tmp_path}" in sentence
    assert "only the model has: person" in sentence
    assert "only the data set has: dog" in sentence


def edited(data: Path, folder: Path, change: Callable[[list[dict[str, Any]]], Any]) -> Path:
    """Copy a data set and change the categories of its validation split."""
    shutil.copytree(data, folder)
    file = folder / "annotations" / "panoptic_val.json"
    content = json.loads(file.read_text())
    change(content["categories"])
    file.write_text(json.dumps(content))
    return folder


def scores_on(command: Any, run_dir: Path, data: Path, out: Path) -> tuple[dict[str, Any], str]:
    code, _, err = command("evaluate", run_dir, "--data", data, "--split", "val", "--json", out)
    assert code == 0
    return json.loads(out.read_text()), err


def test_evaluate_classes_in_different_order_are_matched_by_name(
    command: Any, run_dir: Path, data: Path, tmp_path: Path
) -> None:
    reversed_data = edited(data, tmp_path / "data", lambda categories: categories.reverse())
    expected, err = scores_on(command, run_dir, data, tmp_path / "scores.json")
    assert "different order" not in err
    found, err = scores_on(command, run_dir, reversed_data, tmp_path / "reversed.json")
    assert "different order" in err
    assert list(found["per_class"]) == ["road", "sky", "person", "car"]
    assert found["per_class"] == expected["per_class"]
    for key in ("miou", "miou_semantic", "box_ap", "mask_ap", "pq_dagger"):
        assert found[key] == pytest.approx(expected[key], abs=1e-12), key
    assert any(line["iou"] > 0 for line in found["per_class"].values())


def test_evaluate_class_that_changed_from_stuff_to_thing_is_reported_and_scored(
    command: Any, run_dir: Path, data: Path, tmp_path: Path
) -> None:
    """The last stuff class becomes the first thing class, so the order of the names stays the same."""

    def change(categories: list[dict[str, Any]]) -> None:
        next(entry for entry in categories if entry["name"] == "road")["isthing"] = 1
        categories.sort(key=lambda entry: entry["name"] != "road")

    expected, _ = scores_on(command, run_dir, data, tmp_path / "scores.json")
    found, err = scores_on(command, run_dir, edited(data, tmp_path / "data", change), tmp_path / "other.json")
    assert "'road' is a thing, not stuff" in err
    assert list(found["per_class"]) == list(expected["per_class"])
    for name in ("sky", "road", "car", "person"):
        assert found["per_class"][name]["pq"] == expected["per_class"][name]["pq"]
    assert (found["stuff"]["n"], found["things"]["n"]) == (1, 3)


def test_evaluate_class_names_with_markup_are_printed_verbatim(
    command: Any, run_dir: Path, data: Path, tmp_path: Path
) -> None:
    names = {"sky": "[sky]", "road": "[/road]", "car": "[red]:car:", "person": "human[/rider]"}

    def rename(categories: list[dict[str, Any]]) -> None:
        for entry in categories:
            entry["name"] = names[entry["name"]]

    folder = edited(data, tmp_path / "data", rename)
    run = Path(shutil.copytree(run_dir, tmp_path / "run"))
    file = load_model_file(run_dir)
    categories = [entry | {"name": names[entry["name"]]} for entry in file.categories]
    save_model(run / "model.safetensors", ModelFile(file.settings, categories, file.tensors))
    path = tmp_path / "scores.json"
    code, out, _ = command("evaluate", run, "--data", folder, "--split", "val", "--json", path)
    assert code == 0
    assert all(name in out for name in names.values())
    assert list(json.loads(path.read_text())["per_class"]) == list(names.values())


def test_evaluate_writes_files_before_printing_scores(
    command: Any, run_dir: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(scores: Any) -> None:
        raise OSError("no terminal")

    monkeypatch.setattr("seamseg.cli.evaluate.print_scores", fail)
    path = tmp_path / "scores.json"
    assert command("evaluate", run_dir, "--data", data, "--split", "val", "--json", path).code == 2
    assert json.loads(path.read_text())["images"]


def test_evaluate_json_path_that_is_a_folder_is_refused(refuses: Callable[..., str], run_dir: Path, data: Path) -> None:
    assert str(data) in refuses("evaluate", run_dir, "--data", data, "--split", "val", "--json", data)


def test_evaluate_prints_scores_that_cannot_be_written(command: Any, run_dir: Path, data: Path) -> None:
    code, out, _ = command("evaluate", run_dir, "--data", data, "--split", "val", "--json", data)
    assert code == 2
    assert "sky" in out
