"""Memory of tensors by role, compared with the profiler's count of what the allocator does."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.abn_networks import bottlenecks, chain, plain
from benchmarks.memory import peak_bytes, saved_bytes
from seamseg.modules.recomputation import checkpoint
from seamseg.runtime.memory import MemoryTracker, tensor_without_values, without_values

SHAPE = (2, 16, 64, 64)
SIZE = 2 * 16 * 64 * 64 * 4


class Recomputed(nn.Module):
    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        self.first, self.second = network[:4], network[4:]

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.second, checkpoint(self.first, x))


def networks() -> dict[str, nn.Module]:
    return {
        "in place": chain(4, 16),
        "ordinary": plain(chain(4, 16)),
        "residual": bottlenecks(2, 16),
        "recomputed": Recomputed(chain(4, 16)),
    }


def step(network: nn.Module, x: Tensor) -> None:
    network(x).square().mean().backward()


def run(network: nn.Module, x: Tensor) -> tuple[MemoryTracker, dict[str, int]]:
    """Return the tracker of a forward and backward pass, and what is kept between the two."""
    tracker = MemoryTracker()
    tracker.assign([*network.parameters(), *network.buffers()], "parameters")
    tracker.assign([x], "batch")
    with tracker:
        with tracker.keeping():
            loss = network(x).square().mean()
        kept = tracker.kept()
        loss.backward()
    return tracker, kept


def test_kept_bytes_and_peak_equal_those_of_the_profiler() -> None:
    for name, network in networks().items():
        x = torch.randn(SHAPE)
        saved = saved_bytes(copy.deepcopy(network), x)
        peak = peak_bytes(partial(step, copy.deepcopy(network), x))
        tracker, kept_by_part = run(network, x)
        kept = sum(kept_by_part.values())
        loss = SIZE  # the square keeps the output of the network
        assert saved <= kept <= saved + loss + 100, name
        own = sum(tracker.peak[role] for role in ("parameters", "batch"))
        assert abs(sum(tracker.peak.values()) - own - peak) < 0.05 * peak, name


def test_tensors_without_values_have_the_memory_of_real_ones() -> None:
    for name, network in networks().items():
        x = torch.randn(SHAPE)
        real, real_kept = run(copy.deepcopy(network), x)
        fake, fake_kept = run(without_values(network), tensor_without_values(x))
        assert fake_kept == real_kept, name
        assert abs(sum(fake.peak.values()) - sum(real.peak.values())) < 0.01 * sum(real.peak.values()), name


def test_decisions_on_real_tensors_run_beside_tensors_without_values() -> None:
    x = tensor_without_values(torch.zeros(4, 3))
    chosen = torch.nonzero(torch.tensor([True, False, True, False])).squeeze(1)
    assert chosen.tolist() == [0, 2]
    assert x[chosen].shape == (2, 3)


def test_storage_counts_once_and_until_its_last_view_is_freed() -> None:
    with MemoryTracker() as tracker:
        x = torch.zeros(1000)
        view = x[10:]
        x.add_(1)
        assert tracker.totals() == {"temporary": 4000}
        del x
        assert tracker.totals() == {"temporary": 4000}
        del view
        assert tracker.totals() == {}
    assert dict(tracker.peak) == {"temporary": 4000}


def test_kept_tensors_belong_to_the_part_that_runs() -> None:
    network = nn.ModuleDict({"body": nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid()), "head": nn.Conv2d(4, 2, 1)})
    x = torch.zeros(1, 3, 8, 8)
    with MemoryTracker() as tracker, tracker.attribute(dict(network.items())), tracker.keeping():
        hidden = network["head"](network["body"](x))
        loss = functional.softplus(hidden).sum()
    assert tracker.kept() == {"body": 4 * 64 * 4, "": 2 * 64 * 4}
    loss.backward()
    del loss, hidden
    assert tracker.kept() == {}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_peak_has_the_phase_in_which_it_is_reached() -> None:
    with MemoryTracker() as tracker:
        tracker.phase = "first"
        torch.zeros(10)
        tracker.phase = "second"
        kept = torch.zeros(20)
        tracker.assign([kept], "optimizer")
        torch.zeros(30)
        tracker.phase = "third"
        torch.zeros(5)
    assert tracker.peak_phase == "second"
    assert dict(tracker.peak) == {"optimizer": 80, "temporary": 120}
