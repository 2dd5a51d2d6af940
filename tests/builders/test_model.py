"""Loading of trained networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.tiny_experiment import narrow_body, tiny_experiment

from seamseg.builders import build_initialized_network, open_model
from seamseg.config import save_experiment
from seamseg.export.model_file import ModelFile, save_model
from seamseg.structures import Categories, Category, PackedSequence

CATEGORIES = Categories(
    tuple(Category(name, index > 1, (0, 9, index), 7 - index) for index, name in enumerate(["sky", "road", "car"]))
)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def file() -> ModelFile:
    experiment = tiny_experiment(None, "training.seed=3", "data.shortest_side=48")
    with narrow_body():
        network = build_initialized_network(experiment, CATEGORIES)
    return ModelFile(save_experiment(experiment), CATEGORIES.to_list(), network.state_dict())


def refused(file: ModelFile, path: Path) -> str:
    save_model(path, file)
    with narrow_body(), pytest.raises(ValueError, match=path.name) as caught:
        open_model(path, CPU)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_open_model_restores_network_settings_and_categories(file: ModelFile, tmp_path: Path) -> None:
    save_model(tmp_path / "some.safetensors", file)
    with narrow_body():
        model = open_model(tmp_path / "some.safetensors", CPU)
        expected = build_initialized_network(model.experiment, CATEGORIES).eval()
    assert model.categories == CATEGORIES
    assert model.experiment == tiny_experiment(None, "training.seed=3", "data.shortest_side=48")
    assert model.fusion.num_stuff == 2
    assert model.transform.shortest_side == 48
    assert not model.network.training
    images = PackedSequence([torch.randn(3, 64, 80)])
    found, same = model.network.predict(images), expected.predict(images)
    assert torch.equal(found.semantic_logits, same.semantic_logits)
    assert torch.equal(found.detections(0).scores, same.detections(0).scores)


def test_open_model_missing_tensor_is_refused_by_name(file: ModelFile, tmp_path: Path) -> None:
    tensors = {name: value for name, value in file.tensors.items() if name != "sem_head.conv_sem.bias"}
    sentence = refused(replace(file, tensors=tensors), tmp_path / "some.safetensors")
    assert "do not match its settings" in sentence
    assert "sem_head.conv_sem.bias" in sentence


def test_open_model_weights_of_other_settings_are_refused(file: ModelFile, tmp_path: Path) -> None:
    settings = save_experiment(tiny_experiment(None, "fpn.channels=32"))
    assert "do not match" in refused(replace(file, settings=settings), tmp_path / "some.safetensors")


def test_open_model_weights_of_other_classes_are_refused(file: ModelFile, tmp_path: Path) -> None:
    categories = [*file.categories, {"id": 9, "name": "person", "isthing": 1, "color": [1, 1, 1]}]
    assert "do not match" in refused(replace(file, categories=categories), tmp_path / "some.safetensors")


def test_open_model_unknown_setting_is_refused(file: ModelFile, tmp_path: Path) -> None:
    sentence = refused(replace(file, settings="fpn: {levels: 3}"), tmp_path / "some.safetensors")
    assert sentence.endswith("some.safetensors: there is no setting fpn.levels; did you mean fpn.extra_levels?")


@pytest.mark.parametrize("categories", [[{"id": 1}], [1], [{"id": 1, "name": "x", "isthing": 1, "color": 3}]])
def test_open_model_malformed_categories_are_refused(
    file: ModelFile, tmp_path: Path, categories: list[dict[str, object]]
) -> None:
    refused(replace(file, categories=categories), tmp_path / "some.safetensors")
