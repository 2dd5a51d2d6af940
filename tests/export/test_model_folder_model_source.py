"""Loading of models from every supported kind of path."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.published_archive import VISTAS, metadata, published_files, write_archive
from support.tiny_network import NUM_STUFF, NUM_THINGS, tiny_network

from seamseg.export.model_file import MODEL_FILE, ModelFile, save_model
from seamseg.export.model_folder import load_model_file, write_model_folder
from seamseg.runtime.checkpoint import Checkpoint, checkpoint_path, save_checkpoint
from seamseg.runtime.training_progress import TrainingProgress

MODEL = ModelFile(
    settings="data: {root: dätä}\n",
    categories=[{"id": 3, "name": "Straße", "isthing": 0, "color": [1, 2, 3]}],
    tensors={"weight": torch.randn(30, 20), "half": torch.ones(3).half(), "counter": torch.tensor(5)},
)
CHECKPOINT = Checkpoint(
    "s", MODEL.categories, 1, TrainingProgress(), {"w": torch.zeros(2)}, {}, {}, {"w": torch.ones(2)}
)


def refused(path: Path) -> str:
    with pytest.raises(ValueError, match=path.name) as caught:
        load_model_file(path)
    return str(caught.value)


def test_load_model_checkpoint_gives_its_averaged_weights(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "some.pt", CHECKPOINT)
    loaded = load_model_file(tmp_path / "some.pt")
    assert torch.equal(loaded.tensors["w"], torch.ones(2))
    assert (loaded.settings, loaded.categories) == ("s", MODEL.categories)


def test_load_model_checkpoint_without_average_gives_its_weights(tmp_path: Path) -> None:
    save_checkpoint(
        tmp_path / "some.pt", Checkpoint("s", [], 1, TrainingProgress(), {"w": torch.zeros(2)}, {}, {}, None)
    )
    assert torch.equal(load_model_file(tmp_path / "some.pt").tensors["w"], torch.zeros(2))


def test_load_model_run_folder_gives_best_model_or_latest_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(checkpoint_path(tmp_path, 4), CHECKPOINT)
    checkpoint_path(tmp_path, 6).write_bytes(b"damaged")
    assert load_model_file(tmp_path).tensors.keys() == {"w"}
    save_model(tmp_path / MODEL_FILE, MODEL)
    assert load_model_file(tmp_path).tensors.keys() == MODEL.tensors.keys()


def test_load_model_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    assert "neither model.safetensors nor a checkpoint" in refused(tmp_path)


def test_load_model_missing_file_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.safetensors").startswith("there is no model")


@pytest.mark.parametrize("content", [b"", b"hello"])
def test_load_model_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.txt").write_bytes(content)
    assert "is damaged" in refused(tmp_path / "model.txt")


def test_load_model_model_folder_is_verified(tmp_path: Path) -> None:
    write_model_folder(tmp_path / "out", MODEL, None, overwrite=False)
    assert load_model_file(tmp_path / "out").settings == MODEL.settings
    (tmp_path / "out" / "config.yaml").write_text("changed")
    assert "config.yaml has been changed" in refused(tmp_path / "out")


@pytest.mark.parametrize("name", ["model.zip", "MODEL.ZIP"])
def test_load_model_published_archive_gives_its_weights(tmp_path: Path, name: str) -> None:
    state = tiny_network().state_dict()
    write_archive(tmp_path / name, state, VISTAS, metadata(NUM_STUFF, NUM_THINGS))
    assert load_model_file(tmp_path / name).tensors.keys() == state.keys()


@pytest.mark.parametrize("inner", ["", "seamseg"])
def test_load_model_unpacked_archive_gives_its_weights(tmp_path: Path, inner: str) -> None:
    state = tiny_network().state_dict()
    (tmp_path / "unpacked" / inner).mkdir(parents=True)
    for name, content in published_files(state, VISTAS, metadata(NUM_STUFF, NUM_THINGS)).items():
        (tmp_path / "unpacked" / inner / name).write_bytes(content)
    assert load_model_file(tmp_path / "unpacked").tensors.keys() == state.keys()


def test_load_model_published_snapshot_without_settings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "best.pth.tar").write_bytes(b"weights")
    assert "pass the original archive" in refused(tmp_path / "best.pth.tar")
