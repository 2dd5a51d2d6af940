"""A trainer of a tiny network, and an observer.

trainer = tiny_trainer(tiny_experiment(folder))
watcher = Watcher(trainer, stop_after=3)
position = trainer.run(TrainingProgress(), watcher, watcher.stop)
"""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from support.tiny_experiment import STUFF, THINGS

from seamseg.builders import build_trainer
from seamseg.config import Experiment
from seamseg.engine.train import Trainer
from seamseg.networks import PyramidNet
from seamseg.runtime.checkpoint import Checkpoint
from seamseg.runtime.distributed import Process
from seamseg.runtime.stopping import StopRequest
from seamseg.runtime.training_progress import TrainingProgress
from seamseg.structures import Categories, Category

ALONE = Process(0, 1, torch.device("cpu"))
CATEGORIES = Categories(
    tuple(Category(name, name in THINGS, (0, 0, 0), index) for index, name in enumerate((*STUFF, *THINGS)))
)
"""Categories of `write_tiny_splits`, except colors and ids."""


def tiny_trainer(experiment: Experiment, folder: Path, checkpoint: Checkpoint | None = None) -> Trainer:
    """Build a trainer without a training record; ``folder`` is the run folder."""
    trainer, record = build_trainer(experiment, folder, ALONE, checkpoint)
    record.close()
    return trainer


class Watcher:
    """Records all events, keeps copies of checkpoints, and requests a stop.

    Args:
        trainer: Trainer to observe.
        stop_after: Number of steps after which to request a stop. None never stops.
        quality: Function that returns the quality of a validation, given the training progress.
    """

    def __init__(
        self,
        trainer: Trainer,
        stop_after: int | None = None,
        quality: Callable[[TrainingProgress], float] = lambda position: 0.5,
    ) -> None:
        self.trainer, self.stop_after, self.quality = trainer, stop_after, quality
        self.stop = StopRequest()
        self.steps: list[TrainingProgress] = []
        self.losses: dict[int, dict[str, float]] = {}
        self.rates: dict[int, float] = {}
        self.validated: list[tuple[TrainingProgress, PyramidNet]] = []
        self.saved: list[Checkpoint] = []

    def on_step_end(self, position: TrainingProgress) -> None:
        self.steps.append(position)
        if len(self.steps) == self.stop_after:
            self.stop.signal = signal.SIGTERM

    def on_log(self, iteration: int, losses: dict[str, float], rate: float) -> None:
        self.losses[iteration], self.rates[iteration] = losses, rate

    def validate(self, network: PyramidNet, position: TrainingProgress) -> float:
        network.eval()
        self.validated.append((position, network))
        return self.quality(position)

    def save(self, position: TrainingProgress) -> None:
        self.saved.append(copy.deepcopy(self.trainer.checkpoint(position, "{}", CATEGORIES.to_list())))


def trained(trainer: Trainer, steps: int | None = None) -> Watcher:
    """Train for a number of steps, or to the end, and return the observer."""
    watcher = Watcher(trainer, stop_after=steps)
    trainer.run(TrainingProgress(), watcher, watcher.stop)
    return watcher


def equal(first: Any, second: Any) -> bool:
    """Whether two states are equal, tensor by tensor."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(equal, first, second))
    return bool(first == second)
