"""The classification network: loss, logits, and the in-place norms."""

from __future__ import annotations

import copy

import pytest
import torch
from support.tiny_experiment import narrow_body

from seamseg.builders.network import initialize
from seamseg.modules.norm import NormFactory
from seamseg.modules.resnet import ResNet
from seamseg.networks.classifier import Classifier
from seamseg.structures import PackedSequence

LABELS = torch.tensor([2, 0, 1, 2])


@pytest.fixture
def network() -> Classifier:
    with narrow_body():
        made = Classifier(ResNet("resnet18", NormFactory("bn")), 3)
    initialize(made, "leaky_relu", 0.01, torch.Generator().manual_seed(0))
    return made


def images() -> PackedSequence:
    generator = torch.Generator().manual_seed(1)
    return PackedSequence(torch.randn(3, 64, 64, generator=generator) for _ in LABELS)


def test_loss_is_the_mean_negative_log_probability_of_the_classes(network: Classifier) -> None:
    network.eval()
    logits = network.predict(images())
    assert logits.shape == (4, 3)
    losses = network(images(), LABELS, torch.Generator())
    expected = -torch.stack([row.log_softmax(0)[label] for row, label in zip(logits, LABELS, strict=True)]).mean()
    torch.testing.assert_close(losses.classification, expected)
    assert [name for name, _ in losses.items()] == ["classification"]


def test_gradients_equal_those_of_norms_that_are_not_in_place(network: Classifier) -> None:
    with narrow_body():
        plain = Classifier(ResNet("resnet18", NormFactory("plain")), 3)
    state = copy.deepcopy(network.state_dict())
    for name, value in state.items():
        if "bn" in name and name.endswith("weight"):
            value += 1e-5  # in-place norms add their ε to the weight
    plain.load_state_dict(state)
    for one in (network, plain):
        one(images(), LABELS, torch.Generator()).classification.backward()
    others = dict(plain.named_parameters())
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, others[name].grad, atol=1e-4, rtol=1e-3)


def test_loss_of_half_precision_logits_is_computed_in_float32(network: Classifier) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(images(), LABELS, torch.Generator()).classification
    assert loss.dtype == torch.float32
    assert loss.isfinite()
