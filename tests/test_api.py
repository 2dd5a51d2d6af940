"""seamseg as a library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_experiment import narrow_body, tiny_experiment

from seamseg.api import load_model
from seamseg.build import build_initialised_network
from seamseg.config import save_experiment
from seamseg.export.model_file import MODEL_FILE, ModelFile, save_model
from seamseg.structures import Categories, Category

CATEGORIES = Categories((Category("sky", False, (1, 2, 3), 1), Category("car", True, (4, 5, 6), 2)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api")
    experiment = tiny_experiment()
    with narrow_body():
        network = build_initialised_network(experiment, CATEGORIES)
    save_model(folder / MODEL_FILE, ModelFile(save_experiment(experiment), CATEGORIES.to_list(), network.state_dict()))
    return folder


def test_a_photograph_from_a_run_folder_or_a_file(run: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    with narrow_body():
        models = [load_model(path, "cpu") for path in (run, str(run), run / MODEL_FILE, str(run / MODEL_FILE))]
    found = [model.predict(image).panoptic for model in models]
    assert tuple(found[0].ids.shape) == (50, 70)
    assert all(torch.equal(found[0].ids, other.ids) for other in found)
    assert not models[0].predictor.network.training
    assert models[0].categories == CATEGORIES


def test_the_device_is_chosen(run: Path) -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    with narrow_body():
        model = load_model(run)
    assert model.predictor.device.type == expected
    assert {value.device.type for value in model.predictor.network.state_dict().values()} == {expected}


def test_errors_name_the_culprit(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no model .*nothing\.safetensors"):
        load_model(tmp_path / "nothing.safetensors")
    with pytest.raises(ValueError, match="there is no device abacus"):
        load_model(run, "abacus")
