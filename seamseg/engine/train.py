"""Training: epochs of steps, validation, and the state that a later process needs to resume."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from textwrap import shorten
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.optim import Optimizer
from torch.profiler import record_function

from seamseg.data.loader import BatchLoader, LoadedBatch
from seamseg.errors import ModelError
from seamseg.modules.norm import has_per_rank_stats
from seamseg.ops.collectives import gather_objects, is_distributed, largest_over_ranks, mean_over_ranks
from seamseg.runtime.allocator import release_gaps
from seamseg.runtime.checkpoint import Checkpoint
from seamseg.runtime.distributed import Process
from seamseg.runtime.finite import REMEDY, describe_nonfinite_losses, nonfinite_tensors, some_of
from seamseg.runtime.optimizer import LearningRate, WeightAverage
from seamseg.runtime.precision import Precision
from seamseg.runtime.stopping import StopRequest, WaitStopped, until_stopped
from seamseg.runtime.training_progress import TrainingProgress
from seamseg.structures import LossValues


@dataclass(frozen=True)
class Intervals:
    """Number of epochs, and intervals between validations, checkpoints and log entries.

    Attributes:
        epochs: Number of passes over the training images.
        validate_every: Number of epochs between validations; 0 validates only at the end.
        checkpoint_every: Number of epochs between checkpoints. The best model always gets one, too.
        log_every: Number of iterations between log entries.
    """

    epochs: int
    validate_every: int
    checkpoint_every: int
    log_every: int

    def validates(self, epoch: int) -> bool:
        """Return whether a validation follows epoch ``epoch``, counted from 0."""
        return epoch + 1 == self.epochs or (self.validate_every > 0 and (epoch + 1) % self.validate_every == 0)

    def checkpoints(self, epoch: int) -> bool:
        """Return whether a checkpoint follows epoch ``epoch``, counted from 0."""
        return epoch + 1 == self.epochs or (epoch + 1) % self.checkpoint_every == 0


@dataclass(frozen=True)
class OptimizationConfig:
    """Objects and values that turn losses into new weights.

    Attributes:
        optimizer: Optimizer of the network's parameters.
        learning_rate: Learning rate schedule over the iterations.
        loss_weights: Weight of each loss, by name.
        clip_norm: Maximum norm of the gradient; None for no clipping.
        precision: Precision that a step computes in.
        accumulate: Number of batches per step; their losses are averaged.
        average: Average of the weights, which is validated instead of the weights themselves; None for no average.
    """

    optimizer: Optimizer
    learning_rate: LearningRate
    loss_weights: dict[str, float]
    clip_norm: float | None
    precision: Precision
    accumulate: int
    average: WeightAverage | None


class Observer(Protocol):
    """Callbacks of a training run, called on every rank."""

    def on_step_end(self, position: TrainingProgress) -> None:
        """Handle the end of an iteration."""

    def on_log(self, iteration: int, losses: dict[str, float], rate: float) -> None:
        """Log the losses, averaged over the ranks, and the learning rate."""

    def validate(self, network: nn.Module, position: TrainingProgress) -> float:
        """Score the network after an epoch and return its quality, such as PQ, in 0 … 1."""

    def save(self, position: TrainingProgress) -> None:
        """Write a checkpoint."""


class Trainer:
    """Train one network.

    Args:
        network: Network on its device. Its forward pass takes the images and the ground truth of a batch and a CPU
            random generator, and returns :class:`seamseg.structures.LossValues`.
        loader: Loader of this rank's training batches.
        optimization: Optimizer, schedule, precision and loss weights.
        seed: Seed for sampling anchors and regions.
        process: Distributed process of this rank.
        intervals: Number of epochs, and intervals of validations, checkpoints and log entries.

    Attributes:
        phase: Function from the name of a phase of a step, one of ``PHASES``, to a context in which it runs. By default
            it records the phase in profiles.
    """

    PHASES = ("data", "forward pass", "backward pass", "optimizer")

    def __init__(
        self,
        network: nn.Module,
        loader: BatchLoader[Any],
        optimization: OptimizationConfig,
        seed: int,
        process: Process,
        intervals: Intervals,
    ) -> None:
        self.network, self.loader, self.optimization = network, loader, optimization
        self.seed, self.process, self.intervals = seed, process, intervals
        self.phase: Callable[[str], AbstractContextManager[Any]] = record_function
        self._parallel: nn.Module = network
        if is_distributed():
            self._parallel = parallel(network)
            prebuild_ddp_buckets(self._parallel)

    @property
    def scored_network(self) -> nn.Module:
        """Network that is validated and saved: the one with averaged weights if it exists, else the trained one."""
        average = self.optimization.average
        return self.network if average is None else average.network

    def num_iterations(self, position: TrainingProgress) -> int:
        """Return the number of steps of the whole run: those done before ``position`` plus those remaining."""
        return position.iteration + self.intervals.epochs * self._steps_per_epoch - self.schedule_step(position)

    def schedule_step(self, position: TrainingProgress) -> int:
        """Return the schedule's step at a position: steps up to it if all epochs had the current number of images."""
        if not position.within_epoch:
            return position.epoch * self._steps_per_epoch
        to_come = self.loader.num_batches_in(position.epoch) - position.batch
        return (position.epoch + 1) * self._steps_per_epoch - steps_per_epoch(to_come, self.optimization.accumulate)

    @property
    def _steps_per_epoch(self) -> int:
        return steps_per_epoch(self.loader.num_batches, self.optimization.accumulate)

    def run(self, position: TrainingProgress, observer: Observer, stop: StopRequest) -> TrainingProgress:
        """Train from a position until the end or until a stop is requested.

        Args:
            position: Position to start or resume from.
            observer: Receiver of the training events.
            stop: Stop request, checked in every step and after every validation.

        Returns:
            The position reached; its checkpoint has been written.

        Raises:
            FloatingPointError: If a loss or the gradient is not finite on any rank; parameters, average and optimizer
                then keep the state of the previous step. Also if an epoch ends with a non-finite state, which is not
                saved.
        """
        self.loader.on_wait = stop.check_wait
        lead = self.schedule_step(position) - position.iteration
        while position.epoch < self.intervals.epochs:
            position = self._epoch(position, observer, stop, lead)
            self._sync_stop(stop, self._nonfinite_state(position))
            improved = False
            if not self._should_stop(stop):
                with contextlib.suppress(WaitStopped):  # the resumed run validates
                    position, improved = self._finish_epoch(position, observer)
                    self._sync_stop(stop)
            if stop.agreed or improved or self.intervals.checkpoints(position.epoch - 1):
                observer.save(position)
            if stop.agreed:
                break
        return position

    def _epoch(self, position: TrainingProgress, observer: Observer, stop: StopRequest, lead: int) -> TrainingProgress:
        """Run the rest of an epoch, or until all ranks agree to stop; return the new position."""
        self.network.train()
        num_batches = self.loader.num_batches_in(position.epoch)
        pending: list[LoadedBatch] = []
        for batch in self._loaded(position):
            pending.append(batch)
            done = position.batch + len(pending)
            if len(pending) < self.optimization.accumulate and done < num_batches:
                continue
            position = replace(position, batch=done, iteration=position.iteration + 1)
            rate = self.optimization.learning_rate.apply(self.optimization.optimizer, position.iteration + lead)
            losses = self._step(pending, position.iteration, stop)
            if position.iteration % self.intervals.log_every == 0:
                observer.on_log(position.iteration, mean_over_ranks(losses), rate)
            pending = []
            observer.on_step_end(position)
            if self._should_stop(stop):
                break
        return position

    def _loaded(self, position: TrainingProgress) -> Iterator[LoadedBatch]:
        """Yield the remaining batches of an epoch, on the device."""
        batches = until_stopped(self.loader.epoch(position.epoch, start=position.batch))
        while True:
            with self.phase("data"):
                batch = next(batches, None)
                if batch is None:
                    return
                batch = batch.to(self.process.device)
            yield batch

    def _finish_epoch(self, position: TrainingProgress, observer: Observer) -> tuple[TrainingProgress, bool]:
        """Validate if it is due; return the position at the next epoch and whether the network is the best so far."""
        before, position = position, position.next_epoch()
        if self.intervals.validates(before.epoch):
            position = self._validate(position, observer)
        return position, position.best_quality > before.best_quality

    def _step(self, batches: list[LoadedBatch], iteration: int, stop: StopRequest) -> dict[str, Tensor]:
        """Update the weights and return the mean losses of the batches."""
        optimization = self.optimization
        generator = step_generator(self.seed, iteration, self.process.rank)
        torch.manual_seed(generator.initial_seed())  # dropout layers use the global generator
        optimization.optimizer.zero_grad(set_to_none=True)
        values: list[dict[str, Tensor]] = []
        for number, batch in enumerate(batches, start=1):
            with self._sync_gradients(number == len(batches)):
                values.append(self._accumulate(batch, generator, len(batches)))
        with self.phase("optimizer"):
            norm = optimization.precision.gradient_norm(optimization.optimizer)
        bad_losses = describe_nonfinite_losses(values, [batch.image_ids for batch in batches], iteration)
        faults = bad_losses, self._nonfinite_gradient(norm, batches, iteration)
        self._sync_stop(stop, *faults, consequence="; the weights are those of the previous step")
        with self.phase("optimizer"):
            optimization.precision.step(optimization.optimizer, optimization.clip_norm, norm)
            if optimization.average is not None:
                optimization.average.update(iteration)
        return {name: torch.stack([one[name] for one in values]).mean() for name in values[0]}

    def _should_stop(self, stop: StopRequest) -> bool:
        """Return whether all ranks have agreed to stop; a single process agrees with itself at any time."""
        if self.process.world_size == 1:
            stop.agree(stop.signal or 0)
        return stop.agreed is not None

    def _sync_stop(self, stop: StopRequest, *faults: str, consequence: str = "") -> None:
        """Tell all ranks, in one collective, whether any rank received a stop request or has a fault.

        Raises:
            FloatingPointError: If any rank has a fault; raised on every rank, with the first kind of fault.
        """
        signal, any_fault = largest_over_ranks([stop.signal or 0, int(any(faults))], self.process.device)
        stop.agree(signal)
        if any_fault:
            kinds = [[sentence for sentence in kind if sentence] for kind in zip(*gather_objects(faults), strict=True)]
            description = "; ".join(next(filter(None, kinds)))
            raise FloatingPointError(f"{description}{consequence}. {REMEDY}")

    def _nonfinite_gradient(self, norm: Tensor, batches: list[LoadedBatch], iteration: int) -> str:
        """Describe where the gradient of a step is not finite; empty if the optimizer may use the gradient."""
        # All ranks have the same gradient and, with fp16, the same loss scale, so all of them skip an overflowed step.
        if bool(norm.isfinite()):
            return ""
        names = nonfinite_tensors({name: value.grad for name, value in self.network.named_parameters()})
        if names and self.optimization.precision.can_lower_scale:
            return ""
        images = [image for batch in batches for image in batch.image_ids]
        place = f"in {some_of(names)}" if names else "in its norm"
        return f"iteration {iteration}: the gradient is infinite or NaN {place} on the images {images}"

    def _nonfinite_state(self, position: TrainingProgress) -> str:
        """Describe tensors that a finite gradient made infinite or NaN, as a much too high rate can; empty if none."""
        names = nonfinite_tensors(vars(self.checkpoint(position, "", [])))
        return f"iteration {position.iteration}: {some_of(names)} became infinite or NaN" if names else ""

    def _accumulate(self, batch: LoadedBatch, generator: torch.Generator, num_batches: int) -> dict[str, Tensor]:
        """Add the gradients of one batch of the step and return its losses."""
        precision = self.optimization.precision
        with self.phase("forward pass"), precision.autocast():
            losses: LossValues = self._parallel(batch.images, batch.ground_truth, generator)
        with self.phase("backward pass"):
            if self.process.device.type == "cpu":
                release_gaps()
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
            # Unsynchronized norms have different statistics on each rank; all ranks score with those of rank 0.
            for buffer in scored.buffers():
                dist.broadcast(buffer, src=0)
        quality = observer.validate(scored, position)
        if not quality > position.best_quality:
            return position
        return replace(position, best_quality=quality, best_iteration=position.iteration)

    def checkpoint(self, position: TrainingProgress, settings: str, classes: list[dict[str, Any]]) -> Checkpoint:
        """Return the state at a position, with the settings as YAML and the classes as plain values."""
        optimization, average = self.optimization, self.optimization.average
        return Checkpoint(
            settings=settings,
            categories=classes,
            num_ranks=self.process.world_size,
            position=position,
            network=self.network.state_dict(),
            optimizer=optimization.optimizer.state_dict(),
            scaler=optimization.precision.state_dict(),
            average=None if average is None else average.network.state_dict(),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore a state, except for its position.

        Raises:
            SeamsegError: If the state belongs to another network.
        """
        try:
            self.network.load_state_dict(checkpoint.network)
            average = self.optimization.average
            if average is not None and checkpoint.average is not None:
                average.network.load_state_dict(checkpoint.average)
            self.optimization.optimizer.load_state_dict(checkpoint.optimizer)
            self.optimization.precision.load_state_dict(checkpoint.scaler)
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"the checkpoint belongs to another network: {shorten(str(error), 200)}") from error


def parallel(network: nn.Module) -> nn.parallel.DistributedDataParallel:
    """Wrap the network for all ranks: gradients are averaged, and running statistics are the same everywhere."""
    with warnings.catch_warnings():
        # Newer versions of torch renamed the argument; the oldest supported version has only the old name.
        warnings.simplefilter("ignore", FutureWarning)
        return nn.parallel.DistributedDataParallel(network, broadcast_buffers=has_per_rank_stats(network))


def prebuild_ddp_buckets(parallel: nn.parallel.DistributedDataParallel) -> None:
    """Let DDP arrange its gradient buckets in advance, by a forward and backward pass that changes nothing.

    DDP rearranges its buckets after the first backward pass of a process, in the order in which gradients became ready.
    The place in a bucket determines the order in which more than two ranks are summed. Without this function, a resumed
    run would round its first step differently from an uninterrupted one.
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
    """Return the number of steps per epoch; batches accumulate within an epoch, and its last step may have fewer."""
    return math.ceil(num_batches / accumulate)


def step_generator(seed: int, iteration: int, rank: int) -> torch.Generator:
    """Return the random generator of one step on one rank, independent of earlier steps."""
    mixed = np.random.SeedSequence([seed, iteration, rank]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(mixed[0]))
