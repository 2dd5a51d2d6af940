"""`seamseg report`: what it says and refuses; `tests/report` looks at what it writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.drawn_predictions import DrawnPredictions, write_drawn_predictions


@pytest.fixture
def drawn(tmp_path: Path) -> DrawnPredictions:
    return write_drawn_predictions(tmp_path)


def test_it_says_where_the_report_is(command: Callable, drawn: DrawnPredictions, tmp_path: Path) -> None:
    out = tmp_path / "some" / "out"
    code, said, err = command("report", drawn.predictions, "--gt", drawn.truth, out, "--title", "My model")
    assert (code, said) == (0, f"3 images: {out}/index.html\n")
    assert "writing pages" in err
    assert '"title":"My model"' in (out / "data/index.js").read_text()
    assert command("report", drawn.predictions, out, "--overwrite", "--workers", 1).code == 0
    assert '"scores":null' in (out / "data/index.js").read_text()


def test_what_it_is_not_told_it_asks_for(refuses: Callable, drawn: DrawnPredictions, tmp_path: Path) -> None:
    drawn.edit(drawn.predictions / "panoptic.json", lambda content: content.pop("info"))
    said = refuses("report", drawn.predictions, tmp_path / "out")
    assert said.endswith("does not name the folder of its images; pass the folder of the images with --images")
    assert not (tmp_path / "out").exists()


def test_notes_go_to_the_user(command: Callable, drawn: DrawnPredictions, tmp_path: Path) -> None:
    drawn.edit(drawn.truth, lambda content: content["annotations"].pop())
    result = command("report", drawn.predictions, "--gt", drawn.truth, tmp_path / "out")
    assert "1 of 3 predicted images have no annotation" in result.err


def test_a_video_is_no_image(refuses: Callable, drawn: DrawnPredictions, tmp_path: Path) -> None:
    for path in drawn.image_paths.iterdir():
        path.unlink()
    (drawn.image_paths / "street.mp4").write_bytes(b"video")
    drawn.edit(
        drawn.predictions / "panoptic.json", lambda content: content["images"][0].update(file_name="street.mp4#000000")
    )
    said = refuses("report", drawn.predictions, tmp_path / "out")
    assert said.startswith("street.mp4#000000 is a frame of a video")


def test_a_folder_without_its_annotation(refuses: Callable, drawn: DrawnPredictions, tmp_path: Path) -> None:
    said = refuses("report", drawn.predictions, tmp_path / "out", "--gt-dir", tmp_path)
    assert said == "--gt-dir names the PNGs of an annotation; name its JSON file by --gt"


def test_images_that_are_gone_are_named(command: Callable, drawn: DrawnPredictions, tmp_path: Path) -> None:
    (drawn.image_paths / "street.jpg").unlink()
    code, _, err = command("report", drawn.predictions, tmp_path / "out")
    assert code == 3
    assert f"shown in gray: {drawn.image_paths}/street.jpg cannot be opened: No such file" in err


def test_images_that_cannot_be_read_are_named(command: Callable, drawn: DrawnPredictions, tmp_path: Path) -> None:
    (drawn.image_paths / "street.jpg").write_bytes(b"broken")
    code, said, err = command("report", drawn.predictions, tmp_path / "out")
    assert (code, said) == (3, f"3 images: {tmp_path}/out/index.html\n")
    assert f"shown in gray: {drawn.image_paths}/street.jpg cannot be decoded" in err


def test_predictions_of_the_command_are_shown(command: Callable, run_dir: Path, data: Path, tmp_path: Path) -> None:
    images = data / "images" / "val"
    assert command("predict", run_dir, images, tmp_path / "predicted", "--device", "cpu").code == 0
    truth = next((data / "annotations").glob("panoptic_val*.json"))
    result = command("report", tmp_path / "predicted", "--images", images, "--gt", truth, tmp_path / "predicted/report")
    assert result.code == 0, result.err
    assert result.out.startswith("3 images: ")
