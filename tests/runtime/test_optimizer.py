"""Every trained parameter is in exactly one group, with norms apart."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from support.tiny_network import tiny_network
from torch import nn

from seamseg.modules.norm import NormName
from seamseg.runtime.optimizer import DenseAdamW, parameter_groups


def small_network() -> nn.Module:
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 4, 1), bn=nn.BatchNorm2d(4), gn=nn.GroupNorm(2, 4), linear=nn.Linear(4, 2))
    )


def names(network: nn.Module, group: dict[str, object]) -> set[str]:
    of_parameter = {id(parameter): name for name, parameter in network.named_parameters()}
    parameters = group["params"]
    assert isinstance(parameters, list)
    return {of_parameter[id(parameter)] for parameter in parameters}


def test_parameter_groups_separates_norms_from_other_layers() -> None:
    network = small_network()
    others, norms = parameter_groups(network, 0.1, weight_decay_norm=False)
    assert names(network, others) == {"conv.weight", "conv.bias", "linear.weight", "linear.bias"}
    assert names(network, norms) == {"bn.weight", "bn.bias", "gn.weight", "gn.bias"}


@pytest.mark.parametrize(("decayed", "expected"), [(True, [0.1, 0.1]), (False, [0.1, 0.0])])
def test_weight_decay_norm_sets_the_decay_of_norms(decayed: bool, expected: list[float]) -> None:
    assert [group["weight_decay"] for group in parameter_groups(small_network(), 0.1, decayed)] == expected


@pytest.mark.parametrize("norm", ["bn", "syncbn", "gn", "affine"])
def test_parameter_groups_contains_every_parameter_once(norm: NormName) -> None:
    network = tiny_network(norm)
    others, norms = parameter_groups(network, 1e-4, weight_decay_norm=False)
    listed = [*others["params"], *norms["params"]]
    assert len(listed) == len(set(map(id, listed)))
    assert {id(parameter) for parameter in listed} == {id(parameter) for parameter in network.parameters()}
    # In the published names, every norm is called bn plus a number or word.
    assert names(network, norms) == {name for name, _ in network.named_parameters() if "bn" in name.split(".")[-2]}


def test_parameter_groups_leaves_out_frozen_parameters() -> None:
    network = small_network()
    network.get_submodule("conv").requires_grad_(False)
    network.get_submodule("bn").requires_grad_(False)
    others, norms = parameter_groups(network, 0.1, weight_decay_norm=True)
    assert names(network, others) == {"linear.weight", "linear.bias"}
    assert names(network, norms) == {"gn.weight", "gn.bias"}


def test_parameter_groups_contains_a_shared_layer_once() -> None:
    layer = nn.Linear(2, 2)
    network = nn.Sequential(layer, layer)
    others, _ = parameter_groups(network, 0.1, weight_decay_norm=True)
    assert len(others["params"]) == 2


def test_weight_decay_shrinks_only_decayed_parameters() -> None:
    network = small_network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    torch.optim.SGD(parameter_groups(network, 0.5, weight_decay_norm=False), lr=1.0).step()
    values = {name: parameter.flatten()[0].item() for name, parameter in network.named_parameters()}
    assert {name for name, value in values.items() if value == 1.0} == {"bn.weight", "bn.bias", "gn.weight", "gn.bias"}
    assert set(values.values()) == {0.5, 1.0}


@pytest.mark.parametrize("gradient_format", [torch.channels_last, torch.contiguous_format])
def test_dense_adamw_equals_adamw_in_every_memory_format(gradient_format: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 3, 3, 3), (4, 3, 1, 1), (5, 4), (6,)]
    sides = []
    for kind in (DenseAdamW, torch.optim.AdamW):
        parameters = [torch.nn.Parameter(torch.randn(shape, generator=generator.manual_seed(0))) for shape in shapes]
        if kind is DenseAdamW:
            for index in range(2):
                parameters[index] = torch.nn.Parameter(
                    parameters[index].detach().contiguous(memory_format=torch.channels_last)
                )
        optimizer = kind(parameters, lr=0.1, weight_decay=0.1, fused=kind is DenseAdamW)
        for step in range(3):
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape, generator=generator.manual_seed(step))
                if kind is DenseAdamW and parameter.ndim == 4:
                    parameter.grad = parameter.grad.contiguous(memory_format=gradient_format)
            optimizer.step()
            assert [parameter.shape for parameter in parameters] == [torch.Size(shape) for shape in shapes]
        sides.append((parameters, optimizer))
    (found, ours), (expected, theirs) = sides
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
        for name in ("exp_avg", "exp_avg_sq"):
            assert ours.state[one][name].shape == one.shape
            torch.testing.assert_close(ours.state[one][name], theirs.state[other][name])
