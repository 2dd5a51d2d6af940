"""Memory of one training step: what each part needs, the peak, and the largest batch that fits."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from seamseg.engine.train import OptimizationConfig
from seamseg.errors import SettingsError
from seamseg.modules.fpn import PyramidBody
from seamseg.runtime.memory import MemoryTracker
from seamseg.structures import GroundTruth, LossValues, PackedSequence

OUTSIDE = "losses"
"""Name for what is kept outside of the parts of a network: by the losses and the pooling of regions."""
MOST_IMAGES = 4096
"""Largest batch that :func:`largest_batch` looks at."""


@dataclass(frozen=True)
class StepMemory:
    """Memory of one training step, in bytes.

    Attributes:
        parameters: Parameters and buffers of the network.
        average: Averaged weights; 0 if there are none.
        gradients: Gradients of the parameters that are trained.
        optimizer: State of the optimizer, such as the momentum.
        batch: Images and annotation of one batch.
        kept: What the forward pass of a batch keeps for the backward pass, by part of the network.
        peak: Largest number of bytes at a time, with all of the above.
        peak_phase: Phase of the step in which it is reached.
        at_peak: Bytes at that moment by role; see :data:`seamseg.runtime.memory.Role`.
        allocator_peak: Peak that the allocator of a GPU reports, which includes workspaces; None elsewhere.
    """

    parameters: int
    average: int
    gradients: int
    optimizer: int
    batch: int
    kept: dict[str, int]
    peak: int
    peak_phase: str
    at_peak: dict[str, int]
    allocator_peak: int | None

    @property
    def needed(self) -> int:
        """Number of bytes that must be available: the larger one of both peaks."""
        return max(self.peak, self.allocator_peak or 0)


def measure_step(
    network: nn.Module,
    images: PackedSequence,
    ground_truth: GroundTruth | Tensor,
    optimization: OptimizationConfig,
) -> StepMemory:
    """Run one training step, as :class:`seamseg.engine.train.Trainer` does, and count its memory.

    The state of the optimizer exists from the start, as in every step but the first.

    Args:
        network: Network on its device. Its parameters and images may have no values
            (:func:`seamseg.runtime.memory.without_values`).
        images: Normalized images of a batch.
        ground_truth: Their annotation.
        optimization: Optimizer, precision and loss weights. A step of several batches runs two of them.

    Raises:
        SeamsegError: The GPU has too little memory.
    """
    device = images.device
    tracker = MemoryTracker()
    tracker.assign(_tensors(images, ground_truth), "batch")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "synchronized norms without a process group")
            kept, totals = _run(tracker, network, images, ground_truth, optimization)
    except torch.OutOfMemoryError as error:
        raise SettingsError(
            f"the step does not fit the memory of {device}; omit --device to measure it without running it"
        ) from error
    return StepMemory(
        parameters=totals.get("parameters", 0),
        average=totals.get("average", 0),
        gradients=totals.get("gradients", 0),
        optimizer=totals.get("optimizer", 0),
        batch=totals.get("batch", 0),
        kept={name or OUTSIDE: num_bytes for name, num_bytes in kept.items()},
        peak=sum(tracker.peak.values()),
        peak_phase=tracker.peak_phase,
        at_peak={str(role): num_bytes for role, num_bytes in tracker.peak.items()},
        allocator_peak=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
    )


def _run(
    tracker: MemoryTracker,
    network: nn.Module,
    images: PackedSequence,
    ground_truth: GroundTruth | Tensor,
    optimization: OptimizationConfig,
) -> tuple[dict[str, int], dict[str, int]]:
    """Run the step; return what the last batch keeps, by part, and all memory in front of the optimizer, by role."""
    optimizer, precision, generator = optimization.optimizer, optimization.precision, torch.Generator()
    network.train()
    kept: dict[str, int] = {}
    with count_step(tracker, network, optimization):
        tracker.assign(_first_step(optimizer), "optimizer")
        for _ in range(min(optimization.accumulate, 2)):
            tracker.phase = "forward pass"
            with tracker.keeping(), precision.autocast():
                losses: LossValues = network(images, ground_truth, generator.manual_seed(0))
                total = losses.total(optimization.loss_weights)
            kept = tracker.kept()
            tracker.phase = "backward pass"
            precision.backward(total / optimization.accumulate)
        totals = {str(role): num_bytes for role, num_bytes in tracker.totals().items()}
        tracker.phase = "optimizer step"
        norm = precision.gradient_norm(optimizer)
        precision.step(optimizer, optimization.clip_norm, norm)
        if optimization.average is not None:
            optimization.average.update(1)
    return kept, totals


@contextlib.contextmanager
def count_step(tracker: MemoryTracker, network: nn.Module, optimization: OptimizationConfig) -> Iterator[None]:
    """Count the memory of a training step of a network inside the context.

    Args:
        tracker: Tracker that counts; its user sets the phases and assigns the state of the optimizer.
        network: Network that is trained.
        optimization: Objects of the step.
    """
    tracker.assign([*network.parameters(), *network.buffers()], "parameters")
    if optimization.average is not None:
        tracker.assign(optimization.average.network.state_dict().values(), "average")
    with contextlib.ExitStack() as undo:
        for parameter in network.parameters():
            if parameter.requires_grad:
                assign = partial(_assign_gradient, tracker)
                hook = parameter.register_post_accumulate_grad_hook(assign)  # type: ignore[no-untyped-call]
                undo.callback(hook.remove)
        undo.enter_context(tracker)
        undo.enter_context(tracker.attribute(parts_of(network)))
        yield


def _assign_gradient(tracker: MemoryTracker, parameter: Tensor) -> None:
    if parameter.grad is not None:
        tracker.assign([parameter.grad], "gradients")


def _first_step(optimizer: Optimizer) -> Iterator[Tensor]:
    """Let the optimizer make its state by a step with a gradient of 0, and return the state."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    states = [optimizer.state[parameter] for parameter in parameters]
    return (value for state in states for value in state.values() if isinstance(value, Tensor))


def parts_of(network: nn.Module) -> dict[str, nn.Module]:
    """Return the parts of a network by name: its children, with the feature pyramid apart from the backbone."""
    parts: dict[str, nn.Module] = {}
    for name, child in network.named_children():
        parts.update({name: child.backbone, "fpn": child.fpn} if isinstance(child, PyramidBody) else {name: child})
    return parts


def _tensors(images: PackedSequence, ground_truth: GroundTruth | Tensor) -> list[Tensor]:
    if isinstance(ground_truth, Tensor):
        return [*images.present, ground_truth]
    truth = (ground_truth.ids, ground_truth.classes, ground_truth.crowd, ground_truth.boxes)
    return [*images.present, *(tensor for part in truth for tensor in part.present)]


def largest_batch(needed: Callable[[int], int], available: int) -> int:
    """Return the largest number of images whose step fits; 0 if not even one does.

    Memory grows almost in proportion to the images, so a few measurements are enough.

    Args:
        needed: Function from a number of images to the bytes that a step needs.
        available: Number of bytes that there are.
    """
    first = needed(1)
    if first > available:
        return 0
    fits, fails, guess = 1, MOST_IMAGES + 1, 2
    while fails - fits > 1:
        bytes_of_guess = needed(guess)
        if bytes_of_guess <= available:
            fits = guess
        else:
            fails = guess
        per_image = (bytes_of_guess - first) / (guess - 1)
        on_line = 1 + int((available - first) / per_image) if per_image > 0 else MOST_IMAGES
        guess = min(max(on_line, fits + 1), fails - 1)
    return fits
