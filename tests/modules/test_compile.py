"""Blocks with in-place norms under torch.compile: results, and memory kept for the backward pass."""

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
    "norm alone": lambda: InPlaceABN(8, "elu", 0.5),
    "chain": lambda: nn.Sequential(*(layer for _ in range(2) for layer in (conv(), InPlaceABN(8, scale="signed")))),
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
    """Return output, gradients and state; the input comes from an operation outside of the compiled graph."""
    leaf = random(2, 8, 10, 12, seed=seed).requires_grad_()
    z = call(leaf * 1)
    gradients = torch.autograd.grad(z.square().mean(), [leaf, *network.parameters()])
    return [z.detach(), *gradients, *(buffer.clone() for buffer in network.buffers())]


def compile_and_compare(network: nn.Module, backend: str, modes: tuple[bool, ...]) -> Any:
    """Compare steps in training (True) and evaluation mode (False), then inference; return the compiled network."""
    stir(network)
    expected = copy.deepcopy(network)
    compiled: Any = torch.compile(network, fullgraph=True, backend=backend)
    for seed, training in enumerate(modes):
        for one in (network, expected):
            one.train(training)
        for found, wanted in zip(step(compiled, network, seed), step(expected, expected, seed), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    for one in (network, expected):
        one.eval()
    with torch.no_grad():
        x = random(2, 8, 10, 12)
        torch.testing.assert_close(compiled(x.clone()), expected(x.clone()), rtol=1e-4, atol=1e-5)
    return compiled


@pytest.mark.parametrize("name", BLOCKS)
def test_compiled_block_is_one_graph_with_equal_results_that_keeps_no_more_memory(name: str) -> None:
    network = BLOCKS[name]()
    compiled = compile_and_compare(network, "aot_eager", (True, True, False))
    if name == "norm alone":  # its input would be a leaf, which it refuses to overwrite
        return
    network.train()
    # A compiled graph may keep γ, C numbers.
    assert kept_bytes(compiled, network) <= 1.02 * kept_bytes(network, network)


@pytest.mark.slow
def test_block_compiled_by_inductor_gives_equal_results() -> None:
    compile_and_compare(BLOCKS["projection"](), "inductor", (True,))


class Broken(nn.Module):
    """Break the graph between convolution and norm, so that the norm overwrites the input of the next graph."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = conv(), InPlaceABN(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        torch._dynamo.graph_break()
        y: Tensor = self.norm(x)
        return y


def test_graph_that_starts_with_a_norm_gives_equal_results() -> None:
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


@pytest.mark.parametrize("options", [{"momentum": None}, {"kind": InPlaceABNSync}], ids=str)
def test_norm_that_breaks_the_graph_gives_equal_results(options: dict[str, Any]) -> None:
    kind: type[ABN] = options.pop("kind", InPlaceABN)
    network = nn.Sequential(conv(), kind(8, **options))
    stir(network)
    expected = copy.deepcopy(network)
    compiled: Any = torch.compile(network, backend="aot_eager")
    for seed in range(2):
        for found, wanted in zip(step(compiled, network, seed), step(expected, expected, seed), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_compiled_norm_follows_gammas_cached_between_steps() -> None:
    network = nn.Sequential(conv(), InPlaceABN(8))
    stir(network)
    compiled: Any = torch.compile(network, backend="aot_eager")
    for smallest in (0.5, 0.4, 1e-4):
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
