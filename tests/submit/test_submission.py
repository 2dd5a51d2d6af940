"""Submission archives: complete content, atomic writing, and equal bytes with any number of processes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from support.predicted_folder import unpacked, write_predictions

from seamseg.data.formats.coco_json import open_annotation, open_results
from seamseg.data.labels.cityscapes import CITYSCAPES as CLASSES
from seamseg.data.png import read_panoptic_png
from seamseg.submit.benchmark import CITYSCAPES
from seamseg.submit.formats import FormatName, Packer
from seamseg.submit.predictions import category_ids, open_predictions
from seamseg.submit.selection import select_images
from seamseg.submit.submission import Submission, write_submission

SIZE = (24, 40)
SMALL = dataclasses.replace(CITYSCAPES, size=SIZE)
FRAMES = [f"ulm_{i:06}_000019_leftImg8bit.png" for i in range(33)]  # enough for two processes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_predictions(tmp_path_factory.mktemp("predicted"), CLASSES, FRAMES, SIZE)


def submit(folder: Path, path: Path, form: FormatName, num_workers: int = 1) -> Submission:
    predictions = open_predictions(folder)
    packer = Packer(
        form, path.stem, category_ids(predictions.categories, predictions.json_file, SMALL), CLASSES.num_stuff
    )
    progress: list[int] = []
    written = write_submission(path, select_images(predictions, SMALL), packer, num_workers, progress.append)
    assert progress == list(range(1, len(predictions.images) + 1))
    return written


def test_panoptic_submission_read_back_equals_the_predictions(folder: Path, tmp_path: Path) -> None:
    written = submit(folder, tmp_path / "sent.zip", "panoptic")
    unpacked(tmp_path / "sent.zip", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"sent.zip", "sent", "sent.json"}
    before = open_annotation(folder / "panoptic.json", None)
    json_file = tmp_path / "sent.json"
    content = json.loads(json_file.read_text())
    assert list(content) == ["annotations"]
    after = open_results(json_file, None, CLASSES)
    assert written.num_images == len(after.images) == len(before.images) == 33
    assert written.num_segments == sum(len(image.ids) - 1 for image in after.images.values())
    for one, (image_id, other) in zip(before.images.values(), after.images.items(), strict=True):
        assert one.png.name.startswith(str(image_id))
        order = np.argsort(one.ids)
        assert (one.ids[order] == other.ids[np.argsort(other.ids)]).all()
        assert (one.classes[order] == other.classes[np.argsort(other.ids)]).all()
        assert (read_panoptic_png(one.png) == read_panoptic_png(other.png)).all()


@pytest.mark.parametrize(("form", "workers"), [pytest.param("panoptic", 2, marks=pytest.mark.slow), ("instances", 1)])
def test_write_submission_gives_equal_bytes_with_any_number_of_workers(
    folder: Path, tmp_path: Path, form: FormatName, workers: int
) -> None:
    contents = []
    for number in (1, workers):
        submit(folder, tmp_path / "sent.zip", form, number)
        contents.append((tmp_path / "sent.zip").read_bytes())
    assert contents[0] == contents[1]


def test_write_submission_on_failure_keeps_existing_archive(tmp_path: Path) -> None:
    folder = write_predictions(tmp_path / "predicted", CLASSES, FRAMES[:3], SIZE)
    (folder / "panoptic" / f"{Path(FRAMES[2]).stem}.png").write_bytes(b"broken")
    out = tmp_path / "out"
    out.mkdir()
    (out / "sent.zip").write_bytes(b"an earlier one")
    with pytest.raises(ValueError, match="cannot be decoded"):
        submit(folder, out / "sent.zip", "panoptic")
    assert [path.name for path in out.iterdir()] == ["sent.zip"]
    assert (out / "sent.zip").read_bytes() == b"an earlier one"
