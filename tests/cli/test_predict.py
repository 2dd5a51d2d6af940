"""`seamseg predict`: input images, and results as pictures and as a COCO panoptic data set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from support.odd_images import odd_images, vast_png

from seamseg.builders import build_predictor, open_model
from seamseg.data.formats.coco_json import read_index
from seamseg.data.png import read_panoptic_png
from seamseg.structures import VOID

JOURNAL = ".predictions.journal"
SIZES = {"a.png": (50, 70), "sub/b.jpg": (64, 33), "sub/deep/c.png": (20, 200)}


@pytest.fixture
def input_images(tmp_path: Path) -> Path:
    folder, generator = tmp_path / "images", np.random.default_rng(0)
    for name, (height, width) in SIZES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), generator.integers(0, 256, (height, width, 3), dtype=np.uint8))
    (folder / "notes.txt").write_text("no image\n")
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def images_of(out: Path) -> dict[str, dict[str, Any]]:
    return {image["file_name"]: image for image in json.loads((out / "panoptic.json").read_text())["images"]}


def test_predict_folder_writes_overlays_and_panoptic_results(
    command: Any, run_dir: Path, input_images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, stdout, _ = command("predict", run_dir, input_images, out)
    assert (code, stdout) == (0, f"3 images segmented: {out}\n")
    names = ("a", "sub/b", "sub/deep/c")
    expected = {f"overlay/{name}.jpg" for name in names} | {f"panoptic/{name}.png" for name in names}
    assert files(out) == expected | {"panoptic.json", JOURNAL}
    found = images_of(out)
    assert {name: (image["height"], image["width"]) for name, image in found.items()} == SIZES
    for name, size in SIZES.items():
        stem = name.rsplit(".", 1)[0]
        assert read_panoptic_png(out / "panoptic" / f"{stem}.png").shape == size
        overlay = cv2.imread(str(out / "overlay" / f"{stem}.jpg"))
        assert overlay is not None
        assert overlay.shape == (*size, 3)


def test_predict_results_equal_those_of_the_library(
    command: Any, run_dir: Path, input_images: Path, tmp_path: Path
) -> None:
    command("predict", run_dir, input_images, tmp_path / "out")
    model = open_model(run_dir, torch.device("cpu"))
    predictor = build_predictor(model, torch.device("cpu"))
    categories, records = read_index(tmp_path / "out" / "panoptic.json")
    assert categories == model.categories
    kinds = set()
    for record in records:
        image = cv2.imread(str(input_images / record.image_file))
        assert image is not None
        expected = predictor(np.ascontiguousarray(image[..., ::-1]))
        ids = read_panoptic_png(tmp_path / "out" / "panoptic" / record.segments.png_file)
        classes = np.full(int(ids.max()) + 1, VOID)
        classes[record.segments.ids] = record.segments.classes
        without_crowd = torch.where(expected.crowd[expected.ids], VOID, expected.semantics)
        assert (classes[ids] == without_crowd.numpy()).all()
        kinds |= {value >= categories.num_stuff for value in record.segments.classes[1:].tolist()}
    assert kinds == {True, False}


def test_predict_json_describes_every_segment(command: Any, run_dir: Path, input_images: Path, tmp_path: Path) -> None:
    command("predict", run_dir, input_images, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "panoptic.json").read_text())
    assert set(content) == {"info", "images", "annotations", "categories"}
    assert content["info"]["image_folder"] == str(input_images)
    for annotation in content["annotations"]:
        ids = read_panoptic_png(tmp_path / "out" / "panoptic" / annotation["file_name"])
        assert {segment["id"] for segment in annotation["segments_info"]} == set(ids[ids > 0].tolist())
        for segment in annotation["segments_info"]:
            rows, columns = np.nonzero(ids == segment["id"])
            x, y, width, height = segment["bbox"]
            assert segment["area"] == len(rows)
            assert (y, y + height, x, x + width) == (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)
            assert segment["iscrowd"] == 0
            assert 0 < segment["score"] <= 1


def test_predict_one_image_writes_its_results(command: Any, run_dir: Path, input_images: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    assert command("predict", run_dir / "model.safetensors", input_images / "sub" / "b.jpg", out).code == 0
    assert files(out) == {"overlay/b.jpg", "panoptic/b.png", "panoptic.json", JOURNAL}
    assert set(images_of(out)) == {"b.jpg"}


def test_predict_list_writes_each_image_once_in_order(
    command: Any, run_dir: Path, input_images: Path, tmp_path: Path
) -> None:
    listed = input_images / "list.txt"
    listed.write_text(f"sub/b.jpg\n\n{input_images / 'a.png'}\nsub/b.jpg\n")
    assert command("predict", run_dir, listed, tmp_path / "out").code == 0
    assert list(images_of(tmp_path / "out")) == ["sub/b.jpg", "a.png"]
    assert files(tmp_path / "out") == {
        "overlay/a.jpg",
        "overlay/b.jpg",
        "panoptic/a.png",
        "panoptic/b.png",
        "panoptic.json",
        JOURNAL,
    }


def test_predict_broken_images_are_skipped_and_listed(
    command: Any, run_dir: Path, input_images: Path, tmp_path: Path
) -> None:
    (input_images / "sub" / "broken.jpg").write_bytes((input_images / "sub" / "b.jpg").read_bytes()[:300])
    (input_images / "empty.png").write_bytes(b"")
    code, out, err = command("predict", run_dir, input_images, tmp_path / "out")
    assert (code, out) == (3, f"3 images segmented: {tmp_path / 'out'}\n")
    assert f"skipped: {input_images / 'empty.png'} is an empty file" in err
    assert f"skipped: {input_images / 'sub' / 'broken.jpg'} cannot be decoded" in err
    assert err.splitlines()[-1] == f"2 images could not be read: {tmp_path / 'out' / 'errors.json'}"
    assert set(images_of(tmp_path / "out")) == set(SIZES)
    assert "Traceback" not in err
    listed = json.loads((tmp_path / "out" / "errors.json").read_text())
    assert [entry["file_name"] for entry in listed] == ["empty.png", "sub/broken.jpg"]
    assert listed[0]["error"] == f"{input_images / 'empty.png'} is an empty file"


def test_predict_odd_images_are_segmented_or_skipped_with_a_reason(command: Any, run_dir: Path, tmp_path: Path) -> None:
    """Check also that results are rotated by the EXIF orientation, like the image on the screen."""
    folder, out, odd = tmp_path / "odd", tmp_path / "out", odd_images()
    folder.mkdir()
    for name, image in odd.items():
        (folder / name).write_bytes(image.data)
    (folder / "vast.png").write_bytes(vast_png(20_000, 20_000))
    code, stdout, err = command("predict", run_dir, folder, out)
    sizes = {name: image.expected.shape[:2] for name, image in odd.items() if image.expected is not None}
    assert (code, stdout) == (3, f"{len(sizes)} images segmented: {out}\n")
    assert {name: (image["height"], image["width"]) for name, image in images_of(out).items()} == sizes
    turned = cv2.imread(str(out / "overlay/rotated.jpg"))
    assert turned is not None
    assert turned.shape[:2] == read_panoptic_png(out / "panoptic/rotated.png").shape == (56, 40)
    lines = [line for line in err.splitlines() if line.startswith("skipped: ")]
    assert not [line for line in err.splitlines() if line.startswith("Corrupt JPEG")]  # warnings of libjpeg
    refused = [f"skipped: {folder / name} {image.said}" for name, image in odd.items() if image.expected is None]
    for beginning in refused:
        (line,) = (line for line in lines if line.startswith(beginning))
        lines.remove(line)
    (vast,) = lines
    assert f"{folder / 'vast.png'} is 20000×20000 pixels" in vast
    assert "134,217,728" in vast


def test_predict_12_bit_values_in_16_bit_images_are_reported(command: Any, run_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    for name, top in (("a.png", 4095), ("b.png", 65535), ("c.png", 900), ("black.png", 0)):
        pixels = np.linspace(0, top, 40 * 50 * 3).reshape(40, 50, 3).astype(np.uint16)
        assert cv2.imwrite(str(folder / name), pixels)
    code, _, err = command("predict", run_dir, folder, tmp_path / "out")
    assert code == 0
    (line,) = (line for line in err.splitlines() if "16-bit" in line)
    assert line.startswith("2 16-bit images")
    assert "a.png" in line
    assert "4096" in line


def test_predict_results_of_a_list_with_images_elsewhere_make_a_report(
    command: Any, run_dir: Path, input_images: Path, tmp_path: Path
) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "list.txt").write_text(f"{input_images / 'a.png'}\n{input_images}/sub/../sub/b.jpg\n")
    assert command("predict", run_dir, tmp_path / "lists" / "list.txt", tmp_path / "out").code == 0
    assert all(not Path(name).is_absolute() and ".." not in name for name in images_of(tmp_path / "out"))
    assert command("report", tmp_path / "out", tmp_path / "page").code == 0


@pytest.mark.parametrize("name", ["a\tb.png", "caf\udce9.png"])
def test_predict_file_names_that_a_report_refuses_are_refused_at_the_start(
    command: Any, run_dir: Path, input_images: Path, tmp_path: Path, name: str
) -> None:
    (input_images / "a.png").rename(input_images / name)
    code, _, err = command("predict", run_dir, input_images, tmp_path / "out")
    assert code == 2
    assert repr(name) in err
    assert not (tmp_path / "out").exists()


def test_predict_missing_file_in_a_list_is_skipped(
    command: Any, run_dir: Path, input_images: Path, tmp_path: Path
) -> None:
    (input_images / "list.txt").write_text("a.png\nnone.png\n")
    code, _, err = command("predict", run_dir, input_images / "list.txt", tmp_path / "out")
    assert code == 3
    assert f"skipped: {input_images / 'none.png'} cannot be opened: No such file or directory" in err


@pytest.mark.parametrize("number", [1, 2])
def test_predict_only_broken_images_writes_an_empty_result(
    command: Any, run_dir: Path, tmp_path: Path, number: int
) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "b.jpg")[:number]:
        (tmp_path / "images" / name).write_bytes(b"\xff\xd8\xff\xe0")
    code, stdout, err = command("predict", run_dir, tmp_path / "images", tmp_path / "out")
    assert (code, stdout) == (3, f"0 images segmented: {tmp_path / 'out'}\n")
    assert err.count("cannot be decoded") == number
    assert images_of(tmp_path / "out") == {}
    assert len(json.loads((tmp_path / "out" / "errors.json").read_text())) == number


def test_predict_without_images_is_refused(refuses: Callable[..., str], run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refuses("predict", run_dir, tmp_path / "none.jpg", tmp_path / "out").startswith(
        f"{tmp_path / 'none.jpg'} does not exist"
    )
    sentence = refuses("predict", run_dir, tmp_path / "empty", tmp_path / "out")
    assert sentence.startswith(f"{tmp_path / 'empty'} contains no images")
    assert not (tmp_path / "out").exists()


def test_predict_without_a_model_is_refused(refuses: Callable[..., str], input_images: Path, tmp_path: Path) -> None:
    assert "there is no model" in refuses("predict", tmp_path / "none", input_images, tmp_path / "out")
    (tmp_path / "run").mkdir()
    assert "contains no model" in refuses("predict", tmp_path / "run", input_images, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_predict_other_files_in_the_folder_are_reported_in_one_line(
    command: Any, run_dir: Path, input_images: Path, tmp_path: Path
) -> None:
    (input_images / ".ipynb_checkpoints").mkdir()
    (input_images / ".ipynb_checkpoints/a.png").write_bytes(b"x")
    (input_images / "sub/._b.jpg").write_bytes(b"x")
    code, stdout, err = command("predict", run_dir, input_images, tmp_path / "out")
    assert (code, stdout) == (0, f"3 images segmented: {tmp_path / 'out'}\n")
    (line,) = [line for line in err.splitlines() if line.startswith("skipped in")]
    assert "2 hidden or system file(s) (.ipynb_checkpoints, sub/._b.jpg)" in line
    assert "1 with other suffixes (notes.txt)" in line
