"""`seamseg report`: messages and invalid arguments. `tests/report` tests the pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.drawn_predictions import DrawnPredictions, write_drawn_predictions


@pytest.fixture
def drawn(tmp_path: Path) -> DrawnPredictions:
    return write_drawn_predictions(tmp_path)


def test_report_prints_the_path_of_the_report(command: Callable, drawn: DrawnPredictions, tmp_path: Path) -> None:
    out = tmp_path / "some" / "out"
    code, message, err = command("report", drawn.predictions, "--gt", drawn.truth, out, "--title", "My model")
    assert (code, message) == (0, f"3 images: {out}/index.html\n")
    assert "writing pages" in err
    assert '"title":"My model"' in (out / "data/index.js").read_text()
    assert command("report", drawn.predictions, out, "--overwrite", "--workers", 1).code == 0
    assert '"scores":null' in (out / "data/index.js").read_text()


def test_report_without_image_folder_names_the_option(
    refuses: Callable, drawn: DrawnPredictions, tmp_path: Path
) -> None:
    drawn.edit(drawn.predictions / "panoptic.json", lambda content: content.pop("info"))
    message = refuses("report", drawn.predictions, tmp_path / "out")
    assert message.endswith("does not name the folder of its images; pass the folder of the images with --images")
    assert not (tmp_path / "out").exists()


def test_report_images_without_annotation_are_reported(
    command: Callable, drawn: DrawnPredictions, tmp_path: Path
) -> None:
    drawn.edit(drawn.truth, lambda content: content["annotations"].pop())
    result = command("report", drawn.predictions, "--gt", drawn.truth, tmp_path / "out")
    assert "1 of 3 predicted images have no annotation" in result.err


def test_report_of_a_video_is_refused(refuses: Callable, drawn: DrawnPredictions, tmp_path: Path) -> None:
    for path in drawn.image_folder.iterdir():
        path.unlink()
    (drawn.image_folder / "street.mp4").write_bytes(b"video")
    drawn.edit(
        drawn.predictions / "panoptic.json", lambda content: content["images"][0].update(file_name="street.mp4#000000")
    )
    message = refuses("report", drawn.predictions, tmp_path / "out")
    assert message.startswith("street.mp4#000000 is a frame of a video")


def test_report_gt_dir_without_gt_is_refused(refuses: Callable, drawn: DrawnPredictions, tmp_path: Path) -> None:
    message = refuses("report", drawn.predictions, tmp_path / "out", "--gt-dir", tmp_path)
    assert message == "--gt-dir requires --gt, the JSON file of the annotation"


def test_report_missing_images_are_listed(command: Callable, drawn: DrawnPredictions, tmp_path: Path) -> None:
    (drawn.image_folder / "street.jpg").unlink()
    code, _, err = command("report", drawn.predictions, tmp_path / "out")
    assert code == 3
    assert f"shown in gray: {drawn.image_folder}/street.jpg cannot be opened: No such file" in err


def test_report_broken_images_are_listed(command: Callable, drawn: DrawnPredictions, tmp_path: Path) -> None:
    (drawn.image_folder / "street.jpg").write_bytes(b"broken")
    code, message, err = command("report", drawn.predictions, tmp_path / "out")
    assert (code, message) == (3, f"3 images: {tmp_path}/out/index.html\n")
    assert f"shown in gray: {drawn.image_folder}/street.jpg cannot be decoded" in err


def test_report_of_predict_results_shows_every_image(
    command: Callable, run_dir: Path, data: Path, tmp_path: Path
) -> None:
    images = data / "images" / "val"
    assert command("predict", run_dir, images, tmp_path / "predicted", "--device", "cpu").code == 0
    truth = next((data / "annotations").glob("panoptic_val*.json"))
    result = command("report", tmp_path / "predicted", "--images", images, "--gt", truth, tmp_path / "predicted/report")
    assert result.code == 0, result.err
    assert result.out.startswith("3 images: ")
