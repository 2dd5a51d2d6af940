"""Model files: writing, reading, and damaged files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from seamseg.export.model_file import MODEL_FILE, ModelFile, read_model, save_model

MODEL = ModelFile(
    settings="data: {root: dätä}\n",
    categories=[{"id": 3, "name": "Straße", "isthing": 0, "color": [1, 2, 3]}],
    tensors={"weight": torch.randn(30, 20), "half": torch.ones(3).half(), "counter": torch.tensor(5)},
)


def refused(path: Path) -> str:
    with pytest.raises(ValueError, match=path.name) as caught:
        read_model(path)
    return str(caught.value)


def test_save_model_is_read_back_equal(tmp_path: Path) -> None:
    save_model(tmp_path / MODEL_FILE, MODEL)
    loaded = read_model(tmp_path / MODEL_FILE)
    assert (loaded.settings, loaded.categories) == (MODEL.settings, MODEL.categories)
    assert loaded.tensors.keys() == MODEL.tensors.keys()
    for name, tensor in MODEL.tensors.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors[name], tensor)
    assert list(tmp_path.iterdir()) == [tmp_path / MODEL_FILE]


def test_save_model_transposed_and_trainable_tensors_are_saved(tmp_path: Path) -> None:
    matrix = torch.arange(6.0).reshape(2, 3)
    save_model(tmp_path / MODEL_FILE, ModelFile("", [], {"turned": matrix.T, "trained": matrix.requires_grad_()}))
    loaded = read_model(tmp_path / MODEL_FILE).tensors
    assert torch.equal(loaded["turned"], matrix.T)
    assert torch.equal(loaded["trained"], matrix)


def test_save_model_header_has_settings_and_categories(tmp_path: Path) -> None:
    save_model(tmp_path / MODEL_FILE, MODEL)
    with safe_open(tmp_path / MODEL_FILE, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "seamseg 1"
    assert metadata["settings"] == MODEL.settings
    assert json.loads(metadata["categories"]) == MODEL.categories


@pytest.mark.parametrize("part", [0, 4, 100, -1])
def test_read_model_truncated_file_is_refused(tmp_path: Path, part: int) -> None:
    path = tmp_path / MODEL_FILE
    save_model(path, MODEL)
    path.write_bytes(path.read_bytes()[:part])
    assert "damaged" in refused(path)


@pytest.mark.parametrize("place", [0, 5, 9, 40])
def test_read_model_damaged_header_bytes_are_refused(tmp_path: Path, place: int) -> None:
    path = tmp_path / MODEL_FILE
    save_model(path, MODEL)
    data = bytearray(path.read_bytes())
    data[place] ^= 255
    path.write_bytes(data)
    assert "damaged" in refused(path)


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"format": "seamseg 99"}])
def test_read_model_foreign_file_is_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "other.safetensors", metadata)
    assert "was not written by seamseg" in refused(tmp_path / "other.safetensors")


@pytest.mark.parametrize("metadata", [{}, {"settings": ""}, {"settings": "", "categories": "{"}])
def test_read_model_incomplete_header_is_refused(tmp_path: Path, metadata: dict[str, str]) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "other.safetensors", {"format": "seamseg 1", **metadata})
    assert "damaged header" in refused(tmp_path / "other.safetensors")


def test_save_model_failure_keeps_the_previous_file(tmp_path: Path) -> None:
    save_model(tmp_path / MODEL_FILE, MODEL)
    unsavable: Any = ModelFile("", [], {"w": torch.ones(2).to_sparse()})
    with pytest.raises((ValueError, NotImplementedError, RuntimeError)):
        save_model(tmp_path / MODEL_FILE, unsavable)
    assert read_model(tmp_path / MODEL_FILE).settings == MODEL.settings
    assert list(tmp_path.iterdir()) == [tmp_path / MODEL_FILE]


def test_save_model_nonfinite_tensor_is_not_written(tmp_path: Path) -> None:
    save_model(tmp_path / MODEL_FILE, MODEL)
    ruined = replace(MODEL, tensors={**MODEL.tensors, "half": torch.tensor([1.0, torch.inf]).half()})
    with pytest.raises(FloatingPointError, match=rf"{MODEL_FILE} is not written: .* half$"):
        save_model(tmp_path / MODEL_FILE, ruined)
    assert read_model(tmp_path / MODEL_FILE).tensors.keys() == MODEL.tensors.keys()
    assert list(tmp_path.iterdir()) == [tmp_path / MODEL_FILE]
