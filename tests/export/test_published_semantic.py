"""The published semantic model: recognition by names and shapes, class order, and damaged or malicious files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.malicious import Malicious
from support.published_semantic import published_content, semantic_state, write_semantic
from support.tiny_experiment import narrow_body
from torch import Tensor

from seamseg.config import parse_experiment
from seamseg.errors import SeamsegError
from seamseg.export.model_folder import load_model_file
from seamseg.export.published_semantic import load_semantic


@pytest.fixture
def narrow() -> Iterator[None]:
    with narrow_body():
        yield


def full_state(shared: Path) -> dict[str, Tensor]:
    """Make the published state dict at full size; every tensor repeats one value, so the file is small."""
    shapes = json.loads((shared / "golden" / "bodies" / "wider_resnet38_a2_deeplab.json").read_text())
    state = {name: torch.ones(()).expand(shape) for name, shape in shapes.items()}
    state["cls.weight"] = torch.arange(65.0).view(65, 1, 1, 1).expand(65, 256, 1, 1)
    state["cls.bias"] = torch.arange(65.0)
    return state


def test_load_semantic_accepts_the_published_names_and_shapes(shared: Path, tmp_path: Path) -> None:
    state = full_state(shared)
    published = load_semantic(write_semantic(tmp_path / "model.pth.tar", state))
    assert published is not None
    found = published.file.tensors
    assert {name: tensor.shape for name, tensor in found.items()} == {name: one.shape for name, one in state.items()}
    experiment = parse_experiment(published.file.settings, "settings")
    assert (experiment.task, experiment.sem.head, experiment.norm.scale) == ("semantic", "deeplab", "abs")
    assert experiment.body.name == "wide_resnet38_a2_dilated"
    assert experiment.data.shortest_side == 2048
    assert len(published.notes) == 2
    assert "wide_resnet38_a2_dilated" in published.notes[0]
    assert "Mapillary Vistas v1.2" in published.notes[1]


def test_load_semantic_classes_are_those_of_the_label_file_with_stuff_first(shared: Path, tmp_path: Path) -> None:
    published = load_semantic(write_semantic(tmp_path / "model.pth.tar", full_state(shared)))
    assert published is not None
    row_of = dict(
        zip(
            [one["name"] for one in published.file.categories], published.file.tensors["cls.bias"].tolist(), strict=True
        )
    )
    label_file = {  # positions in `labels` of config_v1.2.json
        "animal--bird": 0,
        "construction--barrier--curb": 2,
        "construction--flat--road": 13,
        "human--person": 19,
        "nature--sky": 27,
        "object--vehicle--car": 55,
        "void--ego-vehicle": 64,
    }
    assert {name: row_of[name] for name in label_file} == label_file
    assert [one["isthing"] for one in published.file.categories] == [0] * 28 + [1] * 37
    colors = {one["name"]: tuple(one["color"]) for one in published.file.categories}
    assert colors["construction--flat--road"] == (128, 64, 128)
    assert colors["object--vehicle--car"] == (0, 0, 142)
    assert torch.equal(published.file.tensors["cls.weight"][:, 0, 0, 0], published.file.tensors["cls.bias"])


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.usefixtures("narrow")
def test_load_semantic_weights_are_those_of_the_file(tmp_path: Path, early: bool) -> None:
    state = semantic_state(num_classes=4)
    published = load_semantic(write_semantic(tmp_path / "model.pth.tar", state, early))
    assert published is not None
    assert all(torch.equal(published.file.tensors[name], tensor) for name, tensor in state.items())
    assert [one["name"] for one in published.file.categories] == ["class 0", "class 1", "class 2", "class 3"]
    assert "class 0 to class 3" in published.notes[1]


@pytest.mark.usefixtures("narrow")
def test_load_semantic_existing_counters_are_kept(tmp_path: Path) -> None:
    state = semantic_state() | {"head.map_bn.num_batches_tracked": torch.tensor(77)}
    torch.save(published_content(state, counters=True), tmp_path / "model.pth.tar")
    published = load_semantic(tmp_path / "model.pth.tar")
    assert published is not None
    assert int(published.file.tensors["head.map_bn.num_batches_tracked"]) == 77


@pytest.mark.usefixtures("narrow")
def test_load_model_file_accepts_the_published_file(tmp_path: Path) -> None:
    model = load_model_file(write_semantic(tmp_path / "model.pth.tar", semantic_state()))
    assert yaml.safe_load(model.settings)["task"] == "semantic"


def without(name: str) -> Callable[[dict[str, Any]], None]:
    part, _, rest = name.partition(".")
    return lambda content: content["state_dict"][part].pop(rest)


def replaced(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    part, _, rest = name.partition(".")
    return lambda content: content["state_dict"][part].update({rest: value})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (without("head.red_conv.weight"), "1 missing (head.red_conv.weight)"),
        (replaced("body.mod8.conv.weight", torch.zeros(1)), "1 unexpected (body.mod8.conv.weight)"),
        (replaced("body.mod1.conv1.weight", torch.zeros(64, 1, 3, 3)), "1 with another shape (body.mod1.conv1.weight)"),
        (replaced("body.mod1.conv1.weight", [1]), "body.mod1.conv1.weight is a list"),
        (without("cls.weight"), "cls has no weight"),
        (replaced("cls.weight", torch.zeros(5)), "cls has no weight"),
        (replaced("cls.weight", torch.zeros(0, 256, 1, 1)), "cls has no weight"),
        (replaced("cls.bias", torch.zeros(4)), "1 with another shape (cls.bias)"),
    ],
)
@pytest.mark.usefixtures("narrow")
def test_load_semantic_other_network_is_refused(tmp_path: Path, change: Callable[..., None], expected: str) -> None:
    content = published_content(semantic_state())
    change(content)
    torch.save(content, tmp_path / "model.pth.tar")
    with pytest.raises(SeamsegError, match=r"model\.pth\.tar") as caught:
        load_semantic(tmp_path / "model.pth.tar")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("narrow")
def test_load_semantic_too_many_classes_are_refused(tmp_path: Path) -> None:
    write_semantic(tmp_path / "model.pth.tar", semantic_state(num_classes=300))
    with pytest.raises(SeamsegError, match="300 categories"):
        load_semantic(tmp_path / "model.pth.tar")


@pytest.mark.parametrize("content", [[1], {}, {"state_dict": 3}, {"state_dict": {"body": {}, "head": {}}}])
def test_load_semantic_other_content_is_none(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "model.pth.tar")
    assert load_semantic(tmp_path / "model.pth.tar") is None


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("part", ["body", "cls", "training_meta"])
@pytest.mark.usefixtures("narrow")
def test_load_semantic_malicious_file_cannot_run_code(tmp_path: Path, part: str, early: bool) -> None:
    content = published_content(semantic_state())
    (content["state_dict"] if part in content["state_dict"] else content)[part] = Malicious(tmp_path / "owned")
    torch.save(content, tmp_path / "model.pth.tar", _use_new_zipfile_serialization=not early)
    assert load_semantic(tmp_path / "model.pth.tar") is None
    with pytest.raises(SeamsegError, match=r"model\.pth\.tar"):
        load_model_file(tmp_path / "model.pth.tar")
    assert not (tmp_path / "owned").exists()


@pytest.mark.usefixtures("narrow")
def test_load_semantic_truncated_file_is_none(tmp_path: Path) -> None:
    content = write_semantic(tmp_path / "whole.pth.tar", semantic_state()).read_bytes()
    for part in range(0, 10, 3):
        (tmp_path / "model.pth.tar").write_bytes(content[: len(content) * part // 10])
        assert load_semantic(tmp_path / "model.pth.tar") is None
