"""`seamseg predict`: kinds of output, options, resuming, and problems with the output folder."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from support.command_processes import COMMAND, environment
from support.folder_files import visible_files
from support.full_disk import file_size_limit

from seamseg.builders import open_model
from seamseg.data.png import read_panoptic_png
from seamseg.predict import pipeline
from seamseg.predict.outputs import OUTPUT_KINDS

SIZES = {"a.png": (50, 70), "sub/b.png": (64, 33), "sub/c.png": (64, 90)}


@pytest.fixture(scope="module")
def input_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, generator = tmp_path_factory.mktemp("predict") / "images", np.random.default_rng(0)
    for name, (height, width) in SIZES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), generator.integers(0, 256, (height, width, 3), dtype=np.uint8))
    return folder


@pytest.fixture
def everything(command: Any, run_dir: Path, input_images: Path, tmp_path: Path) -> Path:
    out = tmp_path / "everything"
    assert (
        command("predict", run_dir, input_images, out, "--write", "raw,overlay,panoptic,semantic,instances").code == 0
    )
    return out


def test_predict_all_outputs_are_consistent(everything: Path, run_dir: Path) -> None:
    categories = open_model(run_dir, torch.device("cpu")).categories
    index = json.loads((everything / "panoptic.json").read_text())
    assert json.loads((everything / "categories.json").read_text()) == index["categories"]
    instances = json.loads((everything / "instances.json").read_text())
    assert instances
    for image, annotation in zip(index["images"], index["annotations"], strict=True):
        name = annotation["file_name"].removesuffix(".png")
        ids = read_panoptic_png(everything / "panoptic" / f"{name}.png")
        semantic = cv2.imread(str(everything / "semantic" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        assert semantic is not None
        assert semantic.dtype == np.uint8
        raw = np.load(everything / "raw" / f"{name}.npz")
        assert ids.shape == semantic.shape == raw["ids"].shape == SIZES[image["file_name"]]
        assert (raw["classes"][raw["ids"]] == semantic).all()
        for segment in annotation["segments_info"]:
            number = categories.class_of_original_id[segment["category_id"]]
            assert (semantic[ids == segment["id"]] == number).all()
            assert segment["score"] == pytest.approx(raw["scores"][segment["id"]], abs=1e-6)
        mine = [one for one in instances if one["image_id"] == image["id"]]
        assert {one["file_name"] for one in mine} == {image["file_name"]}
        assert [one["score"] for one in mine] == pytest.approx(raw["box_scores"].tolist(), abs=1e-6)
        for one, box, logits in zip(mine, raw["boxes"], raw["mask_logits"], strict=True):
            x, y, width, height = one["bbox"]
            assert (y, x, y + height, x + width) == pytest.approx(tuple(box), abs=0.02)
            mask = coco_mask.decode(one["segmentation"])
            assert mask.shape == ids.shape
            rows, columns = np.nonzero(mask)
            assert logits.shape == (28, 28)
            if len(rows):
                assert y - 1 <= rows.min() <= rows.max() <= y + height + 1
                assert x - 1 <= columns.min() <= columns.max() <= x + width + 1
        assert raw["semantic_logits"].shape[0] == len(categories)


@pytest.mark.parametrize("kind", [kind for kind in OUTPUT_KINDS if kind != "step"])  # requires --track
def test_predict_writes_only_the_requested_outputs(
    command: Any, run_dir: Path, input_images: Path, tmp_path: Path, kind: str
) -> None:
    assert command("predict", run_dir, input_images / "a.png", tmp_path / "out", "--write", kind).code == 0
    found = {
        "overlay": {"overlay/a.jpg"},
        "panoptic": {"panoptic/a.png", "panoptic.json"},
        "semantic": {"semantic/a.png", "categories.json"},
        "instances": {"instances.json", "categories.json"},
        "raw": {"raw/a.npz", "categories.json"},
        "labelstudio": {"labelstudio.json", "labelstudio.xml"},
        "cvat": {"cvat.json", "cvat_labels.json"},
        "confidence": {"confidence/a.png"},
        "ranking": {"ranking.json"},
    }
    assert set(visible_files(tmp_path / "out")) == found[kind]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--write=panoptic,pictures", "unknown output: pictures; choose from overlay, panoptic"),
        ("--write=,", "no output is named"),
        ("--scales=1,x", "is not a comma-separated list of numbers"),
        ("--scales=1,0", "scales must be one or more numbers > 0"),
        ("--batch-size=0", "must be an integer >= 1"),
        ("--score-threshold=1.5", "score_threshold must be in 0 … 1"),
        ("--min-stuff-area=-1", "min_stuff_area must be"),
        ("--eval-norm=2", "statistics must be in 0 … 1"),
    ],
)
def test_predict_invalid_options_are_refused(
    command: Any, run_dir: Path, input_images: Path, tmp_path: Path, option: str, message: str
) -> None:
    code, _, err = command("predict", run_dir, input_images, tmp_path / "out", option)
    assert code == 2
    assert message in err
    assert not (tmp_path / "out").exists()


def segments(out: Path) -> list[dict[str, Any]]:
    index = json.loads((out / "panoptic.json").read_text())
    return [segment for annotation in index["annotations"] for segment in annotation["segments_info"]]


def test_predict_thresholds_change_the_segments(
    command: Any, run_dir: Path, input_images: Path, tmp_path: Path
) -> None:
    def run(name: str, *options: str) -> list[dict[str, Any]]:
        assert command("predict", run_dir, input_images, tmp_path / name, "--write=panoptic", *options).code == 0
        return segments(tmp_path / name)

    plain, sure = run("plain"), run("sure", "--score-threshold=1")
    things = {category["id"] for category in json.loads((tmp_path / "plain/panoptic.json").read_text())["categories"]
              if category["isthing"]}  # fmt: skip
    assert any(segment["category_id"] in things for segment in plain)
    assert not any(segment["category_id"] in things for segment in sure)
    large = run("large", "--min-stuff-area=0.3", "--score-threshold=1")
    area = {1: 0.3 * 50 * 70, 2: 0.3 * 64 * 33, 3: 0.3 * 64 * 90}
    assert len(large) < len(sure)
    assert all(segment["area"] >= min(area.values()) for segment in large)
    assert len(run("free", "--overlap-threshold=0")) <= len(plain)
    half = run("half", "--precision=bf16", "--batch-size=2", "--scales=1,1.5", "--flip", "--eval-norm=0.25")
    assert half
    info = json.loads((tmp_path / "half/panoptic.json").read_text())["info"]
    assert (info["precision"], info["scales"], info["flip"]) == ("bf16", [1.0, 1.5], True)
    assert info["eval_norm"] == 0.25


class Killed(Exception):
    """Stand-in for a killed process."""


def test_predict_stopped_run_is_resumed_to_the_same_files(
    command: Any, run_dir: Path, input_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("predict", run_dir, input_images, tmp_path / "whole").code == 0
    whole, out = visible_files(tmp_path / "whole"), tmp_path / "out"
    asked: list[int] = []
    original = pipeline._predicted

    def dies(*given: Any) -> Iterator[Any]:
        for number, found in enumerate(original(*given)):
            if number == 2:
                raise Killed
            asked.append(number)
            yield found

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "_predicted", dies)
        patched.setattr(pipeline, "MOST_THREADS", 1)
        patched.setattr(pipeline, "ordered_map", lambda function, items, threads, ahead: map(function, items))
        with pytest.raises(Killed):
            command("predict", run_dir, input_images, out)
    assert len(asked) == 2
    assert not (out / "panoptic.json").exists()
    assert all(whole[name] == data for name, data in visible_files(out).items())

    (out / "panoptic" / ".part.a.png").write_bytes(b"torn")
    assert command("predict", run_dir, input_images, out).code == 2
    code, stdout, _ = command("predict", run_dir, input_images, out, "--resume")
    assert (code, stdout) == (0, f"3 images segmented (2 of them in an earlier run): {out}\n")
    assert visible_files(out) == whole
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert command("predict", run_dir, input_images, out, "--resume").out.startswith("3 images segmented (3 of them")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.png")} == stamps
    sentence = command("predict", run_dir, input_images, out, "--resume", "--flip")
    assert sentence.code == 2
    assert "made with another model, video or options" in sentence.err
    assert visible_files(out) == whole


def test_predict_resume_segments_a_repaired_image(
    command: Any, run_dir: Path, input_images: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    (folder / "a.png").write_bytes((input_images / "a.png").read_bytes())
    (folder / "b.png").write_bytes(b"")
    assert command("predict", run_dir, folder, out).code == 3
    assert (out / "errors.json").exists()
    (folder / "b.png").write_bytes((input_images / "sub/b.png").read_bytes())
    assert (
        command("predict", run_dir, folder, out, "--resume").out
        == f"2 images segmented (1 of them in an earlier run): {out}\n"
    )
    assert not (out / "errors.json").exists()


def test_predict_odd_file_names_are_written_or_refused(
    command: Any, run_dir: Path, input_images: Path, tmp_path: Path
) -> None:
    """Names of maximum length, with bytes that are not UTF-8, and from a list written on Windows."""
    folder, out, listed = tmp_path / "odd", tmp_path / "out", tmp_path / "list.txt"
    folder.mkdir()
    pixels = (input_images / "a.png").read_bytes()
    (folder / ("漢" * 80 + ".png")).write_bytes(pixels)
    broken = Path(os.fsdecode(os.fsencode(folder) + b"/\xff.png"))
    broken.write_bytes(b"broken")
    words = [*COMMAND, "predict", str(run_dir), str(folder), str(out), "--device", "cpu"]
    refused = subprocess.run(words, env=environment(), capture_output=True, check=False)
    assert (refused.returncode, out.exists()) == (2, False)
    assert b"not UTF-8" in refused.stderr
    assert b"Traceback" not in refused.stderr
    broken.unlink()
    assert command("predict", run_dir, folder, out).code == 0
    assert (out / "panoptic" / ("漢" * 80 + ".png")).exists()
    listed.write_text(f"{input_images / 'a.png'}\n", encoding="utf-8-sig")
    assert command("predict", run_dir, listed, tmp_path / "other").code == 0


def test_predict_output_folder_inside_the_image_folder_is_not_an_input(
    command: Any, run_dir: Path, input_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "a.png").write_bytes((input_images / "a.png").read_bytes())
    monkeypatch.chdir(folder)
    assert command("predict", run_dir, "../here", "out").code == 0
    assert (
        command("predict", run_dir, "../here", "out", "--resume").out
        == "1 image segmented (1 of them in an earlier run): out\n"
    )


def test_predict_resume_with_other_input_path_updates_the_file_names(
    command: Any, run_dir: Path, input_images: Path, tmp_path: Path
) -> None:
    """File names and the recorded image folder are relative to the input of the last run."""
    out, listed = tmp_path / "out", tmp_path / "images.txt"
    listed.write_text(f"{input_images / 'a.png'}\n")
    assert command("predict", run_dir, input_images / "a.png", out, "--write=panoptic,instances").code == 0
    result = command("predict", run_dir, listed, out, "--write=panoptic,instances", "--resume")
    assert result.out == f"1 image segmented (1 of them in an earlier run): {out}\n"
    content = json.loads((out / "panoptic.json").read_text())
    assert Path(content["info"]["image_folder"], content["images"][0]["file_name"]).is_file()
    named = {one["file_name"] for one in json.loads((out / "instances.json").read_text())}
    assert named == {content["images"][0]["file_name"]}


def test_predict_resume_with_same_name_in_another_folder_segments_it(
    command: Any, run_dir: Path, input_images: Path, tmp_path: Path
) -> None:
    """The images have the same name, size and time, as if unpacked from an archive."""
    folders = [tmp_path / "one", tmp_path / "other"]
    for value, folder in enumerate(folders):
        folder.mkdir()
        cv2.imwrite(str(folder / "a.bmp"), np.full((50, 70, 3), 100 * value, np.uint8))
        os.utime(folder / "a.bmp", (1, 1))
    assert command("predict", run_dir, folders[0], tmp_path / "out").code == 0
    result = command("predict", run_dir, folders[1], tmp_path / "out", "--resume")
    assert result.out == f"1 image segmented: {tmp_path / 'out'}\n"


def test_predict_resume_in_a_moved_output_folder_continues(
    command: Any, run_dir: Path, input_images: Path, tmp_path: Path
) -> None:
    out, moved = tmp_path / "out", tmp_path / "moved"
    assert command("predict", run_dir, input_images, out).code == 0
    out.rename(moved)
    (moved / "panoptic" / "a.png").unlink()
    result = command("predict", run_dir, input_images, moved, "--resume")
    assert result.out == f"3 images segmented (2 of them in an earlier run): {moved}\n"
    assert (moved / "panoptic" / "a.png").exists()


def test_predict_folder_with_other_files_is_refused(
    refuses: Callable[..., str], run_dir: Path, input_images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "overlay").mkdir(parents=True)
    (out / "overlay" / "a.jpg").write_text("mine")
    sentence = refuses("predict", run_dir, input_images, out)
    assert sentence.startswith(f"{out} is not empty; ")
    assert "--overwrite" in sentence
    assert "--resume" not in sentence
    assert visible_files(out) == {"overlay/a.jpg": b"mine"}
    (tmp_path / "file").write_text("x")
    assert "is a file; choose a folder" in refuses("predict", run_dir, input_images, tmp_path / "file")
    assert "Not a directory" in refuses("predict", run_dir, input_images, tmp_path / "file" / "out")


def test_predict_overwrite_replaces_only_its_own_files(
    command: Any, run_dir: Path, input_images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "overlay").mkdir(parents=True)
    (out / "overlay" / "a.jpg").write_text("mine")
    kept = ("notes.txt", "errors.json", "instances.json", "overlay.mp4", ".frames/a.npz")
    (out / ".frames").mkdir()
    for name in kept:
        (out / name).write_text("keep")
    assert command("predict", run_dir, input_images, out, "--overwrite").code == 0
    assert [(out / name).read_text() for name in kept] == ["keep"] * len(kept)
    for name in kept[1:]:
        (out / name).unlink()
    assert cv2.imread(str(out / "overlay" / "a.jpg")) is not None
    assert command("predict", run_dir, input_images / "a.png", out, "--overwrite", "--write=panoptic").code == 0
    assert set(visible_files(out)) == {"notes.txt", "panoptic/a.png", "panoptic.json"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_predict_without_permission_is_refused(
    refuses: Callable[..., str], run_dir: Path, input_images: Path, tmp_path: Path
) -> None:
    tmp_path.chmod(0o500)
    assert "Permission denied" in refuses("predict", run_dir, input_images, tmp_path / "out")


def test_predict_read_only_file_system_is_refused(
    refuses: Callable[..., str], run_dir: Path, input_images: Path
) -> None:
    sentence = refuses("predict", run_dir, input_images, "/proc/predictions")
    assert sentence.startswith("/proc/predictions: ")


def test_predict_full_disk_leaves_only_complete_files(
    refuses: Callable[..., str], command: Any, run_dir: Path, input_images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with file_size_limit(12_000):
        sentence = refuses("predict", run_dir, input_images, out, "--write=panoptic,raw")
    assert sentence.endswith(".npz: File too large")
    assert not (out / "panoptic.json").exists()
    assert not list(out.rglob("*.npz"))
    assert not list(out.rglob(".part*"))
    assert command("predict", run_dir, input_images, out, "--write=panoptic,raw", "--resume").code == 0
    assert len(visible_files(out)) == 8
