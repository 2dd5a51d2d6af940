"""One process of the distributed benchmark: count the collectives of training steps and measure their time."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.distributed_peer import with_sync_batch_norm
from benchmarks.made_up import made_up_batch, panoptic_network, small_experiment, small_network
from benchmarks.traffic import Collective, collectives_of
from seamseg.config import Experiment, parse_experiment
from seamseg.engine.train import parallel
from seamseg.networks import PyramidNet
from seamseg.ops.collectives import gather_objects, largest_over_ranks

SIDES = ("active", "masked", "peer")
"""Both values of `norm.sync`, and torch.nn.SyncBatchNorm."""
Pattern = tuple[bool, ...]
PATTERNS: tuple[Pattern, ...] = ((True, True), (False, True))
"""Which of the ranks have objects."""
FULL = ("body={name: resnet50}", "fpn.extra_levels=2", "rpn={anchor_ratios: [0.2, 0.5, 1, 2, 5], anchor_scale: 2}",
        "rpn.training={before_nms: 1000, after_nms: 100}", "roi.num_samples=16")  # fmt: skip
"""Settings of the published network with few regions, as their number changes no collective."""
SIZE, QUICK_SIZE = (192, 256), (64, 96)
ROUNDS, QUICK_ROUNDS, WARM_UP = 10, 2, 2


@dataclass(frozen=True)
class Traffic:
    """Collectives of a step on all ranks together.

    Attributes:
        norms: Collectives of the synchronized norms, including the broadcast of running statistics.
        exchange: Exchange of the numbers of regions.
        buffers: DDP's broadcasts of running statistics.
        gradients: DDP's gradient buckets.
        agreement: Agreement on stopping and on finite losses.
    """

    norms: list[Collective] = field(default_factory=list)
    exchange: list[Collective] = field(default_factory=list)
    buffers: list[Collective] = field(default_factory=list)
    gradients: list[Collective] = field(default_factory=list)
    agreement: list[Collective] = field(default_factory=list)

    @property
    def all(self) -> list[Collective]:
        """All collectives."""
        return [*self.norms, *self.exchange, *self.buffers, *self.gradients, *self.agreement]


@dataclass(frozen=True)
class Found:
    """Results of the ranks.

    Attributes:
        traffic: Collectives by pattern and side.
        losses: Loss by side, to check that all sides compute the same.
        milliseconds: Time of a step: `together` (two ranks), `apart` (two processes that do not communicate), `alone`.
    """

    traffic: dict[tuple[Pattern, str], Traffic]
    losses: dict[str, float]
    milliseconds: dict[str, float]


def run_rank(rank: int, num_ranks: int, quick: bool, folder: str) -> Found:
    """Join the other ranks, count and measure."""
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=num_ranks)
    try:
        traffic, losses = dict[tuple[Pattern, str], Traffic](), dict[str, float]()
        for side in SIDES:
            network = network_of(side, quick)
            for pattern in PATTERNS:
                traffic[pattern, side], losses[side] = _count(network, side, pattern, quick)
            del network
            gc.collect()
        return Found(traffic, losses, _times(quick))
    finally:
        dist.destroy_process_group()


def network_of(side: str, quick: bool) -> PyramidNet:
    """Return the network with the norms of a side, or with unsynchronized norms (`bn`)."""
    norm = {"bn": "bn", "peer": "syncbn"}.get(side, f"syncbn, sync: {side}")
    experiment = small_experiment(f"norm={{name: {norm}}}") if quick else _full(f"norm={{name: {norm}}}")
    network = small_network(experiment) if quick else panoptic_network(experiment)
    return (with_sync_batch_norm(network) if side == "peer" else network).train()


def _full(norm: str) -> Experiment:
    return parse_experiment("", "benchmarks", [*FULL, norm])


def _count(network: PyramidNet, side: str, pattern: Pattern, quick: bool) -> tuple[Traffic, float]:
    step = _step(network, pattern[dist.get_rank()], quick)
    collectives_of(lambda: step(network))  # the first step creates process groups
    alone = collectives_of(lambda: step(network))
    wrapped = DistributedDataParallel(network) if side == "peer" else parallel(network)
    losses = []
    for _ in range(WARM_UP):  # DDP rebuilds its buckets after the first step
        losses.append(step(wrapped))
    whole = collectives_of(lambda: step(wrapped))
    of_ddp = list((Counter(whole) - Counter(alone)).elements())
    agreement = [] if side == "peer" else collectives_of(lambda: largest_over_ranks([0, 0], torch.device("cpu")))
    mine = Traffic(
        norms=[one for one in alone if not _is_exchange(one)],
        exchange=[one for one in alone if _is_exchange(one)],
        buffers=[one for one in of_ddp if one.operation == "broadcast"],
        gradients=[one for one in of_ddp if one.operation == "all_reduce"],
        agreement=agreement,
    )
    return _joined([one for one in gather_objects(mine) if isinstance(one, Traffic)]), losses[0]


def _is_exchange(one: Collective) -> bool:
    return one.operation == "all_gather" and one.whole_numbers


def _joined(of_ranks: list[Traffic]) -> Traffic:
    return Traffic(
        **{part: [one for rank in of_ranks for one in getattr(rank, part)] for part in Traffic.__dataclass_fields__}
    )


def _step(network: PyramidNet, has_objects: bool, quick: bool) -> Callable[[nn.Module], float]:
    """Return a forward and backward pass on an image of this rank, the same in every step."""
    kind = "objects" if has_objects else "no objects"
    generator = torch.Generator().manual_seed(dist.get_rank())
    batch = made_up_batch([kind], [QUICK_SIZE if quick else SIZE], generator)

    def step(module: nn.Module) -> float:
        network.zero_grad(set_to_none=True)
        losses: Any = module(batch.images, batch.ground_truth, torch.Generator().manual_seed(0))
        total = losses.total({name: 1.0 for name, _ in losses.items()})
        total.backward()
        return float(total.detach())

    return step


def _times(quick: bool) -> dict[str, float]:
    """Return medians of the slowest rank, over rounds in which all variants take turns."""
    together, apart = network_of("masked", quick), network_of("bn", quick)
    wrapped, is_first = parallel(together), dist.get_rank() == 0
    in_company, by_itself = _step(together, True, quick), _step(apart, True, quick)
    steps: dict[str, Callable[[], object]] = {
        "together": lambda: in_company(wrapped),
        "apart": lambda: by_itself(apart),
        "alone": lambda: by_itself(apart) if is_first else None,
    }
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(WARM_UP + (QUICK_ROUNDS if quick else ROUNDS)):
        for name in list(steps)[:: 1 if turn % 2 == 0 else -1]:
            dist.barrier()
            start = time.perf_counter()
            steps[name]()
            mine = 1000 * (time.perf_counter() - start)
            slowest = max(float(str(one)) for one in gather_objects(mine))
            if turn >= WARM_UP:
                taken[name].append(slowest)
    return {name: median(values) for name, values in taken.items()}
