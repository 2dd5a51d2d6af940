"""Import of published models, and export of trained ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from support.published_archive import SMALL, metadata, small_archive, small_experiment, small_network, write_archive
from support.tiny_experiment import narrow_body, tiny_experiment

from seamseg.builders import build_initialized_network, export_model, import_model, open_model
from seamseg.config import Experiment, save_experiment
from seamseg.export.model_file import MODEL_FILE, ModelFile, save_model
from seamseg.export.published_settings import translate_settings
from seamseg.structures import Categories

CPU = torch.device("cpu")
CATEGORIES = Categories.from_list(
    [{"id": index, "name": name, "isthing": name == "car"} for index, name in enumerate(("sky", "road", "car"))]
)
MODES = ("bn", "syncbn", "syncbn+bn", "gn", "syncbn+gn", "off")


@pytest.fixture(autouse=True)
def _narrow() -> Iterator[None]:
    with narrow_body():
        yield


@pytest.mark.parametrize("mode", MODES)
def test_import_model_every_kind_of_norm_is_imported(tmp_path: Path, mode: str) -> None:
    notes = import_model(small_archive(tmp_path, mode), tmp_path / "out", overwrite=False)
    assert len(notes) == 1
    model, expected = open_model(tmp_path / "out", CPU), small_network(mode).state_dict()
    found = model.network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert model.experiment.norm.activation == "elu"
    assert model.categories.names == ("stuff--0", "stuff--1", "thing--2")
    assert model.transform.shortest_side == 64


def test_import_model_folder_and_archive_are_the_same_model(tmp_path: Path) -> None:
    path = small_archive(tmp_path)
    import_model(path, tmp_path / "out", overwrite=False)
    assert {item.name for item in (tmp_path / "out").iterdir()} == {
        "model.safetensors",
        "config.yaml",
        "categories.json",
        "SHA256SUMS",
    }
    one, other = open_model(path, CPU), open_model(tmp_path / "out", CPU)
    assert (one.experiment, one.categories) == (other.experiment, other.categories)
    settings = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert Experiment.model_validate(settings) == one.experiment, "config.yaml contains all settings"
    assert json.loads((tmp_path / "out" / "categories.json").read_text()) == one.categories.to_list()


def test_import_model_setting_out_of_range_is_refused(tmp_path: Path) -> None:
    config = SMALL.format(mode="bn") + "[general]\nscore_threshold = 1.5\n"
    path = write_archive(tmp_path / "model.zip", small_network().state_dict(), config, metadata(2, 1))
    with pytest.raises(ValueError, match=r"model\.zip: fusion\.score_threshold=1\.5: input should be less"):
        import_model(path, tmp_path / "out", overwrite=False)


@pytest.mark.parametrize("change", ["missing", "additional", "shape", "classes"])
def test_import_model_tensors_that_do_not_match_are_refused_by_name(tmp_path: Path, change: str) -> None:
    state = small_network().state_dict()
    if change == "missing":
        del state["sem_head.conv_sem.bias"]
    if change == "additional":
        state["body.extra.weight"] = torch.ones(3)
    if change == "shape":
        state["sem_head.conv_sem.bias"] = torch.ones(2)
    classes = metadata(3, 1) if change == "classes" else metadata(2, 1)
    path = write_archive(tmp_path / "model.zip", state, SMALL.format(mode="bn"), classes)
    with pytest.raises(ValueError, match=r"weights in .*model\.zip do not match its settings") as caught:
        import_model(path, tmp_path / "out", overwrite=False)
    assert "body.extra" in str(caught.value) or "sem_head" in str(caught.value) or "roi_head" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [item.name for item in tmp_path.iterdir()] == ["model.zip"]


def test_import_and_export_folder_in_use_is_refused_before_reading(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    for overwrite in (False, True):
        for exchange in (import_model, export_model):
            with pytest.raises(ValueError, match="out "):
                exchange(tmp_path / "none.zip", tmp_path / "out", overwrite)
    assert (tmp_path / "out" / "mine").read_text() == "mine"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder as training leaves it; the best model is from iteration 4."""
    folder = tmp_path / "run"
    folder.mkdir()
    secret = "/home/me/secret"
    body = f"body={{name: resnet18, weights: {secret}/w.pth}}"
    experiment = tiny_experiment(Path(secret, "streets"), body, f"init_from=['{secret}/vistas.zip:body,rpn_head']")
    state = build_initialized_network(tiny_experiment(), CATEGORIES).state_dict()
    save_model(folder / MODEL_FILE, ModelFile(save_experiment(experiment), CATEGORIES.to_list(), state))
    lines = [
        {"kind": "train", "iteration": 1, "total": 3.0},
        *(
            {"kind": "validation", "iteration": 2 * index, "pq": pq, "miou": 0.25, "box_ap": None}
            for index, pq in enumerate([None, 0.1, 0.3, 0.3, 0.2])
        ),
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def card(folder: Path) -> tuple[dict, str]:
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), text


def test_export_model_run_is_exported_with_its_best_scores(run: Path, tmp_path: Path) -> None:
    export_model(run, tmp_path / "street", overwrite=False)
    front, text = card(tmp_path / "street")
    (result,) = front["model-index"][0]["results"]
    assert result["dataset"]["name"] == "streets"
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == {"pq": 30.0, "miou": 25.0}
    assert "after 4 iterations" in text
    assert "seamseg train config.yaml data.root=DATASET --run-dir runs/street" in text
    assert "resnet18, initialized with w.pth weights" in text
    assert r"vistas.zip:body,rpn\_head" in text
    before, after = open_model(run, CPU), open_model(tmp_path / "street", CPU)
    assert all(torch.equal(after.network.state_dict()[name], t) for name, t in before.network.state_dict().items())
    assert after.categories == CATEGORIES


@pytest.mark.parametrize("weights", ["imagenet", "hf://org/name@v1", "timm:resnet18.a1_in1k"])
def test_export_model_ids_of_weights_are_kept(run: Path, tmp_path: Path, weights: str) -> None:
    experiment = tiny_experiment(None, f"body={{name: resnet18, weights: {weights}}}")
    state = build_initialized_network(tiny_experiment(), CATEGORIES).state_dict()
    save_model(run / MODEL_FILE, ModelFile(save_experiment(experiment), CATEGORIES.to_list(), state))
    export_model(run, tmp_path / "street", overwrite=False)
    assert open_model(tmp_path / "street", CPU).experiment.body.weights == weights


def test_export_model_paths_of_this_machine_are_removed(run: Path, tmp_path: Path) -> None:
    export_model(run, tmp_path / "street", overwrite=False)
    for path in (tmp_path / "street").iterdir():
        assert b"secret" not in path.read_bytes(), path.name
    exported = open_model(tmp_path / "street", CPU).experiment
    assert (exported.data.root, exported.body.weights) == (None, "w.pth")
    assert exported.init_from == ("vistas.zip:body,rpn_head",)


def test_export_model_without_a_log_has_no_scores(run: Path, tmp_path: Path) -> None:
    for name, source in (("one", run / MODEL_FILE), ("two", small_archive(tmp_path))):
        export_model(source, tmp_path / name, overwrite=False)
        assert "No scores are recorded" in card(tmp_path / name)[1]
    (run / "metrics.jsonl").unlink()
    export_model(run, tmp_path / "three", overwrite=False)
    assert "No scores are recorded" in card(tmp_path / "three")[1]


def test_small_archive_settings_equal_the_translated_ones() -> None:
    """The handwritten settings and the translated archive settings describe the same network."""
    settings = translate_settings(SMALL.format(mode="syncbn+gn")).settings
    expected = small_experiment("syncbn+gn")
    assert settings["norm.heads"] == expected.norm.heads == "gn"
    assert settings["rpn.channels"] == expected.rpn.channels
