"""Blocks with in-place norms under torch.compile: the same numbers, and what is kept for the backward pass."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from oracles.norm import stir
from torch import Tensor, nn

from seamseg.modules.abn import ABN, InPlaceABN, InPlaceABNSync
from seamseg.modules.norm import NormFactory, cache_min_gammas
from seamseg.modules.resnet import ResidualBlock


def conv() -> nn.Module:
    return nn.Conv2d(8, 8, 3, padding=1, bias=False)


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "pair": lambda: nn.Sequential(conv(), InPlaceABN(8)),
    "norm alone": lambda: InPlaceABN(8, "elu", 0.5),
    "chain": lambda: nn.Sequential(*(layer for _ in range(3) for layer in (conv(), InPlaceABN(8, scale="signed")))),
    "residual": lambda: ResidualBlock(8, 8, 8, NormFactory("bn"), 1, False),
    "projection": lambda: ResidualBlock(8, 4, 16, NormFactory("bn"), 2, True),
}


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def step(call: Callable[[Tensor], Tensor], network: nn.Module, seed: int) -> list[Tensor]:
    """Output, all gradients and state. The input is made by an operation outside of the graph."""
    leaf = random(2, 8, 10, 12, seed=seed).requires_grad_()
    z = call(leaf * 1)
    gradients = torch.autograd.grad(z.square().mean(), [leaf, *network.parameters()])
    return [z.detach(), *gradients, *(buffer.clone() for buffer in network.buffers())]


def assert_same(network: nn.Module, **options: Any) -> None:
    stir(network)
    expected = copy.deepcopy(network)
    compiled: Any = torch.compile(network, fullgraph=True, **options)
    for seed in range(4):
        for one in (network, expected):
            one.train(seed < 2)
        for found, wanted in zip(step(compiled, network, seed), step(expected, expected, seed), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        x = random(2, 8, 10, 12)
        torch.testing.assert_close(compiled(x.clone()), expected(x.clone()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", BLOCKS)
def test_one_graph_with_the_same_numbers(name: str) -> None:
    assert_same(BLOCKS[name](), backend="aot_eager")


@pytest.mark.slow
def test_the_same_numbers_by_generated_code() -> None:
    """Of the block that holds all there is: convolutions with and without an activation, a shortcut, strides."""
    assert_same(BLOCKS["projection"](), backend="inductor")


class Broken(nn.Module):
    """The graph ends between the convolution and the norm, which so overwrites the input of the next graph."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = conv(), InPlaceABN(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        torch._dynamo.graph_break()
        y: Tensor = self.norm(x)
        return y


def test_a_graph_may_begin_at_a_norm() -> None:
    network = Broken()
    stir(network)
    expected = copy.deepcopy(network)
    compiled: Any = torch.compile(network, backend="aot_eager")
    for found, wanted in zip(step(compiled, network, 0), step(expected, expected, 0), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def kept_bytes(call: Callable[[Tensor], Tensor], network: nn.Module) -> int:
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> None:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()

    x = random(2, 8, 10, 12).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda _: torch.empty(0)):
        call(x)
    for tensor in (x, *network.parameters(), *network.buffers()):
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("name", ["chain", "residual", "projection"])
def test_the_saving_is_kept(name: str) -> None:
    network = BLOCKS[name]()
    compiled: Any = torch.compile(network, backend="aot_eager", fullgraph=True)
    assert kept_bytes(compiled, network) <= 1.01 * kept_bytes(network, network)


@pytest.mark.parametrize("options", [{"momentum": None}, {"kind": InPlaceABNSync}], ids=str)
def test_what_breaks_the_graph_is_still_right(options: dict[str, Any]) -> None:
    kind: type[ABN] = options.pop("kind", InPlaceABN)
    network = nn.Sequential(conv(), kind(8, **options))
    stir(network)
    expected = copy.deepcopy(network)
    compiled: Any = torch.compile(network, backend="aot_eager")
    for seed in range(2):
        for found, wanted in zip(step(compiled, network, seed), step(expected, expected, seed), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_small_weights_in_half_types_are_learned_between_graphs() -> None:
    network = nn.Sequential(conv(), InPlaceABN(8))
    stir(network)
    compiled: Any = torch.compile(network, backend="aot_eager")
    for smallest in (0.5, 0.4, 0.3, 1e-4):
        with torch.no_grad():
            network[1].weight[0] = smallest
        cache_min_gammas(network)
        gradients = []
        for call in (compiled, network):
            with torch.autocast("cpu", torch.bfloat16):
                z = call(random(2, 8, 10, 12))
            gradients.append(torch.autograd.grad(z.float().square().mean(), list(network.parameters())))
        for found, wanted in zip(*gradients, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)
