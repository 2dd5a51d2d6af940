"""Weights from model hubs, with local stand-ins for the packages that download them, and the real packages' API."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from seamseg.errors import ModelError, SettingsError
from seamseg.export.body_weights import LoadedWeights, load_body_weights
from seamseg.export.hub_weights import HUB_FILES, download_hub_file
from seamseg.modules.norm import NormFactory
from seamseg.modules.resnet import ResNet
from seamseg.modules.torchvision_body import TorchvisionBody


class MissingFile(Exception):
    """The error of the stand-in for a file that a repository does not have."""


class Hub(ModuleType):
    """Stand-in for huggingface_hub: folders REPOSITORY or REPOSITORY@REVISION instead of a server."""

    def __init__(self, root: Path) -> None:
        super().__init__("huggingface_hub")
        self.root = root
        self.asked: list[tuple[str, str, str | None]] = []

    def hf_hub_download(self, repo_id: str, filename: str, *, revision: str | None = None) -> str:
        self.asked.append((repo_id, filename, revision))
        folder = self.root / (f"{repo_id}@{revision}" if revision else repo_id)
        if not folder.is_dir():
            raise OSError(f"401 Client Error: repository {repo_id}\nnot found")
        if not (folder / filename).is_file():
            raise MissingFile(f"404 {filename}")
        return str(folder / filename)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    module = Hub(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.setitem(sys.modules, "huggingface_hub.utils", SimpleNamespace(EntryNotFoundError=MissingFile))
    (tmp_path / "org" / "name").mkdir(parents=True)
    return module


def random_resnet18(seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return models.resnet18(weights=None).state_dict()


def load(source: str) -> tuple[ResNet, LoadedWeights]:
    body = ResNet("resnet18", NormFactory("bn", scale="signed"))
    return body, load_body_weights(body, "resnet18", source)


def test_safetensors_file_of_hub_fills_body(hub: Hub) -> None:
    state = random_resnet18()
    save_file(state, hub.root / "org" / "name" / "model.safetensors", {"format": "pt"})
    body, report = load("hf://org/name")
    assert torch.equal(body.state_dict()["mod5.block2.convs.conv2.weight"], state["layer4.1.conv2.weight"])
    assert hub.asked == [("org/name", "model.safetensors", None)]
    assert (report.source, report.missing, report.unexpected) == ("hf://org/name", (), ("fc.bias", "fc.weight"))


def test_torch_file_of_hub_is_read_if_there_is_no_safetensors_file(hub: Hub) -> None:
    state = random_resnet18()
    torch.save(state, hub.root / "org" / "name" / "pytorch_model.bin")
    body, _ = load("hf://org/name")
    assert torch.equal(body.state_dict()["mod1.conv1.weight"], state["conv1.weight"])
    assert [name for _, name, _ in hub.asked] == list(HUB_FILES)


def test_revision_of_hub_model_selects_its_file(hub: Hub) -> None:
    for folder, seed in (("org/name", 0), ("org/name@v1.0", 1)):
        (hub.root / folder).mkdir(exist_ok=True)
        save_file(random_resnet18(seed), hub.root / folder / "model.safetensors")
    body, _ = load("hf://org/name@v1.0")
    assert torch.equal(body.state_dict()["mod1.conv1.weight"], random_resnet18(1)["conv1.weight"])


class Attack:
    """Object that writes a file when a pickle with it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.write_text, (self.path, "attacked"))


def test_torch_file_of_hub_with_code_is_refused_without_running_it(hub: Hub) -> None:
    marker = hub.root / "marker"
    torch.save({"conv1.weight": Attack(marker)}, hub.root / "org" / "name" / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"hf://org/name cannot be read"):
        load("hf://org/name")
    assert not marker.exists()


def test_damaged_safetensors_file_of_hub_is_refused_by_id(hub: Hub) -> None:
    (hub.root / "org" / "name" / "model.safetensors").write_bytes(b"hello")
    with pytest.raises(ModelError, match=r"hf://org/name cannot be read"):
        load("hf://org/name")


def test_hub_file_of_another_architecture_is_refused_with_names(hub: Hub) -> None:
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in models.convnext_tiny(weights=None).state_dict().items()}
    tensors = {key: torch.zeros(shape) for key, shape in shapes.items()}
    save_file(tensors, hub.root / "org" / "name" / "model.safetensors")
    with pytest.raises(ModelError, match=r"hf://org/name do not belong to a resnet18.*features\.0\.0\.bias") as caught:
        load("hf://org/name")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["hf://org/other", "hf://org/name@v9", "hf://org/name"])
def test_missing_hub_model_or_file_is_reported_in_one_line(hub: Hub, source: str) -> None:
    with pytest.raises(ModelError, match=rf"body\.weights={source} cannot be downloaded") as caught:
        load(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["hf://", "hf://name", "hf://org/", "hf://org/name/file.bin", "hf://../name/x"])
def test_malformed_hub_id_is_refused(hub: Hub, source: str) -> None:
    with pytest.raises(SettingsError, match=r"hf://ORG/NAME"):
        download_hub_file(source, "resnet18")
    assert hub.asked == []


def test_timm_repository_of_hub_fills_body_of_its_architecture(hub: Hub) -> None:
    (hub.root / "timm" / "resnet18.a1_in1k").mkdir(parents=True)
    state = random_resnet18()
    save_file(state, hub.root / "timm" / "resnet18.a1_in1k" / "model.safetensors", {"format": "pt"})
    body, report = load("hf://timm/resnet18.a1_in1k")
    assert torch.equal(body.state_dict()["mod2.block1.convs.conv1.weight"], state["layer1.0.conv1.weight"])
    assert report.unexpected == ("fc.bias", "fc.weight")


def test_timm_repository_of_hub_with_another_architecture_is_refused_without_download(hub: Hub) -> None:
    with pytest.raises(
        ModelError, match=r"hf://timm/resnetaa18\.x has the architecture resnetaa18.*body\.name=resnet18"
    ):
        load("hf://timm/resnetaa18.x")
    assert hub.asked == []


class Timm(ModuleType):
    """Stand-in for timm, whose models are torchvision's with random weights."""

    def __init__(self) -> None:
        super().__init__("timm")
        self.asked: list[tuple[str, bool]] = []

    def create_model(self, name: str, pretrained: bool) -> nn.Module:
        self.asked.append((name, pretrained))
        architecture, _, tag = name.partition(".")
        if tag == "none":
            raise RuntimeError(f"Invalid pretrained tag ({tag})\nfor {architecture}.")
        torch.manual_seed(0)
        network: nn.Module = models.get_model(architecture, weights=None)
        if architecture.startswith("densenet"):
            network.pre_logits = nn.Linear(2, 2)  # timm's name of the first layers of some classifiers
        return network


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> Timm:
    module = Timm()
    monkeypatch.setitem(sys.modules, "timm", module)
    return module


def test_timm_weights_fill_own_body(timm: Timm) -> None:
    body, report = load("timm:resnet18.a1_in1k")
    assert timm.asked == [("resnet18.a1_in1k", True)]
    assert torch.equal(body.state_dict()["mod1.conv1.weight"], random_resnet18()["conv1.weight"])
    assert report.unexpected == ("fc.bias", "fc.weight")


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_timm_weights_fill_torchvision_body(timm: Timm, name: str) -> None:
    body = TorchvisionBody(name)
    load_body_weights(body, f"torchvision:{name}", f"timm:{name}")
    expected = timm.create_model(name, pretrained=True).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in body.parts().state_dict().items())


def test_timm_model_of_another_architecture_is_refused_without_download(timm: Timm) -> None:
    with pytest.raises(ModelError, match=r"timm:resnetaa18\.tag has the architecture resnetaa18.*body\.name=resnet18"):
        load("timm:resnetaa18.tag")
    assert timm.asked == []


def test_timm_model_without_weights_is_reported_in_one_line(timm: Timm) -> None:
    with pytest.raises(
        ModelError, match=r"timm:resnet18\.none cannot be downloaded .*Invalid pretrained tag"
    ) as caught:
        load("timm:resnet18.none")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("source", "package"), [("hf://org/name", "huggingface_hub"), ("timm:resnet18", "timm")])
def test_missing_package_is_reported_with_its_installation(
    monkeypatch: pytest.MonkeyPatch, source: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelError, match=rf"{source} requires {package}: pip install {package}"):
        load(source)


def test_real_hub_package_has_the_functions_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub", reason="tests/peers.sh installs huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"hf://org/a-model-that-does-not-exist cannot be downloaded"):
        download_hub_file("hf://org/a-model-that-does-not-exist", "resnet18")


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "densenet121", "vgg11_bn"])
@torch.no_grad()
def test_real_timm_network_computes_the_same_as_body(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    timm = pytest.importorskip("timm", reason="tests/peers.sh installs timm")
    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False).eval()
    create = lambda model, pretrained: network if (model, pretrained) == (name, True) else None  # noqa: E731
    monkeypatch.setattr(timm, "create_model", create)
    body = TorchvisionBody(name).eval()
    load_body_weights(body, f"torchvision:{name}", f"timm:{name}")
    images = torch.randn(1, 3, 64, 96)
    expected, found = network.forward_features(images), body(images)[-1]
    if name.startswith("vgg"):  # timm counts the first layers of the classifier as features
        expected = network.features(images)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
