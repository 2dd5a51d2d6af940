"""`seamseg import-model`: a published archive becomes a model folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from support.published_archive import SMALL, metadata, small_archive, small_network, write_archive, write_zip

from seamseg.builders import open_model


def test_import_model_archive_becomes_a_folder_with_equal_weights(command: Any, tmp_path: Path) -> None:
    archive, out = small_archive(tmp_path), tmp_path / "models" / "out"
    code, stdout, notes = command("import-model", archive, out)
    assert (code, stdout) == (0, f"imported: {out}\n")
    assert "optimizer, loss_meter" in notes.splitlines()[0]
    found, expected = open_model(out, torch.device("cpu")).network.state_dict(), small_network().state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_import_model_folder_and_archive_predict_the_same(command: Any, tmp_path: Path) -> None:
    """The JSON files are equal except for the name of the model."""
    archive = small_archive(tmp_path)
    assert command("import-model", archive, tmp_path / "model").code == 0
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    assert cv2.imwrite(str(tmp_path / "photo.png"), image)
    for model, out in ((archive, "one"), (tmp_path / "model", "two")):
        assert command("predict", model, tmp_path / "photo.png", tmp_path / out, "--device", "cpu").code == 0
    one, other = (json.loads((tmp_path / out / "panoptic.json").read_text()) for out in ("one", "two"))
    assert [str(Path(content["info"].pop("model")).name) for content in (one, other)] == [archive.name, "model"]
    assert one == other
    assert [category["name"] for category in one["categories"]] == ["stuff--0", "stuff--1", "thing--2"]


def test_import_model_settings_without_counterpart_are_reported_line_by_line(command: Any, tmp_path: Path) -> None:
    config = SMALL.format(mode="bn") + "[roi]\nsigma = 2\nnovelty = 1\n"
    archive = write_archive(tmp_path / "model.zip", small_network().state_dict(), config, metadata(2, 1))
    _, _, notes = command("import-model", archive, tmp_path / "out")
    assert len(notes.splitlines()) == 3
    assert "[roi] sigma = 2.0" in notes
    assert "[roi] novelty = 1" in notes


def test_import_model_overwrites_only_with_the_option(command: Any, refuses: Any, tmp_path: Path) -> None:
    archive, out = small_archive(tmp_path), tmp_path / "out"
    assert command("import-model", archive, out).code == 0
    (out / "config.yaml").write_text("mine")
    assert "--overwrite" in refuses("import-model", archive, out)
    assert (out / "config.yaml").read_text() == "mine"
    assert command("import-model", archive, out, "--overwrite").code == 0
    open_model(out, torch.device("cpu"))


def test_import_model_invalid_archives_are_refused(refuses: Any, tmp_path: Path) -> None:
    assert "none.zip: No such file" in refuses("import-model", tmp_path / "none.zip", tmp_path / "out")
    write_zip(tmp_path / "photos.zip", {"a.jpg": b""})
    assert "has no config.ini" in refuses("import-model", tmp_path / "photos.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()
