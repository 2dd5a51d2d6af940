"""Training: epochs of steps, validation, and everything kept that the next process needs to go on."""

from __future__ import annotations

import contextlib
import math
import warnings
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
from seamseg.errors import ModelError
from seamseg.modules.norm import has_per_rank_stats
from seamseg.networks import PanopticNet
from seamseg.ops.collectives import gather_objects, is_distributed, largest_over_ranks, mean_over_ranks
from seamseg.runtime.checkpoint import Checkpoint
from seamseg.runtime.distributed import Process
from seamseg.runtime.finite import REMEDY, describe_nonfinite_losses, nonfinite_tensors, some_of
from seamseg.runtime.optimizer import LearningRate, WeightAverage
from seamseg.runtime.precision import Precision
from seamseg.runtime.stopping import StopRequest, WaitStopped, until_stopped
from seamseg.runtime.training_progress import TrainingProgress
from seamseg.structures import Batch, Categories, Losses


@dataclass(frozen=True)
class Intervals:
    """How often something happens.

    Attributes:
        epochs: passes over the training images.
        validate_every: epochs between validations; 0 validates at the end alone.
        checkpoint_every: epochs between checkpoints; the best model has one too.
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
class OptimizationConfig:
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

    def on_step_end(self, position: TrainingProgress) -> None:
        """After every iteration."""

    def on_log(self, iteration: int, losses: dict[str, float], rate: float) -> None:
        """Every now and then: mean losses over the ranks, learning rate."""

    def validate(self, network: PanopticNet, position: TrainingProgress) -> float:
        """Scores the network after an epoch: its panoptic quality in 0 … 1."""

    def save(self, position: TrainingProgress) -> None:
        """Writes a checkpoint."""


class Trainer:
    """Trains one network.

    Args:
        network: on its device.
        loader: of this rank's training batches.
        optimization: of the network's weights.
        seed: of the sampled anchors and regions.
        process: this rank.
        intervals: of epochs, validations, checkpoints and logs.
    """

    def __init__(
        self,
        network: PanopticNet,
        loader: BatchLoader,
        optimization: OptimizationConfig,
        seed: int,
        process: Process,
        intervals: Intervals,
    ) -> None:
        self.network, self.loader, self.optimization = network, loader, optimization
        self.seed, self.process, self.intervals = seed, process, intervals
        self._parallel: nn.Module = network
        if is_distributed():
            self._parallel = parallel(network)
            prebuild_ddp_buckets(self._parallel)

    @property
    def scored_network(self) -> PanopticNet:
        """What is validated and kept: the average of the weights, or the weights themselves."""
        average = self.optimization.average
        return self.network if average is None else average.network

    def num_iterations(self, position: TrainingProgress) -> int:
        """Steps of the whole run: those that are done at a position, and those to come."""
        return position.iteration + self.intervals.epochs * self._steps_per_epoch - self.schedule_step(position)

    def schedule_step(self, position: TrainingProgress) -> int:
        """Where the schedule stands at a position: how many steps of these many images would have led to it."""
        if not position.within_epoch:
            return position.epoch * self._steps_per_epoch
        to_come = self.loader.num_batches_in(position.epoch) - position.batch
        return (position.epoch + 1) * self._steps_per_epoch - steps_per_epoch(to_come, self.optimization.accumulate)

    @property
    def _steps_per_epoch(self) -> int:
        return steps_per_epoch(self.loader.num_batches, self.optimization.accumulate)

    def run(self, position: TrainingProgress, observer: Observer, stop: StopRequest) -> TrainingProgress:
        """Trains from a position to the end, or until somebody wants it to stop.

        Args:
            position: to begin or to go on from.
            observer: is told what happens.
            stop: whether somebody wants it to stop; looked at in every step and after every validation.

        Returns:
            Where the run stands; the checkpoint of that position is written.

        Raises:
            FloatingPointError: On any rank a loss or the gradient is not finite, and the parameters, their average and
                the optimizer are those of the step before; or an epoch ends with a state that is not finite. No file
                holds such a state.
        """
        self.loader.on_wait = stop.check_wait
        ahead = self.schedule_step(position) - position.iteration
        while position.epoch < self.intervals.epochs:
            position = self._epoch(position, observer, stop, ahead)
            self._agree(stop, self._ruined_state(position))
            improved = False
            if not self._stops(stop):
                with contextlib.suppress(WaitStopped):  # it validates after the next start
                    position, improved = self._finish_epoch(position, observer)
                    self._agree(stop)
            if stop.agreed or improved or self.intervals.checkpoints(position.epoch - 1):
                observer.save(position)
            if stop.agreed:
                break
        return position

    def _epoch(self, position: TrainingProgress, observer: Observer, stop: StopRequest, ahead: int) -> TrainingProgress:
        """The rest of an epoch, or its part until all ranks agree to stop; ``ahead`` is the schedule's lead."""
        self.network.train()
        num_batches = self.loader.num_batches_in(position.epoch)
        waiting: list[Batch] = []
        for batch in until_stopped(self.loader.epoch(position.epoch, start=position.batch)):
            waiting.append(batch.to(self.process.device))
            done = position.batch + len(waiting)
            if len(waiting) < self.optimization.accumulate and done < num_batches:
                continue
            position = replace(position, batch=done, iteration=position.iteration + 1)
            rate = self.optimization.learning_rate.apply(self.optimization.optimizer, position.iteration + ahead)
            losses = self._step(waiting, position.iteration, stop)
            if position.iteration % self.intervals.log_every == 0:
                observer.on_log(position.iteration, mean_over_ranks(losses), rate)
            waiting = []
            observer.on_step_end(position)
            if self._stops(stop):
                break
        return position

    def _finish_epoch(self, position: TrainingProgress, observer: Observer) -> tuple[TrainingProgress, bool]:
        """Validates if it is time; the position of the next epoch, and whether the network was never better."""
        before, position = position, position.next_epoch()
        if self.intervals.validates(before.epoch):
            position = self._validate(position, observer)
        return position, position.best_pq > before.best_pq

    def _step(self, batches: list[Batch], iteration: int, stop: StopRequest) -> dict[str, Tensor]:
        """Moves the weights; the mean losses of the batches."""
        optimization = self.optimization
        generator = step_generator(self.seed, iteration, self.process.rank)
        optimization.optimizer.zero_grad(set_to_none=True)
        values: list[dict[str, Tensor]] = []
        for number, batch in enumerate(batches, start=1):
            with self._sync_gradients(number == len(batches)):
                values.append(self._accumulate(batch, generator, len(batches)))
        norm = optimization.precision.gradient_norm(optimization.optimizer, self.network)
        wrong = describe_nonfinite_losses(values, batches, iteration), self._wild_gradient(norm, batches, iteration)
        self._agree(stop, *wrong, consequence="; the weights are those of the step before")
        optimization.precision.step(optimization.optimizer, self.network, optimization.clip_norm, norm)
        if optimization.average is not None:
            optimization.average.update(self.network, iteration)
        return {name: torch.stack([one[name] for one in values]).mean() for name in values[0]}

    def _stops(self, stop: StopRequest) -> bool:
        """Whether all ranks have agreed to stop; a process alone agrees with itself at any time."""
        if self.process.world_size == 1:
            stop.agree(stop.signal or 0)
        return stop.agreed is not None

    def _agree(self, stop: StopRequest, *wrong: str, consequence: str = "") -> None:
        """One collective in which all ranks learn whether one was asked to stop or is at fault.

        Raises:
            FloatingPointError: On every rank, with the first kind of ``wrong`` that any rank has, and its consequence.
        """
        signal, someone_wrong = largest_over_ranks([stop.signal or 0, int(any(wrong))], self.process.device)
        stop.agree(signal)
        if someone_wrong:
            kinds = [[sentence for sentence in kind if sentence] for kind in zip(*gather_objects(wrong), strict=True)]
            found = "; ".join(next(filter(None, kinds)))
            raise FloatingPointError(f"{found}{consequence}. {REMEDY}")

    def _wild_gradient(self, norm: Tensor, batches: list[Batch], iteration: int) -> str:
        """Where the gradient of a step is not finite; empty if the optimizer may have it."""
        # Ranks have the same gradient, and with fp16 the same loss scale: all of them skip a step that overflowed.
        if bool(norm.isfinite()):
            return ""
        names = nonfinite_tensors({name: value.grad for name, value in self.network.named_parameters()})
        if names and self.optimization.precision.can_lower_scale:
            return ""
        images = [image for batch in batches for image in batch.image_ids]
        place = f"in {some_of(names)}" if names else "in its norm"
        return f"iteration {iteration}: the gradient is infinite or NaN {place} on the images {images}"

    def _ruined_state(self, position: TrainingProgress) -> str:
        """Which tensors a finite gradient has made infinite, as a much too high learning rate can; empty if none."""
        names = nonfinite_tensors(vars(self.checkpoint(position, "", Categories(()))))
        return f"iteration {position.iteration}: {some_of(names)} became infinite or NaN" if names else ""

    def _accumulate(self, batch: Batch, generator: torch.Generator, num_batches: int) -> dict[str, Tensor]:
        """Adds the gradients of one of the step's batches; returns its losses."""
        precision = self.optimization.precision
        with precision.autocast():
            losses: Losses = self._parallel(batch.images, batch.ground_truth, generator)
        total = losses.total(self.optimization.loss_weights)
        precision.backward(total / num_batches)
        return {"total": total.detach(), **{name: value.detach() for name, value in losses.items()}}

    def _sync_gradients(self, last: bool) -> AbstractContextManager[Any]:
        """Average the gradients over the ranks with the last batch of a step only."""
        if last or not isinstance(self._parallel, nn.parallel.DistributedDataParallel):
            return contextlib.nullcontext()
        return self._parallel.no_sync()

    def _validate(self, position: TrainingProgress, observer: Observer) -> TrainingProgress:
        scored = self.scored_network
        if is_distributed():
            # Norms of one process each saw other images; all score with those of the first.
            for buffer in scored.buffers():
                dist.broadcast(buffer, src=0)
        quality = observer.validate(scored, position)
        if not quality > position.best_pq:
            return position
        return replace(position, best_pq=quality, best_iteration=position.iteration)

    def checkpoint(self, position: TrainingProgress, settings: str, categories: Categories) -> Checkpoint:
        """The state at a position."""
        optimization, average = self.optimization, self.optimization.average
        return Checkpoint(
            settings=settings,
            categories=categories.to_list(),
            num_ranks=self.process.world_size,
            position=position,
            network=self.network.state_dict(),
            optimizer=optimization.optimizer.state_dict(),
            scaler=optimization.precision.state_dict(),
            average=None if average is None else average.network.state_dict(),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Takes over a state, but for its position.

        Raises:
            SeamsegError: it is the state of another network.
        """
        try:
            self.network.load_state_dict(checkpoint.network)
            average = self.optimization.average
            if average is not None and checkpoint.average is not None:
                average.network.load_state_dict(checkpoint.average)
            self.optimization.optimizer.load_state_dict(checkpoint.optimizer)
            self.optimization.precision.load_state_dict(checkpoint.scaler)
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"the checkpoint is of another network: {shorten(str(error), 200)}") from error


def parallel(network: PanopticNet) -> nn.parallel.DistributedDataParallel:
    """The network on all ranks: its gradients are averaged, and its running statistics are the same everywhere."""
    with warnings.catch_warnings():
        # Newer versions of torch have another word, which the oldest that serves does not know.
        warnings.simplefilter("ignore", FutureWarning)
        return nn.parallel.DistributedDataParallel(network, broadcast_buffers=has_per_rank_stats(network))


def prebuild_ddp_buckets(parallel: nn.parallel.DistributedDataParallel) -> None:
    """Has torch arrange the buckets that gradients travel in, always in the same way, by a pass that leaves no trace.

    It arranges them anew after the first backward pass of a process, by the order in which gradients came. The place in
    a bucket decides in which order more than two ranks are summed, so that a resumed run would round its first step
    unlike an uninterrupted one.
    """
    network = parallel.module
    used = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.forward = lambda: torch.stack([parameter.sum() for parameter in used]).sum() * 0
    try:
        parallel().backward()
    finally:
        del network.forward
    network.zero_grad(set_to_none=True)


def steps_per_epoch(num_batches: int, accumulate: int) -> int:
    """Batches are accumulated within an epoch; its last step may have fewer."""
    return math.ceil(num_batches / accumulate)


def step_generator(seed: int, iteration: int, rank: int) -> torch.Generator:
    """Random numbers of one step of one rank, whatever came before."""
    mixed = np.random.SeedSequence([seed, iteration, rank]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(mixed[0]))
