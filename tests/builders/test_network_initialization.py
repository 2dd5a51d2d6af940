"""Initial values of the weights."""

from __future__ import annotations

import math
from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from seamseg.builders.network import OUTPUT_GAINS, initialize
from seamseg.modules.abn import InPlaceABN
from seamseg.modules.norm import NormFactory
from seamseg.modules.roi_head import RoIHead
from seamseg.modules.rpn_head import RPNHead
from seamseg.modules.semantic_head import SemanticHead


def layers() -> nn.Sequential:
    """Build one layer of each kind, large enough to measure its standard deviation."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(32, 64, 3, bias=False),
            bn=InPlaceABN(64),
            up=nn.ConvTranspose2d(64, 48, 2, stride=2),
            fc=nn.Linear(200, 300),
            conv_sem=nn.Conv2d(128, 64, 1),
        )
    )


def initialized(activation: str, slope: float, seed: int = 0) -> nn.Sequential:
    network = layers()
    initialize(network, activation, slope, torch.Generator().manual_seed(seed))
    return network


def assert_spread(weight: Tensor, gain: float, fan_in: int, fan_out: int) -> None:
    assert weight.std().item() == pytest.approx(gain * math.sqrt(2 / (fan_in + fan_out)), rel=0.05)
    assert abs(weight.mean().item()) < 0.05 * weight.std().item()


@pytest.mark.parametrize(
    ("activation", "slope", "gain"),
    [
        ("leaky_relu", 0.01, math.sqrt(2 / (1 + 0.01**2))),
        ("leaky_relu", 0.5, math.sqrt(2 / 1.25)),
        ("relu", 0.01, math.sqrt(2)),
        ("elu", 1.0, 1.0),
        ("identity", 0.01, 1.0),
    ],
)
def test_initialize_hidden_layers_use_the_gain_of_the_activation(activation: str, slope: float, gain: float) -> None:
    network = initialized(activation, slope)
    assert_spread(network.conv.weight, gain, 32 * 9, 64 * 9)
    assert_spread(network.up.weight, gain, 64 * 4, 48 * 4)
    assert_spread(network.fc.weight, gain, 200, 300)
    assert_spread(network.conv_sem.weight, 0.1, 128, 64)


def test_initialize_output_layers_of_the_heads_use_their_gains() -> None:
    heads = nn.ModuleDict(
        {
            "rpn": RPNHead(64, 64, 40, NormFactory("bn")),
            "roi": RoIHead(2, 40, 256, 64, NormFactory("bn"), mask_scoring=True, point_head=True),
            "stage": RoIHead(2, 40, 256, None, NormFactory("bn"), class_agnostic=True),
            "sem": SemanticHead(2, 64, 40, 3, NormFactory("bn")),
            "cls": nn.Conv2d(64, 40, 1),
        }
    )
    initialize(heads, "leaky_relu", 0.01, torch.Generator().manual_seed(0))
    outputs = {
        name.rpartition(".")[2]: module
        for name, module in heads.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None and "point.fc" not in name
    }
    assert set(outputs) == set(OUTPUT_GAINS)
    expected = {"conv_obj": 0.01, "conv_bbx": 0.01, "roi_cls": 0.01, "roi_bbx": 0.001, "roi_bbx_any": 0.001}
    expected |= {"roi_msk": 0.01, "roi_iou": 0.01, "roi_pnt": 0.01, "conv_sem": 0.1, "cls": 0.1}
    for name, module in outputs.items():
        assert_spread(module.weight, expected[name], module.weight.shape[1], module.weight.shape[0])


def test_initialize_biases_are_zero_and_norms_are_the_identity() -> None:
    network = initialized("leaky_relu", 0.01)
    for layer in (network.up, network.fc, network.conv_sem, network.bn):
        assert layer.bias.count_nonzero() == 0
    assert (network.bn.weight == 1).all()
    assert (network.bn.running_mean.tolist(), network.bn.running_var.tolist()) == ([0.0] * 64, [1.0] * 64)


def test_initialize_depends_only_on_the_generator() -> None:
    state = torch.get_rng_state()
    first, again, other = (initialized("elu", 1.0, seed).state_dict() for seed in (7, 7, 8))
    for name, value in first.items():
        assert torch.equal(value, again[name])
        if name.endswith("weight") and value.ndim > 1:
            assert not torch.equal(value, other[name])
    torch.set_rng_state(state)
    network = layers()
    state = torch.get_rng_state()
    initialize(network, "elu", 1.0, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), state)


def test_initialize_keeps_parameters_trainable() -> None:
    assert all(parameter.requires_grad for parameter in initialized("elu", 1.0).parameters())
