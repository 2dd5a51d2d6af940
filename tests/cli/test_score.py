"""`seamseg score`: the table, the files and the notes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.panoptic_pairs import Side, listed, write_side

from seamseg.cli import main

IDS = np.array([[1, 1, 1, 1, 2, 2, 2, 2, 0, 0]] * 6)
CLASSES = {1: 7, 2: 3}


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """Annotation and results of two images: one is perfect, the other misses its car."""
    true = Side(IDS, listed(IDS, CLASSES, set()))
    ids = np.where(IDS == 1, 1, 0)
    sides = [true, Side(ids, listed(ids, {1: 7}, set()))]
    truth = write_side(tmp_path, "truth", [true, true])
    return str(truth), str(write_side(tmp_path, "results", sides, bare=True))


def test_score_json_has_the_format_of_evaluate(files: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out" / "scores.json"
    assert main(["score", "--gt", files[0], "--pred", files[1], "--json", str(out)]) == 0
    scores = json.loads(out.read_text())
    assert scores["all"] == pytest.approx({"pq": (1 + 2 / 3) / 2, "sq": 1, "rq": (1 + 2 / 3) / 2, "n": 2})
    assert scores["things"]["pq"] == pytest.approx(2 / 3)
    assert scores["per_class"]["car"]["fn"] == 1
    assert scores["per_class"]["person"]["pq"] is None
    assert scores["miou"] == pytest.approx((1 + 0.5) / 2)
    assert (scores["miou_semantic"], scores["box_ap"]) == (None, None)
    assert scores["pq_dagger"] == pytest.approx((1 + 2 / 3) / 2)
    assert scores["boundary"]["stuff"]["pq"] == 1
    assert [image["image_id"] for image in scores["images"]] == [10, 11]
    assert scores["images"][1] == {
        "image_id": 11, "classes": [0, 2], "iou": [1, 0], "tp": [1, 0], "fp": [0, 0], "fn": [0, 1],
    }  # fmt: skip


def test_score_per_image_table_lists_the_worst_first(files: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "images.csv"
    assert main(["score", "--gt", files[0], "--pred", files[1], "--per-image", str(out)]) == 0
    lines = list(csv.DictReader(out.open()))
    assert [line["image_id"] for line in lines] == ["11", "10"]
    assert lines[0] == {
        "image_id": "11", "file_name": "001.png", "pq": "0.5", "iou_sum": "1.0", "tp": "1", "fp": "0",
        "fn": "1",
    }  # fmt: skip


def test_score_per_image_table_distinguishes_equal_names_in_two_folders(files: tuple[str, str], tmp_path: Path) -> None:
    content = json.loads(Path(files[0]).read_text())
    for entry, name in zip(content["annotations"], ("a/same.png", "b/same.png"), strict=True):
        (tmp_path / "truth" / name).parent.mkdir()
        (tmp_path / "truth" / entry["file_name"]).rename(tmp_path / "truth" / name)
        entry["file_name"] = name
    Path(files[0]).write_text(json.dumps(content))
    out = tmp_path / "images.csv"
    assert main(["score", "--gt", files[0], "--pred", files[1], "--per-image", str(out)]) == 0
    assert [line["file_name"] for line in csv.DictReader(out.open())] == ["b/same.png", "a/same.png"]


def test_score_prints_the_scores(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "--gt", files[0], "--pred", files[1]]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "PQ† 83.3, boundary PQ 83.3" in out
    assert "all (2 classes)" in out


def test_score_png_folders_elsewhere_are_found_by_option(files: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "results").rename(tmp_path / "pngs")
    command = ["score", "--gt", files[0], "--pred", files[1]]
    assert main(command) == 2
    assert main([*command, "--pred-dir", str(tmp_path / "pngs"), "--gt-dir", str(tmp_path / "truth")]) == 0


def test_score_wrong_areas_and_extra_results_are_reported(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(Path(files[0]).read_text())
    content["annotations"] = content["annotations"][:1]
    content["annotations"][0]["segments_info"][0]["area"] = 3
    Path(files[0]).write_text(json.dumps(content))
    assert main(["score", "--gt", files[0], "--pred", files[1]]) == 0
    err = capsys.readouterr().err
    assert "the areas of 1 segments differ from the PNGs, such as segment 1 of image 10 with 3 instead of 24" in err
    assert "ignored 1 results of images that" in err


def test_score_matches_images_by_name_if_both_files_have_names(files: tuple[str, str], tmp_path: Path) -> None:
    """`seamseg predict` numbers images from 1, which may be the ids of other images in the annotation."""
    found = []
    for numbers in ([10, 11], [11, 10]):
        for file, ids in ((files[0], [10, 11]), (files[1], numbers)):
            content = json.loads(Path(file).read_text())
            content["images"] = [
                {"id": number, "file_name": f"{name}.jpg"} for number, name in zip(ids, "ab", strict=True)
            ]
            for annotation, number in zip(content["annotations"], ids, strict=True):
                annotation["image_id"] = number
            Path(file).write_text(json.dumps(content))
        assert main(["score", "--gt", files[0], "--pred", files[1], "--per-image", str(tmp_path / "images.csv")]) == 0
        found.append((tmp_path / "images.csv").read_text())
    assert found[0] == found[1]


def test_score_invalid_files_are_refused(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(Path(files[1]).read_text())
    content["annotations"][0]["segments_info"][0]["category_id"] = 5
    Path(files[1]).write_text(json.dumps(content))
    assert main(["score", "--gt", files[0], "--pred", files[1]]) == 2
    assert "category_id 5 is not among the categories" in capsys.readouterr().err
    folder = str(Path(files[0]).parent)
    assert main(["score", "--gt", folder, "--pred", files[1]]) == 2
    assert capsys.readouterr().err == f"seamseg: {folder} is a folder; pass a JSON file\n"


def test_score_writes_files_before_printing_scores(
    files: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(scores: Any) -> None:
        raise OSError("no terminal")

    monkeypatch.setattr("seamseg.cli.score.print_scores", fail)
    out = tmp_path / "scores.json"
    assert main(["score", "--gt", files[0], "--pred", files[1], "--json", str(out)]) == 2
    assert json.loads(out.read_text())["unreadable"] == []


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_score_names_that_the_terminal_cannot_show_are_escaped(
    files: tuple[str, str], monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    content = json.loads(Path(files[0]).read_text())
    content["categories"][0]["name"] = "caf\u00e9\ud800"
    Path(files[0]).write_text(json.dumps(content))
    shown = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(shown, encoding=encoding, write_through=True))
    assert main(["score", "--gt", files[0], "--pred", files[1]]) == 0
    assert rb"\ud800" in shown.getvalue()


def with_categories(results: str, moved: dict[int, int], **names: int) -> None:
    """Give the results their own category table, and change the category ids of their segments."""
    content = json.loads(Path(results).read_text())
    content["categories"] = [{"id": number, "name": name} for name, number in names.items()]
    for segment in (one for entry in content["annotations"] for one in entry["segments_info"]):
        segment["category_id"] = moved[segment["category_id"]]
    Path(results).write_text(json.dumps(content))


def test_score_categories_with_other_ids_are_matched_by_name(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.json"
    assert main(["score", "--gt", files[0], "--pred", files[1], "--json", str(out)]) == 0
    before = json.loads(out.read_text())
    with_categories(files[1], {7: 3, 3: 0}, car=0, road=1, person=2, sky=3, unseen=4)
    assert main(["score", "--gt", files[0], "--pred", files[1], "--json", str(out)]) == 0
    assert json.loads(out.read_text()) == before
    assert f"{files[1]}: the category ids of the results differ" in capsys.readouterr().err


def test_score_unknown_category_is_refused_by_name(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with_categories(files[1], {7: 3, 3: 0}, wheel=0, road=1, person=2, sky=3)
    assert main(["score", "--gt", files[0], "--pred", files[1]]) == 2
    assert "category_id 0 ('wheel') is not among the categories of the annotation" in capsys.readouterr().err


ANALYSIS = {
    "analysis.json", "classes.csv", "images.csv", "confusion_segments.csv", "confusion_pixels.csv", "sizes.png",
    "outcomes.png", "confusion_segments.png", "confusion_pixels.png", "worst.png",
}  # fmt: skip


def test_score_analysis_writes_all_files(files: tuple[str, str], tmp_path: Path) -> None:
    folder, scores = tmp_path / "new" / "analysis", tmp_path / "scores.json"
    command = ["score", "--gt", files[0], "--pred", files[1], "--json", str(scores)]
    assert main([*command, "--analysis", str(folder), "--per-image", str(tmp_path / "images.csv")]) == 0
    assert {path.name for path in folder.iterdir()} == ANALYSIS
    analysis = json.loads((folder / "analysis.json").read_text())
    assert analysis == json.loads(scores.read_text())["analysis"]
    assert analysis["outcomes"]["car"]["missed"] == analysis["by_size"]["small"]["fn"] == 1
    assert analysis["by_size"]["large"]["things"] == {"pq": None, "sq": None, "rq": None, "n": 0}
    assert [image["image_id"] for image in analysis["worst"]] == [11, 10]
    assert analysis["intervals"]["all"]["low"] < (1 + 2 / 3) / 2 < analysis["intervals"]["all"]["high"]
    assert (folder / "images.csv").read_text() == (tmp_path / "images.csv").read_text()
    lines = {line["class"]: line for line in csv.DictReader((folder / "classes.csv").open())}
    assert (lines["car"]["matched"], lines["car"]["missed"], lines["car"]["pq_large"]) == ("1", "1", "")
    assert float(lines["car"]["pq_small"]) == pytest.approx(2 / 3)
    segments = [line.split(",") for line in (folder / "confusion_segments.csv").read_text().splitlines()]
    assert segments[0] == ["true", "sky", "road", "car", "person", "unseen", "missed"]
    assert [line for line in segments if line[0] == "car"] == [["car", "0", "0", "1", "0", "0", "1"]]
    assert segments[-1][0] == "background"
    pixels = [line.split(",") for line in (folder / "confusion_pixels.csv").read_text().splitlines()]
    assert [line for line in pixels if line[0] == "car"] == [["car", "0", "0", "24", "0", "0", "24"]]
    for name in ANALYSIS:
        if name.endswith(".png"):
            assert min(cv2.imread(str(folder / name)).shape[:2]) > 200


def test_score_swapped_sizes_in_the_annotation_change_nothing(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["score", "--gt", files[0], "--pred", files[1]]
    assert main(arguments) == 0
    right = capsys.readouterr().out
    content = json.loads(Path(files[0]).read_text())
    for entry in content["images"]:
        entry["height"], entry["width"] = entry["width"], entry["height"]
    Path(files[0]).write_text(json.dumps(content))
    assert main(arguments) == 0
    assert capsys.readouterr().out == right


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (("--windows", "1,2"), "--video"),
        (("--video", "--per-image", "a.csv"), "--per-image"),
        (("--video", "--images", "a.txt"), "--images"),
        (("--video", "--analysis", "a"), "--analysis"),
        (("--video", "--calibration", "a"), "--calibration"),
        (("--video", "--confidence", "a"), "--confidence"),
    ],
)
def test_score_options_of_videos_and_images_are_not_mixed(
    refuses: Callable[..., str], tmp_path: Path, options: tuple[str, ...], fact: str
) -> None:
    assert fact in refuses("score", "--gt", tmp_path / "a.json", "--pred", tmp_path / "b.json", *options)


@pytest.mark.parametrize("option", ["--gt-dir", "--pred-dir"])
def test_score_video_folder_of_pngs_in_another_folder_is_refused(
    refuses: Callable[..., str], tmp_path: Path, option: str
) -> None:
    message = refuses("score", "--video", "--gt", tmp_path, "--pred", tmp_path, option, tmp_path)
    assert option in message
    assert str(tmp_path) in message


@pytest.mark.parametrize("windows", ["0", "1,x", "", "-2,1"])
def test_score_windows_that_are_not_numbers_of_frames_are_refused(command: Any, tmp_path: Path, windows: str) -> None:
    code, _, err = command("score", "--video", f"--windows={windows}", "--gt", tmp_path / "a", "--pred", tmp_path / "b")
    assert code == 2
    assert "1,2,3,4" in err
