"""Peak memory of processes that train, each measured in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.network_cases import (
    BEST,
    PLAIN,
    POSITIVES,
    Plan,
    describe_size,
    made_up_step,
    overrides_of,
    training,
)
from benchmarks.network_times import mask_rcnn_step, plainly
from benchmarks.predict_memory import high_water_mark
from benchmarks.table import Row
from seamseg.builders.memory import Workload, measure_training
from seamseg.config import Experiment
from seamseg.engine.step_memory import StepMemory

_MIB_PER_GB = 1e9 / 2**20
"""MiB in 10⁹ bytes."""
_STEPS = 2
"""Number of steps; the second one has the momentum from its start."""


@dataclass(frozen=True)
class MemoryCase:
    """A training step whose memory has a limit, or that is compared with another one.

    Attributes:
        slug: Slug of the row.
        words: What is measured, without the images.
        overrides: Overrides of the settings.
        limit, goal: Limit and goal in GB; None for peers, which have none.
        is_vistas: Whether the step is that of Vistas instead of Cityscapes.
        peer: ``plain`` and ``maskrcnn`` measure that network instead of ours.
    """

    slug: str
    words: str
    overrides: tuple[str, ...]
    limit: float | None = None
    goal: float | None = None
    is_vistas: bool = False
    peer: str = ""

    @property
    def is_bf16(self) -> bool:
        """Whether the step computes in bf16."""
        return "training.precision=bf16" in self.overrides

    def rows(self, plan: Plan) -> list[Row]:
        """Measure the step in this process, which must be new."""
        plan.start()
        libraries = high_water_mark() / _MIB_PER_GB
        experiment, workload = self._settings(plan)
        self._train(plan, experiment, workload)
        peak = high_water_mark() / _MIB_PER_GB
        images = f"{experiment.data.train_batch_size} × {describe_size(workload.size)}"
        words = f"peak memory of a process that trains {self.words} on {images}"
        if self.peer:
            return [Row(self.slug, words, peak, None, "GB")]
        tensors = measure_training(experiment, workload, None)
        limit = f"{words}; the limit. {describe(tensors, peak, libraries)}"
        must, aim = (None, None) if self.limit is None else (1.0, round((self.goal or self.limit) / self.limit, 2))
        return [Row(self.slug, limit, peak, self.limit, "GB", must, aim)]

    def _settings(self, plan: Plan) -> tuple[Experiment, Workload]:
        return plan.vistas(*self.overrides) if self.is_vistas else (plan.experiment(*self.overrides), plan.workload)

    def _train(self, plan: Plan, experiment: Experiment, workload: Workload) -> None:
        step = made_up_step(experiment, workload)
        work: Callable[[], object] = training(plainly(step) if self.peer == "plain" else step)
        if self.peer == "maskrcnn":
            work = mask_rcnn_step(step, plan)
            del step
        for _ in range(_STEPS):
            work()


def describe(tensors: StepMemory, peak: float, libraries: float) -> str:
    """Say what part of a peak the step needs in any case, and what the rest is.

    Args:
        tensors: Memory of the tensors of the step.
        peak: Peak of the process, in GB.
        libraries: Memory of the process before it built the network, in GB.
    """
    kept = sum(tensors.kept.values())
    needed = (tensors.parameters + tensors.gradients + tensors.optimizer + tensors.batch + kept) / 1e9
    return (
        f"Limited by bytes: parameters, gradients, momentum, images and what the backward pass reads are {needed:.1f} "
        f"GB, {100 * needed / peak:.0f} % of it; all tensors {tensors.peak / 1e9:.1f} GB, at most, in the "
        f"{tensors.peak_phase}, and libraries {libraries:.1f} GB; the rest are workspaces and gaps between blocks"
    )


_ALL = "all weights, mask branch on all samples, float32"
_HALF = "all weights, mask branch on all samples, bf16"
_POSITIVES = "all weights, mask branch on positives, float32"
CASES = (
    MemoryCase("step-memory", _ALL, overrides_of("float32"), 5.0, 4.0),
    MemoryCase("step-positives-memory", _POSITIVES, overrides_of("float32", [POSITIVES]), 3.3, 2.6),
    MemoryCase("step-bf16-memory", _HALF, overrides_of("bf16"), 3.6, 2.8),
    MemoryCase("vistas-memory", _ALL, overrides_of("float32"), 9.5, 8.0, is_vistas=True),
    MemoryCase("vistas-memory-bf16", _HALF, overrides_of("bf16"), 6.0, 5.0, is_vistas=True),
    MemoryCase("step-memory-plain", "our network built plainly", (*PLAIN, "training.precision=float32"), peer="plain"),
    MemoryCase("step-memory-maskrcnn", "torchvision's Mask R-CNN", BEST, peer="maskrcnn"),
)
