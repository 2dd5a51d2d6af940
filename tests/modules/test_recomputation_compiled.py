"""Compiled bodies that keep a part of what they would keep: values, gradients, statistics, bytes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from oracles.norm import stir
from torch import Tensor, fx
from torch._dynamo.backends.debugging import aot_eager_decomp_partition

from benchmarks.memory import saved_bytes
from seamseg.modules import recomputation
from seamseg.modules.body import Body
from seamseg.modules.norm import NormFactory, NormName
from seamseg.modules.resnet import ResidualBlock

SHAPE = (2, 3, 64, 64)


@pytest.fixture(autouse=True)
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[fx.GraphModule]]:
    """Choose what to keep, but run operators instead of compiling kernels, which takes minutes; count the graphs."""
    compiled: list[fx.GraphModule] = []

    def run_operators(graph: fx.GraphModule, inputs: list[Any]) -> Any:
        compiled.append(graph)
        return aot_eager_decomp_partition(graph, inputs)

    monkeypatch.setattr(recomputation, "_compiler", lambda: run_operators)
    torch._dynamo.reset()
    yield compiled
    torch._dynamo.reset()


class TwoBlocks(Body):
    def __init__(self, norm: NormFactory) -> None:
        super().__init__()
        self.stem = norm.conv(3, 8, 3, stride=2)
        self.first, self.second = (ResidualBlock(8, 8, 8, norm, 1, bottleneck=False) for _ in range(2))

    def levels(self, images: Tensor) -> list[Tensor]:
        x = self.first(self.stem(images))
        return [x, self.second(x)]


def body(norm: NormName, budget: float | None) -> Body:
    torch.manual_seed(0)
    made = TwoBlocks(NormFactory(norm))
    stir(made)
    made.compile_budget = budget
    return made


def images() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


def results(network: Body) -> list[Tensor]:
    levels = network(images())
    torch.stack([level.square().mean() for level in levels]).sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    return [*(level.detach() for level in levels), *gradients, *network.buffers()]


@pytest.mark.parametrize("norm", ["bn", "plain"])
def test_compiled_body_keeps_at_most_its_budget_and_computes_the_same(norm: str, graphs: list[fx.GraphModule]) -> None:
    expected = results(body(norm, None))
    assert graphs == []
    kept = []
    for budget in (1.0, 0.3):
        network = body(norm, budget)
        for found, wanted in zip(results(network), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)
        kept.append(saved_bytes(network, images()))
    assert kept[1] < 0.45 * kept[0]
    assert len(graphs) == 2


def test_copy_of_a_compiled_body_uses_its_own_weights(graphs: list[fx.GraphModule]) -> None:
    network = body("bn", 0.5)
    network(images())
    other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    other.compile_budget = None
    plain = copy.deepcopy(other)
    other.compile_budget = 0.5
    for found, wanted in zip(other(images()), plain(images()), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)


def test_evaluation_is_not_compiled(graphs: list[fx.GraphModule]) -> None:
    network = body("bn", 0.5)
    with torch.no_grad():
        network(images())
    network.eval()(images())
    assert graphs == []
