"""Model folders: writing, reading, and changed files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from seamseg.export import model_folder
from seamseg.export.model_file import MODEL_FILE, ModelFile, read_model
from seamseg.export.model_folder import SUMMED, is_model_folder, read_model_folder, write_model_folder
from seamseg.io.checksums import SUMS_FILE, sums_of

MODEL = ModelFile(
    settings="data: {root: dätä}\n",
    categories=[{"id": 3, "name": "Straße", "isthing": 0, "color": [1, 2, 3]}],
    tensors={"weight": torch.arange(600.0), "counter": torch.tensor(5)},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model_folder(tmp_path / "out", MODEL, "# card\n", overwrite=False)
    return tmp_path / "out"


def refused(folder: Path) -> str:
    with pytest.raises(ValueError, match=folder.name) as caught:
        read_model_folder(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_write_model_folder_is_read_back_equal(folder: Path) -> None:
    assert is_model_folder(folder)
    loaded = read_model_folder(folder)
    assert (loaded.settings, loaded.categories) == (MODEL.settings, MODEL.categories)
    assert loaded.tensors.keys() == MODEL.tensors.keys()
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in MODEL.tensors.items())


def test_write_model_folder_files_have_the_expected_content(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {*SUMMED, SUMS_FILE, "README.md"}
    assert (folder / "config.yaml").read_text(encoding="utf-8") == MODEL.settings
    assert json.loads((folder / "categories.json").read_text(encoding="utf-8")) == MODEL.categories
    assert (folder / SUMS_FILE).read_text() == sums_of(folder, SUMMED)
    assert read_model(folder / MODEL_FILE).settings == MODEL.settings, "the weights file is a complete model"


@pytest.mark.parametrize("name", SUMMED)
def test_read_model_folder_changed_file_is_refused_by_name(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 4
    (folder / name).write_bytes(content)
    assert f"{folder / name} has been changed" in refused(folder)


@pytest.mark.parametrize("name", SUMMED)
def test_read_model_folder_missing_file_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"{folder / name} cannot be read" in refused(folder)


def test_read_model_folder_edited_or_deleted_card_is_accepted(folder: Path) -> None:
    (folder / "README.md").write_text("license: mine")
    read_model_folder(folder)
    (folder / "README.md").unlink()
    read_model_folder(folder)


def test_read_model_folder_changed_settings_with_new_checksums_are_used(folder: Path) -> None:
    (folder / "config.yaml").write_text("data: {root: other}\n")
    (folder / SUMS_FILE).write_text(sums_of(folder, SUMMED))
    assert read_model_folder(folder).settings == "data: {root: other}\n"


@pytest.mark.parametrize(
    ("name", "content"), [("categories.json", b"{"), ("categories.json", b"{}"), ("config.yaml", b"\xff")]
)
def test_read_model_folder_malformed_files_with_new_checksums_are_refused(
    folder: Path, name: str, content: bytes
) -> None:
    (folder / name).write_bytes(content)
    (folder / SUMS_FILE).write_text(sums_of(folder, SUMMED))
    assert name in refused(folder)


def test_write_model_folder_overwrites_only_on_request(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match="--overwrite"):
        write_model_folder(folder, MODEL, None, overwrite=False)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    write_model_folder(folder, ModelFile("new", [], {}), None, overwrite=True)
    assert read_model_folder(folder).settings == "new"
    assert not (folder / "README.md").exists()


def test_write_model_folder_full_disk_keeps_the_previous_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_folder, "sums_of", full)
    with pytest.raises(OSError, match="out cannot be written"):
        write_model_folder(folder, ModelFile("new", [], {}), None, overwrite=True)
    assert read_model_folder(folder).settings == MODEL.settings
    assert list(folder.parent.iterdir()) == [folder]
