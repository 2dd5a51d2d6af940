"""Files of a report: their content, reproducible bytes, and protection of other files."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.drawn_predictions import HEIGHT, WIDTH, DrawnPredictions, write_drawn_predictions
from support.odd_images import turned

from seamseg.cli import main
from seamseg.data.images import read_image
from seamseg.data.png import read_panoptic_png
from seamseg.report import open_material, write_report
from seamseg.report.image_files import PAGE


@pytest.fixture
def drawn(tmp_path: Path) -> DrawnPredictions:
    return write_drawn_predictions(tmp_path)


def write(drawn: DrawnPredictions, out: Path, **options: Any) -> None:
    write_report(open_material(drawn.predictions, truth_file=drawn.truth), out, **options)


def content(script: Path) -> Any:
    text = script.read_text()
    return json.loads(text[text.index("{") : text.rindex("}") + 1])


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_index_script_of_drawn_predictions_has_the_scores_of_seamseg_score(
    drawn: DrawnPredictions, tmp_path: Path
) -> None:
    write(drawn, tmp_path / "out")
    out = tmp_path / "scores.json"
    pred = drawn.predictions / "panoptic.json"
    assert main(["score", "--gt", str(drawn.truth), "--pred", str(pred), "--json", str(out)]) == 0
    scores, index = json.loads(out.read_text()), content(tmp_path / "out/data/index.js")
    for key in ("all", "things", "stuff", "miou", "pq_dagger"):
        assert index["scores"][key] == pytest.approx(scores[key])
    assert index["scores"]["boundary"]["all"] == pytest.approx(scores["boundary"]["all"])
    classes = {entry["name"]: entry for entry in index["classes"]}
    assert {name: entry["scores"]["pq"] for name, entry in classes.items() if entry["images"]} == {
        name: pytest.approx(line["pq"], abs=1e-6)
        for name, line in scores["per_class"].items()
        if line["pq"] is not None
    }
    assert classes["car"]["trueErrors"] == {"classification": 0, "localization": 1, "missed": 2}
    assert classes["car"]["falseErrors"] == {"classification": 1, "localization": 1, "duplicate": 1, "background": 0}
    assert classes["person"]["trueErrors"] == {"classification": 1, "localization": 0, "missed": 0}
    assert classes["person"]["falseErrors"] == {"classification": 0, "localization": 0, "duplicate": 0, "background": 1}
    for entry in classes.values():
        numbers = entry["scores"]["fn"], entry["scores"]["fp"]
        assert (sum(entry["trueErrors"].values()), sum(entry["falseErrors"].values())) == numbers
    street = index["images"][2]
    assert (street["name"], street["file"]) == ("street.jpg", "000002")
    assert (street["size"], street["segments"]) == ([60, 100], 7)
    assert street["pq"] == pytest.approx((2800 / 2900 + 1900 / 2260 + 0.8 / 3.5 + 0) / 4, abs=1e-5)
    assert sorted(street["errors"]) == [
        [2, "classification", 1], [2, "duplicate", 1], [2, "localization", 2], [2, "missed", 1],
        [3, "background", 1], [3, "classification", 1],
    ]  # fmt: skip
    assert street["score"] == pytest.approx((0.85 + 0.8 + 0.75 + 0.7 + 0.65) / 5)


def test_image_script_of_drawn_predictions_has_ids_and_outcomes(drawn: DrawnPredictions, tmp_path: Path) -> None:
    write(drawn, tmp_path / "out")
    image = content(tmp_path / "out/data/000002.js")
    assert image["size"] == image["shown"] == [HEIGHT, WIDTH]
    for side, png in (
        ("prediction", drawn.predictions / "panoptic/000.png"),
        ("truth", drawn.truth.with_suffix("") / "000.png"),
    ):
        rows = np.frombuffer(zlib.decompress(base64.b64decode(image[side]["ids"])), np.uint8).reshape(HEIGHT, WIDTH)
        assert (np.bitwise_xor.accumulate(rows, axis=0) == read_panoptic_png(png)).all()
    segments = image["prediction"]["segments"]
    assert [segment["class"] for segment in segments] == [-1, 0, 1, 2, 2, 2, 3, 2]
    assert segments[4]["area"] == 140
    assert [segment.get("score") for segment in segments] == [None, None, None, 0.85, 0.8, 0.75, 0.7, 0.65]
    assert segments[4] | {"color": ""} == {
        "class": 2, "area": 140, "color": "", "score": 0.8, "outcome": "localization", "partner": 4, "iou": 0.35,
    }  # fmt: skip
    kinds = ["ignored", "matched", "matched", "matched", "localization", "classification"]
    assert [segment["outcome"] for segment in segments] == [*kinds, "background", "duplicate"]
    assert [segment["outcome"] for segment in image["truth"]["segments"]] == [*kinds, "missed"]
    assert [segment.get("partner") for segment in segments] == [None, 1, 2, 3, 4, 5, None, 3]
    assert [segment.get("partner") for segment in image["truth"]["segments"]] == [None, 1, 2, 3, 4, 5, None]


def test_write_report_with_large_images_scales_them_down(drawn: DrawnPredictions, tmp_path: Path) -> None:
    write(drawn, tmp_path / "out", longest=50)
    image = content(tmp_path / "out/data/000002.js")
    assert (image["size"], image["shown"]) == ([60, 100], [30, 50])
    assert read_image(tmp_path / "out/images/000002.jpg").shape == (30, 50, 3)
    assert image["prediction"]["segments"][4]["area"] == 140
    with pytest.raises(ValueError, match="at least 1 pixel, not 0"):
        write(drawn, tmp_path / "other", longest=0)


def test_report_of_images_with_exif_data_contains_no_metadata_or_paths(drawn: DrawnPredictions, tmp_path: Path) -> None:
    path = drawn.image_folder / "street.jpg"
    data = path.read_bytes()
    secret = b"\xff\xe1\x00\x0eExif\0\0SECRET"
    path.write_bytes(data[:2] + secret + data[2:])
    write(drawn, tmp_path / "out")
    assert not any(b"SECRET" in data for data in files(tmp_path / "out").values())
    assert not any(str(tmp_path).encode() in data for data in files(tmp_path / "out").values())


def test_report_of_an_unreadable_image_shows_gray_and_a_note(drawn: DrawnPredictions, tmp_path: Path) -> None:
    write(drawn, tmp_path / "complete")
    (drawn.image_folder / "street.jpg").write_bytes(b"broken")
    unreadable = write_report(open_material(drawn.predictions, truth_file=drawn.truth), tmp_path / "out")
    assert unreadable == [
        f"{drawn.image_folder}/street.jpg cannot be decoded: it is truncated, damaged or not an image"
    ]
    complete, out = (content(tmp_path / name / "data/index.js") for name in ("complete", "out"))
    assert complete.pop("notes") == []
    (note,) = out.pop("notes")
    assert note.startswith("1 image cannot be read, for example street.jpg")
    assert complete == out
    assert (read_image(tmp_path / "out/images/000002.jpg") == 128).all()
    assert read_image(tmp_path / "out/thumbnails/000002.jpg").std() > 10
    assert not any(str(tmp_path).encode() in data for data in files(tmp_path / "out").values())


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("upright", [True, False])
def test_image_with_exif_orientation_is_turned_like_its_prediction(
    drawn: DrawnPredictions, tmp_path: Path, orientation: int, upright: bool
) -> None:
    """Predictions are upright, or, as the size shows for some orientations, made on the stored pixels."""
    path = drawn.image_folder / "street.jpg"
    stored = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    stored[:10] = 255
    is_rotated = orientation in (6, 8)
    if is_rotated and upright:
        stored = np.ascontiguousarray(np.rot90(stored))
    path.write_bytes(turned(orientation, stored))
    write(drawn, tmp_path / "out")
    shown = read_image(tmp_path / "out/images/000002.jpg")
    assert (shown == read_image(path, "upright" if upright or not is_rotated else "stored")).mean() > 0.9


def test_report_without_annotation_has_no_scores(drawn: DrawnPredictions, tmp_path: Path) -> None:
    write_report(open_material(drawn.predictions), tmp_path / "out")
    index = content(tmp_path / "out/data/index.js")
    assert (index["scores"], index["annotated"]) == (None, False)
    assert "pq" not in index["images"][0]
    assert content(tmp_path / "out/data/000000.js")["truth"] is None
    assert index["classes"][0]["share"] == pytest.approx(0.5, abs=0.02)


def test_report_with_any_number_of_workers_has_the_same_bytes(drawn: DrawnPredictions, tmp_path: Path) -> None:
    for image in range(40):  # enough for two processes
        name = f"more-{image}.jpg"
        (drawn.image_folder / name).write_bytes((drawn.image_folder / "street.jpg").read_bytes())
        for json_file, shift in ((drawn.truth, 0), (drawn.predictions / "panoptic.json", 1)):
            drawn.edit(json_file, lambda c, n=name, i=100 + image + shift: _repeat(c, n, i))
    seen: list[tuple[str, int, int]] = []
    write(drawn, tmp_path / "one", num_workers=1)
    write(drawn, tmp_path / "two", num_workers=2, on_progress=lambda *step: seen.append(step))
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert ("scores", 43, 43) in seen
    assert seen[-44:] == [("pages", done, 43) for done in range(44)]


def _repeat(content: dict[str, Any], name: str, image_id: int) -> None:
    content["images"].append(content["images"][0] | {"id": image_id, "file_name": name})
    content["annotations"].append(content["annotations"][0] | {"image_id": image_id})


def test_overwrite_of_a_report_replaces_all_of_its_files(drawn: DrawnPredictions, tmp_path: Path) -> None:
    write(drawn, tmp_path / "out")
    names = {path.name for path in PAGE.iterdir()} - {"index.html"}
    assert {path.name for path in (tmp_path / "out/page").iterdir()} == names
    before = files(tmp_path / "out")
    with pytest.raises(ValueError, match=r"out already holds a report; .*--overwrite"):
        write(drawn, tmp_path / "out")
    write(drawn, tmp_path / "out", overwrite=True, longest=50)
    assert files(tmp_path / "out").keys() == before.keys()
    assert files(tmp_path / "out") != before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gt", "images", "out", "predicted"]


@pytest.mark.parametrize("where", ["notes.txt", "images/mine.jpg", "data/000000.js.bak", "index.html"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_write_report_into_a_folder_with_other_files_raises_and_keeps_them(
    drawn: DrawnPredictions, tmp_path: Path, where: str, overwrite: bool
) -> None:
    out = tmp_path / "out"
    if where != "index.html":
        write(drawn, out)
    (out / where).parent.mkdir(exist_ok=True, parents=True)
    (out / where).write_text("mine")
    before = files(out)
    with pytest.raises(ValueError, match=rf"holds other files, such as {where};"):
        write(drawn, out, overwrite=overwrite)
    assert files(out) == before


def test_overwrite_of_a_report_with_a_symlink_raises(drawn: DrawnPredictions, tmp_path: Path) -> None:
    write(drawn, tmp_path / "out")
    (tmp_path / "out/more").symlink_to(drawn.image_folder)
    with pytest.raises(ValueError, match="holds other files, such as more"):
        write(drawn, tmp_path / "out", overwrite=True)


def test_write_report_into_an_empty_folder_works_and_onto_a_file_raises(
    drawn: DrawnPredictions, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    write(drawn, tmp_path / "out")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is a file; choose a folder"):
        write(drawn, tmp_path / "file", overwrite=True)


def test_write_report_with_broken_input_leaves_all_files_unchanged(drawn: DrawnPredictions, tmp_path: Path) -> None:
    write(drawn, tmp_path / "out")
    before = files(tmp_path)
    image_path, png = drawn.image_folder / "street.jpg", drawn.predictions / "panoptic/000.png"
    png.write_bytes(b"broken")
    for target in ("out", "new"):
        with pytest.raises(ValueError, match=r"000\.png cannot be decoded"):
            write(drawn, tmp_path / target, overwrite=True)
    png.write_bytes(before["predicted/panoptic/000.png"])
    cv2.imwrite(str(image_path), np.zeros((30, 50, 3), np.uint8))
    with pytest.raises(ValueError, match=r"street\.jpg is 30×50 .*, but its prediction .*000\.png is 60×100"):
        write(drawn, tmp_path / "new")
    image_path.write_bytes(before["images/street.jpg"])
    assert files(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gt", "images", "out", "predicted"]
