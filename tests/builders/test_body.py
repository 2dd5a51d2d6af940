"""Every body name builds a body, and those with a feature pyramid train in the panoptic network."""

from __future__ import annotations

import pytest
import torch
from support.tiny_network import scenes
from torch import nn

from seamseg.builders.body import BODIES, build_body, build_pyramid_body, load_and_freeze
from seamseg.builders.classifier import build_classifier
from seamseg.builders.initial_weights import build_initialized_network
from seamseg.builders.network import build_network
from seamseg.config import ClassifierExperiment, parse_experiment, parse_settings
from seamseg.config.network import BODY_NAMES, BodySettings
from seamseg.errors import SettingsError
from seamseg.modules.body import Body
from seamseg.modules.norm import NormFactory
from seamseg.networks import PyramidNet
from seamseg.structures import Categories, Category

NORM = NormFactory("bn")
NO_PYRAMID = {"wide_resnet38_a2_dilated": (4, 8), "densenet_bc100": (1, 2, 4)}
TORCHVISION = ["torchvision:mobilenet_v2", "torchvision:convnext_tiny", "torchvision:regnet_y_400mf"]


def test_body_names_of_settings_are_those_of_builder() -> None:
    assert set(BODY_NAMES) == set(BODIES)


@pytest.mark.parametrize("name", BODY_NAMES)
def test_levels_have_stated_channels_and_strides(name: str) -> None:
    with torch.device("meta"):
        body = build_body(BodySettings(name=name), NORM)
        levels = body(torch.empty(2, 3, 96, 128))
    assert [tuple(level.shape[1:]) for level in levels] == [
        (channels, 96 // stride, 128 // stride) for channels, stride in zip(body.channels, body.strides, strict=True)
    ]
    assert body.strides == NO_PYRAMID.get(name, (4, 8, 16, 32))


def panoptic_network(name: str, *overrides: str) -> tuple[nn.Module, Body]:
    settings = ["norm.name=bn", f"body.name={name}", "fpn.channels=16", "rpn.channels=16", "roi.fc_channels=32"]
    settings += ["roi.mask_channels=16", "sem.channels=16", "rpn.num_samples=16", "roi.num_samples=16", *overrides]
    experiment = parse_experiment("{}", "test", settings)
    categories = Categories(tuple(Category(str(number), number > 2, (0, 0, 0), number) for number in range(5)))
    network = build_initialized_network(experiment, categories)
    assert isinstance(network, PyramidNet)
    return network, network.body.backbone


@pytest.mark.parametrize(("memory", "recompute"), [("auto", "largest"), ("none", "nothing"), ("checkpoint", "all")])
@pytest.mark.parametrize("head", [["task=panoptic"], ["task=semantic"], ["task=semantic", "sem.head=deeplab"]])
def test_setting_of_memory_decides_what_body_recomputes(head: list[str], memory: str, recompute: str) -> None:
    with torch.device("meta"):
        network = build_network(parse_experiment("{}", "test", [f"training.memory={memory}", *head]), 3, 2)
    bodies = [module for module in network.modules() if isinstance(module, Body)]
    assert [body.recompute for body in bodies] == [recompute]


def test_setting_of_memory_decides_what_body_of_classifier_recomputes() -> None:
    for memory, recompute in (("auto", "nothing"), ("none", "nothing"), ("checkpoint", "all")):
        settings = ["body.name=densenet_bc100", f"training.memory={memory}"]
        with torch.device("meta"):
            classifier = build_classifier(parse_settings(ClassifierExperiment, "{}", "test", settings), 5)
        assert classifier.body.recompute == recompute


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnext50", "wide_resnet38", "wide_resnet38_a2", "densenet121", *TORCHVISION])
def test_panoptic_network_learns_with_body(name: str) -> None:
    network, body = panoptic_network(name, "fpn.extra_levels=1")
    images, truth = scenes(["objects", "no objects"], [(64, 96), (64, 64)])
    losses = network(images, truth, torch.Generator().manual_seed(0))
    torch.stack([loss for _, loss in losses.items()]).sum().backward()
    missing = [key for key, parameter in body.named_parameters() if parameter.grad is None]
    assert not missing
    assert all(parameter.grad.isfinite().all() for parameter in body.parameters())
    with torch.no_grad():
        predictions = network.eval().predict(images)
    assert predictions.semantics(0).logits.isfinite().all()


@pytest.mark.parametrize(
    ("name", "part", "frozen"),
    [("resnext50", "mod2", "mod2."), ("torchvision:mobilenet_v2", "features.0", "features.0.")],
)
def test_frozen_part_keeps_its_parameters(name: str, part: str, frozen: str) -> None:
    settings = BodySettings(name=name, frozen=(part,))
    body = build_body(settings, NORM)
    load_and_freeze(body, settings, None, read_weights=False)
    still = {key for key, parameter in body.parts().named_parameters() if not parameter.requires_grad}
    assert still == {key for key, _ in body.parts().named_parameters() if key.startswith(frozen)}
    assert still


def test_unknown_frozen_part_is_refused_with_known_ones() -> None:
    settings = BodySettings(name="resnet18", frozen=("mod9",))
    body = build_body(settings, NORM)
    with pytest.raises(SettingsError, match=r"resnet18 has no part mod9; its parts are mod1, .*mod5"):
        load_and_freeze(body, settings, None, read_weights=False)


def test_frozen_norms_of_torchvision_body_keep_statistics_in_training() -> None:
    body = build_body(BodySettings(name="torchvision:mobilenet_v2", norm_frozen=True), NORM).train()
    before = {key: value.clone() for key, value in body.state_dict().items()}
    body(torch.rand(2, 3, 64, 64))
    assert all(torch.equal(value, before[key]) for key, value in body.state_dict().items())
    norms = [module for module in body.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(parameter.requires_grad for norm in norms for parameter in norm.parameters())


@pytest.mark.parametrize("name", sorted(NO_PYRAMID))
def test_body_without_pyramid_strides_is_refused(name: str) -> None:
    with torch.device("meta"), pytest.raises(SettingsError, match=rf"body\.name={name} .*4, 8, 16, 32"):
        build_pyramid_body(BodySettings(name=name), NORM)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnext99", "did you mean resnext50"),
        ("torchvision:mobilenetv2", "did you mean torchvision:mobilenet_v2"),
        ("torchvision:vit_b_16", "does not take images of any size"),
        ("torchvision:swin_t", "no maps at strides 8, 16"),
    ],
)
def test_unknown_or_unfit_body_is_refused_by_name(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_body(BodySettings(name=name), NORM)
