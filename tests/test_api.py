"""The Python API: loading a model and segmenting images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from support.odd_images import turned
from support.tiny_experiment import narrow_body, tiny_experiment

import seamseg
from seamseg.api import load_model
from seamseg.builders import build_initialized_network, open_model
from seamseg.config import save_experiment
from seamseg.export.model_file import MODEL_FILE, ModelFile, save_model
from seamseg.modules.abn import ABN
from seamseg.predict import Predictor
from seamseg.structures import Categories, Category

CATEGORIES = Categories((Category("sky", False, (1, 2, 3), 1), Category("car", True, (4, 5, 6), 2)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api")
    experiment = tiny_experiment()
    with narrow_body():
        network = build_initialized_network(experiment, CATEGORIES)
    save_model(folder / MODEL_FILE, ModelFile(save_experiment(experiment), CATEGORIES.to_list(), network.state_dict()))
    return folder


def test_load_model_from_a_folder_or_a_file_gives_the_same_result(run: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    with narrow_body():
        models = [load_model(path, "cpu") for path in (run, str(run), run / MODEL_FILE, str(run / MODEL_FILE))]
    found = [model.predict(image).panoptic for model in models]
    assert tuple(found[0].ids.shape) == (50, 70)
    assert all(torch.equal(found[0].ids, segmentation.ids) for segmentation in found)
    assert not models[0].predictor.network.training
    assert models[0].categories == CATEGORIES


def test_load_model_without_a_device_prefers_cuda(run: Path) -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    with narrow_body():
        model = load_model(run)
    assert model.predictor.device.type == expected
    assert {value.device.type for value in model.predictor.network.state_dict().values()} == {expected}


def test_load_model_with_a_wrong_path_or_device_names_it(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no model .*nothing\.safetensors"):
        load_model(tmp_path / "nothing.safetensors")
    with pytest.raises(ValueError, match="there is no device abacus"):
        load_model(run, "abacus")


def test_predict_on_paths_arrays_and_pil_images_gives_the_same_result(run: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    with narrow_body():
        model = seamseg.load_model(run, "cpu")
    forms = [image, tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(image), image[::1]]
    found = model.predict(forms)
    assert isinstance(found, list)
    assert len(found) == 5
    for one in found:
        assert (one.image == image).all()
        assert torch.equal(one.panoptic.ids, found[0].panoptic.ids)
    assert model.predict([]) == []
    assert len(model.predict((image,))) == 1
    assert model.predict(Image.fromarray(image).convert("L")).image.shape == (50, 70, 3)
    (tmp_path / "turned.jpg").write_bytes(turned(6, image))
    cv2.imwrite(str(tmp_path / "deep.png"), image[..., 0].astype(np.uint16) * 256 + 7)
    for name in ("turned.jpg", "deep.png"):
        by_path, by_pillow = model.predict([tmp_path / name, Image.open(tmp_path / name)])
        assert np.abs(by_path.image.astype(int) - by_pillow.image).max() <= 2, name


def test_predict_on_something_that_is_not_an_image_raises(run: Path, tmp_path: Path) -> None:
    with narrow_body():
        model = load_model(run, "cpu")
    for wrong in (np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)):
        with pytest.raises(ValueError, match="H×W×3 array of type uint8"):
            model.predict(wrong)
    with pytest.raises(ValueError, match=r"an image must be a file path.* int"):
        model.predict(3)
    with pytest.raises(ValueError, match="cannot be opened: No such file"):
        model.predict(tmp_path / "none.jpg")


def test_load_model_options_change_the_prediction(run: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    with narrow_body():
        sure = load_model(run, "cpu", score_threshold=1.0, min_stuff_area=0.01, scales=[1, 1.5], flip=True)
        half = load_model(run, "cpu", precision="bf16")
    assert not any(segment.is_thing and not segment.is_crowd for segment in sure.predict(image).segments)
    assert sure.predictor.augmentation.scales == (1, 1.5)
    assert half.predict(image).panoptic.ids.shape == (50, 70)
    with pytest.raises(ValueError, match="overlap_threshold must be in 0 … 1, not 2"):
        load_model(run, "cpu", overlap_threshold=2)


def test_importing_seamseg_does_not_import_torch_or_opencv() -> None:
    code = "import sys, seamseg; print(seamseg.__version__); sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert seamseg.load_model is load_model
    with pytest.raises(AttributeError, match="has no attribute 'load_models'"):
        seamseg.load_models  # noqa: B018


def test_load_model_folds_norms_and_chooses_the_precision(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    with narrow_body():
        automatic, exact = load_model(run, "cpu").predictor, load_model(run, "cpu", precision="float32").predictor
        unfolded = open_model(run, torch.device("cpu"))
    assert (automatic.precision, exact.precision) == ("bf16", "float32")
    assert not any(isinstance(layer, ABN) for layer in exact.network.modules())
    assert any(isinstance(layer, ABN) for layer in unfolded.network.modules())
    plain = Predictor(unfolded.network, unfolded.transform, unfolded.fusion, torch.device("cpu"))
    (found,), (expected,) = (one.predict([one.prepare(image)]) for one in (exact, plain))
    torch.testing.assert_close(found.semantics.logits, expected.semantics.logits, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.detections.boxes, expected.detections.boxes, rtol=1e-3, atol=1e-2)
