"""Training: epochs of steps, validation, and everything kept that the next process needs to go on."""

from __future__ import annotations

import contextlib
import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from textwrap import shorten
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.optim import Optimizer

from seamseg.data.loader import BatchLoader
from seamseg.networks import PanopticNet
from seamseg.ops.collectives import any_rank, is_distributed, mean_over_ranks
from seamseg.runtime.checkpoint import Checkpoint, Position
from seamseg.runtime.distributed import Process
from seamseg.runtime.precision import Precision
from seamseg.runtime.schedule import LearningRate
from seamseg.runtime.stopping import StopRequest
from seamseg.runtime.weight_average import WeightAverage
from seamseg.structures import Batch, Categories, Losses


@dataclass(frozen=True)
class Pace:
    """How often something happens.

    Attributes:
        epochs: passes over the training images.
        validate_every: epochs between validations; 0 validates at the end alone.
        checkpoint_every: epochs between checkpoints.
        log_every: iterations between entries of the log.
    """

    epochs: int
    validate_every: int
    checkpoint_every: int
    log_every: int

    def validates(self, epoch: int) -> bool:
        """Whether a validation follows epoch 0, 1, …."""
        return epoch + 1 == self.epochs or (self.validate_every > 0 and (epoch + 1) % self.validate_every == 0)

    def checkpoints(self, epoch: int) -> bool:
        """Whether a checkpoint follows epoch 0, 1, …."""
        return epoch + 1 == self.epochs or (epoch + 1) % self.checkpoint_every == 0


@dataclass(frozen=True)
class Optimisation:
    """How losses become new weights.

    Attributes:
        optimizer: of the network's parameters.
        learning_rate: over the iterations.
        loss_weights: by the names of the losses.
        clip_norm: largest norm of the gradient, or None.
        precision: that a step computes in.
        accumulate: batches per step; their losses are averaged.
        average: follows the weights and is validated in their place, or None.
    """

    optimizer: Optimizer
    learning_rate: LearningRate
    loss_weights: dict[str, float]
    clip_norm: float | None
    precision: Precision
    accumulate: int
    average: WeightAverage[PanopticNet] | None


class Observer(Protocol):
    """What happens around the training, on every rank."""

    def stepped(self, position: Position) -> None:
        """After every iteration."""

    def logged(self, iteration: int, losses: dict[str, float], rate: float) -> None:
        """Every now and then: mean losses over the ranks, learning rate."""

    def validate(self, network: PanopticNet, position: Position) -> float:
        """Scores the network after an epoch: its panoptic quality in 0 … 1."""

    def save(self, position: Position) -> None:
        """Writes a checkpoint."""


class Trainer:
    """Trains one network.

    Args:
        network: on its device.
        loader: of this rank's training batches.
        optimisation: of the network's weights.
        seed: of the sampled anchors and regions.
        process: this rank.
        pace: of epochs, validations, checkpoints and logs.
    """

    def __init__(
        self,
        network: PanopticNet,
        loader: BatchLoader,
        optimisation: Optimisation,
        seed: int,
        process: Process,
        pace: Pace,
    ) -> None:
        self.network, self.loader, self.optimisation = network, loader, optimisation
        self.seed, self.process, self.pace = seed, process, pace
        self._parallel: nn.Module = nn.parallel.DistributedDataParallel(network) if is_distributed() else network

    @property
    def scored_network(self) -> PanopticNet:
        """What is validated and kept: the average of the weights, or the weights themselves."""
        average = self.optimisation.average
        return self.network if average is None else average.network

    @property
    def num_iterations(self) -> int:
        """Steps of the whole run."""
        return self.pace.epochs * steps_per_epoch(self.loader.num_batches, self.optimisation.accumulate)

    def run(self, position: Position, observer: Observer, stop: StopRequest) -> Position:
        """Trains from a position to the end, or until somebody wants it to stop.

        Args:
            position: to begin or to go on from.
            observer: is told what happens.
            stop: whether somebody wants it to stop; looked at after every step.

        Returns:
            Where the run stands; the checkpoint of that position is written.

        Raises:
            FloatingPointError: a loss is not finite; the parameters and the last checkpoint are those before it.
        """
        while position.epoch < self.pace.epochs:
            position = self._epoch(position, observer, stop)
            finished = position.batch == 0
            if finished and self.pace.validates(position.epoch - 1):
                position = self._validate(position, observer)
            stopping = any_rank(bool(stop), self.process.device)
            if stopping or self.pace.checkpoints(position.epoch - 1):
                observer.save(position)
            if stopping:
                break
        return position

    def _epoch(self, position: Position, observer: Observer, stop: StopRequest) -> Position:
        """The rest of an epoch; the position has ``batch`` 0 if it was finished."""
        self.network.train()
        waiting: list[Batch] = []
        for batch in self.loader.epoch(position.epoch, start=position.batch):
            waiting.append(batch.to(self.process.device))
            done = position.batch + len(waiting)
            if len(waiting) < self.optimisation.accumulate and done < self.loader.num_batches:
                continue
            position = replace(position, batch=done, iteration=position.iteration + 1)
            self._step(waiting, position.iteration, observer)
            waiting = []
            observer.stepped(position)
            if any_rank(bool(stop), self.process.device) and position.batch < self.loader.num_batches:
                return position
        return replace(position, epoch=position.epoch + 1, batch=0)

    def _step(self, batches: list[Batch], iteration: int, observer: Observer) -> None:
        optimisation = self.optimisation
        generator = step_generator(self.seed, iteration, self.process.rank)
        rate = optimisation.learning_rate.apply(optimisation.optimizer, iteration)
        optimisation.optimizer.zero_grad(set_to_none=True)
        values: list[dict[str, Tensor]] = []
        for number, batch in enumerate(batches, start=1):
            with self._exchange(number == len(batches)):
                values.append(self._accumulate(batch, generator, len(batches), iteration))
        optimisation.precision.step(optimisation.optimizer, self.network, optimisation.clip_norm)
        if optimisation.average is not None:
            optimisation.average.update(self.network, iteration)
        if iteration % self.pace.log_every == 0:
            means = {name: torch.stack([one[name] for one in values]).mean() for name in values[0]}
            observer.logged(iteration, mean_over_ranks(means), rate)

    def _accumulate(
        self, batch: Batch, generator: torch.Generator, num_batches: int, iteration: int
    ) -> dict[str, Tensor]:
        """Adds the gradients of one of the step's batches; returns its losses."""
        precision = self.optimisation.precision
        with precision.autocast():
            losses: Losses = self._parallel(batch.images, batch.ground_truth, generator)
        total = losses.total(self.optimisation.loss_weights)
        check_finite(total.detach(), losses, batch, iteration)
        precision.backward(total / num_batches)
        return {"total": total.detach(), **{name: value.detach() for name, value in losses.items()}}

    def _exchange(self, wanted: bool) -> AbstractContextManager[Any]:
        """Gradients go to the other ranks with the last batch of a step."""
        if wanted or not isinstance(self._parallel, nn.parallel.DistributedDataParallel):
            return contextlib.nullcontext()
        return self._parallel.no_sync()

    def _validate(self, position: Position, observer: Observer) -> Position:
        scored = self.scored_network
        if is_distributed():
            # Norms of one process each saw other images; all score with those of the first.
            for buffer in scored.buffers():
                dist.broadcast(buffer, src=0)
        quality = observer.validate(scored, position)
        return replace(position, best_pq=max(quality, position.best_pq))

    def checkpoint(self, position: Position, settings: str, categories: Categories) -> Checkpoint:
        """The state at a position."""
        average = self.optimisation.average
        return Checkpoint(
            settings=settings,
            categories=categories.to_list(),
            position=position,
            network=self.network.state_dict(),
            optimizer=self.optimisation.optimizer.state_dict(),
            scaler=self.optimisation.precision.state_dict(),
            average=None if average is None else average.network.state_dict(),
        )

    def restore(self, checkpoint: Checkpoint) -> Position:
        """Takes over a state and returns its position.

        Raises:
            ValueError: it is the state of another network.
        """
        try:
            self.network.load_state_dict(checkpoint.network)
            average = self.optimisation.average
            if average is not None and checkpoint.average is not None:
                average.network.load_state_dict(checkpoint.average)
            self.optimisation.optimizer.load_state_dict(checkpoint.optimizer)
            self.optimisation.precision.load_state_dict(checkpoint.scaler)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"the checkpoint is of another network: {shorten(str(error), 200)}") from error
        return checkpoint.position


def steps_per_epoch(num_batches: int, accumulate: int) -> int:
    """Batches are accumulated within an epoch; its last step may have fewer."""
    return math.ceil(num_batches / accumulate)


def step_generator(seed: int, iteration: int, rank: int) -> torch.Generator:
    """Random numbers of one step of one rank, whatever came before."""
    mixed = np.random.SeedSequence([seed, iteration, rank]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(mixed[0]))


def check_finite(total: Tensor, losses: Losses, batch: Batch, iteration: int) -> None:
    """Stops a run that has gone astray before the step changes the weights.

    Raises:
        FloatingPointError: a loss is infinite or not a number.
    """
    if not math.isfinite(float(total)):
        values = {name: float(value.detach()) for name, value in losses.items()}
        wrong = [f"{name}={value}" for name, value in values.items() if not math.isfinite(value)]
        raise FloatingPointError(
            f"iteration {iteration}: {', '.join(wrong)} on the images {list(batch.image_ids)}; the weights are those "
            "of the step before. Lower optimizer.lr, lengthen schedule.warmup.iterations, or set optimizer.clip_norm"
        )
