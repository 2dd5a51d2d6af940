"""Builders of the network and its initial state."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.tiny_experiment import narrow_body, tiny_experiment
from torchvision import models

from seamseg.builders import build_fusion, build_initialized_network, build_network
from seamseg.modules.abn import ABN, InPlaceABN, InPlaceABNSync
from seamseg.modules.adjusted_filters import AdjustedConv2d, AdjustedConvTranspose2d, AdjustedLinear
from seamseg.modules.batch_renorm import BatchRenorm
from seamseg.modules.mabn import MABN
from seamseg.modules.norm import GroupNormAct
from seamseg.networks import PyramidNet
from seamseg.structures import Categories, Category

CATEGORIES = Categories(
    tuple(Category(name, index > 1, (0, 0, index), index) for index, name in enumerate(["sky", "road", "car"]))
)


def initialized(*overrides: str) -> PyramidNet:
    with narrow_body():
        network = build_initialized_network(tiny_experiment(None, *overrides), CATEGORIES)
    assert isinstance(network, PyramidNet)
    return network


def equal(first: PyramidNet, second: PyramidNet) -> bool:
    state = second.state_dict()
    return all(torch.equal(value, state[name]) for name, value in first.state_dict().items())


def test_initialized_network_weights_depend_on_the_seed() -> None:
    assert equal(initialized(), initialized())
    assert not equal(initialized(), initialized("training.seed=1"))


def test_initialized_network_does_not_depend_on_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    first = initialized()
    torch.manual_seed(99)
    assert equal(first, initialized())
    torch.random.set_rng_state(before)


def test_network_output_channels_follow_the_classes() -> None:
    with torch.device("meta"):
        shapes = {
            name: tuple(value.shape) for name, value in build_network(tiny_experiment(), 5, 3).state_dict().items()
        }
    assert shapes["roi_head.roi_cls.weight"] == (4, 32)
    assert shapes["roi_head.roi_bbx.weight"] == (12, 32)
    assert shapes["sem_head.conv_sem.weight"][0] == 8


@pytest.mark.parametrize(
    ("overrides", "body", "heads"),
    [
        (["norm.name=bn"], InPlaceABN, InPlaceABN),
        (["norm.name=syncbn", "norm.heads=bn"], InPlaceABNSync, InPlaceABN),
        (["norm.name=syncbn", "norm.heads=gn"], InPlaceABNSync, GroupNormAct),
        (["norm.name=mabn", "norm.heads=brn"], MABN, BatchRenorm),
    ],
)
def test_network_head_norm_is_used_in_the_rpn_and_roi_heads(overrides: list[str], body: type, heads: type) -> None:
    network = initialized(*overrides)
    kinds = (ABN, GroupNormAct)
    for part, kind in (
        (network.body, body),
        (network.sem_head, body),
        (network.rpn_head, heads),
        (network.roi_head, heads),
    ):
        norms = {type(module) for module in part.modules() if isinstance(module, kinds)}
        assert norms == {kind}


def test_network_filters_are_adjusted_only_in_front_of_the_norms_that_require_it() -> None:
    network = initialized("norm.name=mabn", "norm.heads=gn")
    for layers, adjustment in (
        (network.body, "center"),
        (network.sem_head, "center"),
        (network.rpn_head, None),
        (network.roi_head, None),
    ):
        kinds = (AdjustedConv2d, AdjustedConvTranspose2d, AdjustedLinear)
        assert {m.adjustment for m in layers.modules() if isinstance(m, kinds)} == ({adjustment} - {None})
    heads = initialized("norm.name=bn", "norm.heads=gn", "norm.standardize_weights=true").roi_head
    assert heads.fc.fc1.adjustment == heads.conv.conv_up.adjustment == "standardize"
    assert network.state_dict()["body.backbone.mod1.bn1.square_history"].shape[0] == 16


def test_build_fusion_has_the_number_of_stuff_classes() -> None:
    assert build_fusion(tiny_experiment(), 2, 3).num_stuff == 2


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torchvision's ResNet-18 with random weights."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.manual_seed(0)
    network = models.resnet18(weights=None)
    for buffer in network.buffers():
        if buffer.is_floating_point():
            torch.nn.init.uniform_(buffer, 0.5, 1.5)
    torch.save(network.state_dict(), path)
    return path


def test_initialized_network_loads_weights_and_freezes_parts(weights: Path) -> None:
    experiment = tiny_experiment(None, f"body.weights={weights}", "body.frozen=[mod1, mod3]")
    network = build_initialized_network(experiment, CATEGORIES)
    assert torch.equal(network.body.backbone.state_dict()["mod1.conv1.weight"], torch.load(weights)["conv1.weight"])
    trained = {name.split(".")[0] for name, value in network.body.backbone.named_parameters() if value.requires_grad}
    assert trained == {"mod2", "mod4", "mod5"}
    others = [value for name, value in network.named_parameters() if not name.startswith("body.backbone")]
    assert all(value.requires_grad for value in others)
    assert not any(module.statistics_frozen for module in network.modules() if isinstance(module, ABN))


def test_initialized_network_frozen_norms_keep_their_statistics(weights: Path) -> None:
    experiment = tiny_experiment(None, f"body.weights={weights}", "body.norm_frozen=true")
    network = build_initialized_network(experiment, CATEGORIES)
    backbone = [module for module in network.body.backbone.modules() if isinstance(module, ABN)]
    assert len(backbone) == 20
    assert all(module.statistics_frozen and not module.weight.requires_grad for module in backbone)
    others = [module for module in network.modules() if isinstance(module, ABN) and module not in backbone]
    assert not any(module.statistics_frozen for module in others)
    before = {name: value.clone() for name, value in network.body.backbone.named_buffers()}
    network.train().body(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(value, before[name]) for name, value in network.body.backbone.named_buffers())


def test_build_network_does_not_read_pretrained_weights() -> None:
    with narrow_body():
        build_network(tiny_experiment(None, "body.weights=/no/such/file.pth"), 2, 1)
        with pytest.raises(ValueError, match=r"body\.weights=/no/such/file\.pth cannot be read"):
            build_initialized_network(tiny_experiment(None, "body.weights=/no/such/file.pth"), CATEGORIES)


def test_network_groups_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"24 channels .* set norm\.groups"):
        initialized("norm.heads=gn", "rpn.channels=24")
