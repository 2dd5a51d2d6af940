"""Model of the cost of the counted collectives on many GPUs: latency and bandwidth of rings and trees.

All-reduce of n bytes over p ranks as a ring takes 2 (p − 1) hops and sends 2 n (p − 1)/p; as a tree, which NCCL prefers
for small messages, it takes 2 ⌈log₂ p⌉ hops. All-gather as a ring takes p − 1 hops and sends n (p − 1). Broadcast takes
⌈log₂ p⌉ hops and sends n. Nothing overlaps, except that gradients may overlap with the backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.traffic import Collective

NUM_GPUS = (8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Wires:
    """Assumptions of the model.

    Attributes:
        latency: Latency of a hop in seconds.
        bandwidth: Bandwidth per GPU in bytes per second.
        launch: Time to start a collective of any size in seconds.
    """

    latency: float = 5e-6
    bandwidth: float = 25e9
    launch: float = 10e-6

    def __str__(self) -> str:
        return (
            f"{1e6 * self.launch:g} µs to start a collective, {1e6 * self.latency:g} µs per hop, "
            f"{self.bandwidth / 1e9:g} GB/s per GPU"
        )


@dataclass(frozen=True)
class Cost:
    """Cost of collectives in milliseconds."""

    latency: float
    transfer: float

    @property
    def total(self) -> float:
        """Latency plus transfer."""
        return self.latency + self.transfer


def cost_of(collectives: Sequence[Collective], num_gpus: int, wires: Wires, trees: bool) -> Cost:
    """Return the cost of collectives that run one after the other.

    Args:
        collectives: Counted collectives; their bytes per rank do not depend on the number of ranks.
        num_gpus: Number of ranks.
        wires: Assumptions.
        trees: Whether all-reduces run along trees instead of rings.
    """
    latency = sum(wires.launch + wires.latency * _hops(one, num_gpus, trees) for one in collectives)
    transfer = sum(one.bytes * _copies(one, num_gpus) for one in collectives) / wires.bandwidth
    return Cost(1e3 * latency, 1e3 * transfer)


def binding(norms: Cost, gradients: Cost) -> str:
    """Return the name of the largest part of the cost."""
    parts = {
        "latency of the norms": norms.latency,
        "bandwidth of the norms": norms.transfer,
        "latency of the gradients": gradients.latency,
        "bandwidth of the gradients": gradients.transfer,
    }
    return max(parts, key=lambda name: parts[name])


def _hops(one: Collective, num_gpus: int, trees: bool) -> int:
    depth = math.ceil(math.log2(num_gpus))
    if one.operation == "broadcast":
        return depth
    if one.operation == "all_gather":
        return num_gpus - 1
    return 2 * depth if trees else 2 * (num_gpus - 1)


def _copies(one: Collective, num_gpus: int) -> float:
    """Return how often a rank sends its input."""
    if one.operation == "broadcast":
        return 1
    return num_gpus - 1 if one.operation == "all_gather" else 2 * (num_gpus - 1) / num_gpus
