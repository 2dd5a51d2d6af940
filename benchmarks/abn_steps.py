"""ResNet-50 in training: memory kept for the backward pass, and time and memory of a step."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
import torch._functorch.config as functorch
from torch import Tensor, nn

from benchmarks.abn_layers import Shape
from benchmarks.abn_networks import SLOPE, Classifier, bottlenecks, chain, checkpointed, plain, resnet50
from benchmarks.memory import peak_bytes, saved_bytes
from benchmarks.table import Row
from benchmarks.timing import Side, medians, training_step
from seamseg.builders.network import initialize

IMAGES: Shape = (4, 3, 160, 160)
_COMPILED = "-compile"
PEERS = {
    "": "BatchNorm2d + LeakyReLU",
    "-checkpoint": "the same, every block under torch.utils.checkpoint",
    _COMPILED: "the same under torch.compile, activation_memory_budget 0.5",
}
_WARM_UP = 2


class SavedShapes(NamedTuple):
    """Input sizes of the networks whose bytes for the backward pass are counted, N×C×H×W each."""

    chain: Shape = (4, 64, 64, 64)
    bottlenecks: Shape = (4, 256, 32, 32)
    resnet50: Shape = (2, 3, 224, 224)


_SAVED = SavedShapes()


def saved_rows(shapes: SavedShapes = _SAVED) -> list[Row]:
    """Count bytes kept for the backward pass, against the same network with BatchNorm2d + LeakyReLU(inplace=True)."""
    return [
        _saved_row("saved-chain", "8 × conv3×3-64 + norm + act", chain(), shapes.chain, must=0.52),
        _saved_row("saved-bottlenecks", "4 bottlenecks of width 256", bottlenecks(), shapes.bottlenecks, 0.52, 0.50),
        _saved_row("saved-resnet50", "ResNet-50", resnet50(), shapes.resnet50, 0.58, 0.52),
    ]


def step_rows(suffix: str, rounds: int, images: Shape = IMAGES, compiles: bool = True) -> list[Row]:
    """Measure time and memory of a training step against three peers.

    Args:
        suffix: Suffix of the slugs. Memory is counted only if it is empty, as the allocator's setting does not matter.
        rounds: Number of rounds that count.
        images: Size of the batch, N×C×H×W.
        compiles: Whether to measure the compiled peer, whose compilation takes most of a minute.
    """
    batch = torch.randn(images, generator=torch.Generator().manual_seed(0))
    peers = {peer: words for peer, words in PEERS.items() if compiles or peer != _COMPILED}
    steps = _steps(batch, compiles)
    found = medians(steps, rounds, _WARM_UP)
    size = "x".join(map(str, images))
    rows = [
        Row(
            f"step-resnet50{peer}{suffix}",
            f"training step of ResNet-50 on {size}; {words}",
            found["ours"],
            found[f"peer{peer}"],
            "ms",
            must=1.0 if peer == "" else None,
        )
        for peer, words in peers.items()
    ]
    if suffix:
        return rows
    peaks = {name: peak_bytes(step) / 1e6 for name, step in steps.items()}
    for peer, words in peers.items():
        measure = f"most memory of that step on top of parameters and momentum; {words}"
        rows.append(Row(f"memory-resnet50{peer}", measure, peaks["ours"], peaks[f"peer{peer}"], "MB"))
    return rows


def _saved_row(slug: str, words: str, ours: nn.Module, shape: Shape, must: float, aim: float | None = None) -> Row:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    peer = plain(copy.deepcopy(ours))
    measure = f"kept for backward, {words}, input {'x'.join(map(str, shape))}; BatchNorm2d + LeakyReLU"
    return Row(slug, measure, saved_bytes(ours, x) / 1e6, saved_bytes(peer, x) / 1e6, "MB", must, aim)


def _steps(batch: Tensor, compiles: bool) -> dict[str, Side]:
    """Return a step of our network and of each peer, all with the same weights."""
    ours = Classifier(resnet50())
    initialize(ours, "leaky_relu", SLOPE, torch.Generator().manual_seed(0))
    peers = {
        "": plain(copy.deepcopy(ours)),
        "-checkpoint": checkpointed(copy.deepcopy(ours)),
    }
    _check([ours, *peers.values()], batch)
    if compiles:
        peers[_COMPILED] = _compiled(plain(copy.deepcopy(ours)))
    networks = {"ours": ours} | {f"peer{peer}": network for peer, network in peers.items()}
    return {name: training_step(network, batch) for name, network in networks.items()}


def _compiled(network: nn.Module) -> nn.Module:
    """Compile a network that may keep half of its activations; the setting holds for the whole process."""
    functorch.activation_memory_budget = 0.5
    compiled: nn.Module = torch.compile(network)  # type: ignore[assignment]
    return compiled


def _check(networks: list[nn.Module], batch: Tensor) -> None:
    """Check that all networks compute the same loss."""
    with torch.no_grad():
        losses = [float(copy.deepcopy(network)(batch)) for network in networks]
    assert max(losses) - min(losses) < 1e-3 * max(losses), f"the networks compute different things: {losses}"
