"""One process of the soak: train a small network on images of which most have no objects."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import nn

from benchmarks.made_up import KINDS, MadeUpBatches, made_up_batch, small_experiment, small_network
from seamseg.builders.training import build_optimizer
from seamseg.engine.train import Intervals, OptimizationConfig, Trainer
from seamseg.ops import collectives
from seamseg.runtime.allocator import keep_freed_memory
from seamseg.runtime.distributed import Process
from seamseg.runtime.optimizer import LearningRate
from seamseg.runtime.precision import Precision
from seamseg.runtime.stopping import StopRequest
from seamseg.runtime.training_progress import TrainingProgress
from seamseg.structures import Batch

SECONDS = 120
"""Timeout in seconds of a rank that waits for the others."""
MAX_GROUPS = 3
"""Limit of process groups in the soak; lower than the number of sets of ranks, so that it is reached."""
EMPTY = tuple(kind for kind in KINDS if kind != "objects")
SIDES = (33, 48, 64, 75)
MEMORY_EVERY = 5
WARM_UP = 0.2
"""Fraction of the steps after which memory should no longer grow."""


@dataclass(frozen=True)
class Soak:
    """One run of several ranks.

    Attributes:
        num_ranks: Number of ranks.
        sync: Value of `norm.sync`.
        steps: Number of steps.
        folder: Empty folder for the rendezvous of the ranks.
    """

    num_ranks: int
    sync: str
    steps: int
    folder: Path


@dataclass(frozen=True)
class Report:
    """Results of one rank.

    Attributes:
        digests: Digest of every parameter and buffer.
        most_groups: Maximum number of process groups at one time.
        memory: Resident memory in MB after every `MEMORY_EVERY` steps.
        empty: Number of steps in which this rank had no object, and in which no rank had one.
    """

    digests: dict[str, str]
    most_groups: int
    memory: list[float]
    empty: tuple[int, int]

    def growth(self) -> tuple[float, float]:
        """Return the peak memory after the warm-up, and during it."""
        warm = max(1, int(WARM_UP * len(self.memory)))
        return max(self.memory[warm:]), max(self.memory[:warm])


def train(soak: Soak, rank: int, stepped: Callable[[int], None]) -> Report:
    """Join the other ranks and train.

    Args:
        soak: Run to take part in.
        rank: Rank of this process.
        stepped: Function that gets the number of every finished step.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    warnings.filterwarnings("ignore", "the RoI head got a single region")
    collectives.MAX_GROUPS = MAX_GROUPS
    dist.init_process_group(
        "gloo",
        init_method=f"file://{soak.folder}/store",
        rank=rank,
        world_size=soak.num_ranks,
        timeout=timedelta(seconds=SECONDS),
    )
    try:
        watcher = Watcher(stepped)
        trainer = small_trainer(soak, rank)
        trainer.run(TrainingProgress(), watcher, StopRequest())
        return Report(digests_of(trainer.network), watcher.most_groups, watcher.memory, empty_steps(soak, rank))
    finally:
        dist.destroy_process_group()


def small_trainer(soak: Soak, rank: int) -> Trainer:
    """Return a trainer with a learning rate so small that noise is not memorized and nothing overflows."""
    experiment = small_experiment(
        f"norm={{name: syncbn, sync: {soak.sync}}}", "optimizer.lr=0.002", "roi.masks_of_positives_only=true"
    )
    network = small_network(experiment)
    optimization = OptimizationConfig(
        optimizer=build_optimizer(experiment, network),
        learning_rate=LearningRate(0.002, lambda iteration: 1.0, 0, 1.0),
        loss_weights=experiment.loss_weights.model_dump(),
        clip_norm=1.0,
        precision=Precision("float32", torch.device("cpu")),
        accumulate=1,
        average=None,
    )
    loader: Any = MadeUpBatches(lambda step: batch_of(soak, step, rank), soak.steps)
    process = Process(rank, soak.num_ranks, torch.device("cpu"))
    return Trainer(network, loader, optimization, 0, process, Intervals(1, 0, 1, log_every=10))


def kinds_of(soak: Soak, step: int) -> list[tuple[str, ...]]:
    """Return the kinds of the one or two images of every rank: objects on no rank, on all ranks, or at random."""
    generator = torch.Generator().manual_seed(1000 * step + 10 * soak.num_ranks)
    case = _draw(4, generator)
    found = []
    for _ in range(soak.num_ranks):
        has_objects = case == 1 or (case > 1 and _draw(2, generator) == 1)
        first = "objects" if has_objects else EMPTY[_draw(len(EMPTY), generator)]
        others = KINDS if has_objects else EMPTY
        found.append((first, *(others[_draw(len(others), generator)] for _ in range(_draw(2, generator)))))
    return found


def empty_steps(soak: Soak, rank: int) -> tuple[int, int]:
    """Return the number of steps in which this rank has no object, and in which no rank has one."""
    steps = [["objects" in kinds for kinds in kinds_of(soak, step)] for step in range(soak.steps)]
    return sum(not has[rank] for has in steps), sum(not any(has) for has in steps)


def batch_of(soak: Soak, step: int, rank: int) -> Batch:
    """Return the batch of a rank in a step."""
    generator = torch.Generator().manual_seed(1000 * step + 10 * soak.num_ranks + rank + 1)
    kinds = kinds_of(soak, step)[rank]
    sizes = [(SIDES[_draw(len(SIDES), generator)], SIDES[_draw(len(SIDES), generator)]) for _ in kinds]
    return made_up_batch(kinds, sizes, generator)


class Watcher:
    """Observer that records process groups and memory of a rank.

    Args:
        stepped: Function that gets the number of every finished step.
    """

    def __init__(self, stepped: Callable[[int], None]) -> None:
        self.stepped = stepped
        self.most_groups = 0
        self.memory: list[float] = []

    def on_step_end(self, position: TrainingProgress) -> None:
        """Report the step and record its resources."""
        self.stepped(position.iteration)
        self.most_groups = max(self.most_groups, collectives.num_groups())
        if position.iteration % MEMORY_EVERY == 0:
            self.memory.append(resident())

    def on_log(self, iteration: int, losses: dict[str, float], rate: float) -> None:
        """Do nothing."""

    def validate(self, network: nn.Module, position: TrainingProgress) -> float:
        """Return a constant score."""
        return 0.0

    def save(self, position: TrainingProgress) -> None:
        """Do nothing."""


def digests_of(network: nn.Module) -> dict[str, str]:
    """Return a digest of every parameter and buffer, equal if all bits are."""
    return {
        name: hashlib.sha256(value.detach().contiguous().numpy().tobytes()).hexdigest()
        for name, value in network.state_dict().items()
    }


def resident() -> float:
    """Return the resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _draw(below: int, generator: torch.Generator) -> int:
    return int(torch.randint(below, (), generator=generator))
