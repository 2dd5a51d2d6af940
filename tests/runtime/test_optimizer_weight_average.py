"""Averaged weights compared with written-out sums."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from support.tiny_network import scenes, tiny_network
from torch import nn

from seamseg.modules.norm import NormName
from seamseg.runtime.optimizer import WeightAverage


def network_of(value: float) -> nn.BatchNorm1d:
    network = nn.BatchNorm1d(1)
    set_to(network, value)
    return network


def set_to(network: nn.BatchNorm1d, value: float) -> None:
    with torch.no_grad():
        network.weight.fill_(value)
        network.running_mean.fill_(-value)  # type: ignore[union-attr]
        network.num_batches_tracked.fill_(int(value))  # type: ignore[union-attr]


def test_weight_average_forgets_initial_weights_quickly() -> None:
    network = network_of(0.0)
    average = WeightAverage(network, 0.999)
    expected = 0.0
    for k in range(1, 30):
        set_to(network, float(k))
        average.update(k)
        decay = min(0.999, (1 + k) / (10 + k))
        expected = decay * expected + (1 - decay) * k
        assert float(average.network.weight) == pytest.approx(expected, rel=1e-5)
        assert float(average.network.running_mean) == pytest.approx(-expected, rel=1e-5)  # type: ignore[arg-type]


def test_weight_average_uses_the_given_decay_later() -> None:
    network = network_of(1.0)
    average = WeightAverage(network, 0.5)
    set_to(network, 3.0)
    average.update(10**6)
    assert float(average.network.weight) == 2.0


def test_weight_average_copies_integer_buffers() -> None:
    network = network_of(1.0)
    average = WeightAverage(network, 0.5)
    set_to(network, 7.0)
    average.update(1000)
    assert int(average.network.num_batches_tracked) == 7  # type: ignore[arg-type]


def test_weight_average_is_a_separate_untrained_network() -> None:
    network = network_of(1.0)
    average = WeightAverage(network, 0.5)
    set_to(network, 9.0)
    assert float(average.network.weight) == 1.0
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_weight_average_update_builds_no_autograd_graph() -> None:
    network = network_of(1.0)
    average = WeightAverage(network, 0.5)
    average.update(1)
    assert average.network.weight.grad_fn is None
    network.weight.sum().backward()


def test_weight_average_of_layers_in_several_types_averages_each_in_its_own() -> None:
    network = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1).double(), nn.Linear(1, 1).bfloat16())
    types = [value.dtype for value in network.parameters()]
    for value in network.parameters():
        nn.init.constant_(value, 0.25)
    average = WeightAverage(network, 0.5)
    for value in network.parameters():
        nn.init.constant_(value, 2.25)
    average.update(1000)
    assert [value.dtype for value in average.network.parameters()] == types
    assert all((value == 1.25).all() for value in average.network.parameters())


@pytest.mark.parametrize("norm", get_args(NormName))
def test_weight_average_follows_all_tensors_of_a_network_in_training(norm: NormName) -> None:
    """A layer that replaced a tensor instead of changing it would not be averaged any more."""
    network = tiny_network(norm).train()
    average = WeightAverage(network, 0.0)  # equals the last weights
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    for step in range(2):
        losses = dict(network(*scenes(["objects"], [(64, 96)]), torch.Generator().manual_seed(step)).items())
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        average.update(step + 1)
    averaged = average.network.state_dict()
    assert not [name for name, value in network.state_dict().items() if not torch.equal(averaged[name], value)]
