"""Profile of training steps: where their time and memory go, by part of the network."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from seamseg.algos.losses import TARGETS
from seamseg.engine.step_memory import OUTSIDE, count_step, parts_of
from seamseg.engine.train import Observer, Trainer
from seamseg.errors import SettingsError
from seamseg.io.files import atomic_write_unsynced, write_text
from seamseg.runtime.memory import MemoryTracker, inside_parts
from seamseg.runtime.training_progress import TrainingProgress

WARM_UP, TIMED = 3, 3
"""Number of steps before the first one that is timed, and of steps that are timed. One more step counts memory."""
PROFILE_FILE, TRACE_FILE = "profile.md", "trace.json.gz"
_PART = "part "
_BACKWARD = "autograd::engine::evaluate_function"
_REST = "rest"
_PREVIOUS = -1
"""Key of the part of the previous operator of the backward pass; sequence numbers start at 0."""


@dataclass(frozen=True)
class StepProfile:
    """Where a training step spends its time and memory.

    Attributes:
        milliseconds: Time of a step on average, with loading and logging.
        times: Milliseconds by part, and for each part by phase of the step. On a GPU, these are times of kernels.
        kept: Bytes that the forward pass keeps for the backward pass, by part.
        peak: Largest number of bytes at a time, by role; see :data:`seamseg.runtime.memory.Role`.
        peak_phase: Phase in which it is reached.
    """

    milliseconds: float
    times: dict[str, dict[str, float]]
    kept: dict[str, int]
    peak: dict[str, int]
    peak_phase: str

    def as_markdown(self) -> str:
        """Return the profile as a page with one table."""
        accounted = sum(sum(phases.values()) for phases in self.times.values())
        parts = {**self.times, _REST: {"": max(0.0, self.milliseconds - accounted)}}
        lines = [_row(part, phases, self.milliseconds, self.kept.get(part)) for part, phases in parts.items()]
        largest = ", ".join(f"{role} {size / 1e6:,.1f}" for role, size in self.peak.items())
        return (
            f"# Profile of a training step\n\nMean of {TIMED} steps after a warm-up of {WARM_UP}: "
            f"{self.milliseconds:,.1f} ms per step.\n\n"
            "| part | forward ms | backward ms | other ms | share | kept for the backward pass MB |\n"
            f"|---|--:|--:|--:|--:|--:|\n{''.join(lines)}\nThe largest memory at a time, without images, is "
            f"{sum(self.peak.values()) / 1e6:,.1f} MB, in the {self.peak_phase}: {largest}.\n"
        )


def _row(part: str, phases: dict[str, float], whole: float, kept: int | None) -> str:
    total = sum(phases.values())
    size = "" if kept is None else f"{kept / 1e6:,.1f}"
    others = sum(value for phase, value in phases.items() if phase not in ("forward pass", "backward pass"))
    cells = [phases.get("forward pass", 0.0), phases.get("backward pass", 0.0), others]
    return f"| {part} | {' | '.join(f'{cell:,.1f}' for cell in cells)} | {100 * total / whole:.1f} % | {size} |\n"


class ProfilingObserver:
    """Observer that profiles some steps of a run, and passes all events on to another observer.

    Profiled steps compute the same as others, but take longer. It must be closed at the end of the run.

    Args:
        observer: Observer of the run.
        trainer: Trainer of the run.
        folder: Folder for ``profile.md`` and ``trace.json.gz``.
        num_steps: Number of steps that the run will take.

    Attributes:
        result: Profile; None until the last profiled step.

    Raises:
        SeamsegError: The run has too few steps.
    """

    def __init__(self, observer: Observer, trainer: Trainer, folder: Path, num_steps: int) -> None:
        if num_steps <= WARM_UP + TIMED:
            raise SettingsError(
                f"--profile needs {WARM_UP + TIMED + 1} training steps, but this run has {num_steps}; increase "
                "training.epochs, or use more images"
            )
        self.observer, self.trainer, self.folder = observer, trainer, folder
        self.result: StepProfile | None = None
        self._num_steps, self._undo, self._start, self._counts = 0, ExitStack(), 0.0, False
        self._tracker, self._kept = MemoryTracker(), dict[str, int]()

    def on_step_end(self, position: TrainingProgress) -> None:
        """Start and stop measuring between steps."""
        self.observer.on_step_end(position)
        self._num_steps += 1
        if self._num_steps == WARM_UP:
            self._start_timing()
        elif self._num_steps == WARM_UP + TIMED:
            self._stop_timing()
            self._start_counting()
        elif self._num_steps == WARM_UP + TIMED + 1:
            self.close()
            self._finish()

    def on_log(self, iteration: int, losses: dict[str, float], rate: float) -> None:
        """Pass the event on."""
        self.observer.on_log(iteration, losses, rate)

    def validate(self, network: nn.Module, position: TrainingProgress) -> float:
        """Pass the event on; its time does not count."""
        with self._untimed():
            return self.observer.validate(network, position)

    def save(self, position: TrainingProgress) -> None:
        """Pass the event on; its time does not count."""
        with self._untimed():
            self.observer.save(position)

    def close(self) -> None:
        """Stop measuring."""
        self._undo.close()

    def _start_timing(self) -> None:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # a missing GPU is no error
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._device.type == "cuda" else [])]
        self._undo.enter_context(_spans_of_parts(self.trainer.network))
        self._profile = self._undo.enter_context(profile(activities=kinds))
        self._start = time.perf_counter()

    def _stop_timing(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._milliseconds = 1000 * (time.perf_counter() - self._start) / TIMED
        self._undo.close()
        # The name of a temporary file has the same suffix, by which the exporter compresses.
        atomic_write_unsynced(self.folder / TRACE_FILE, lambda path: self._profile.export_chrome_trace(str(path)))

    @contextlib.contextmanager
    def _untimed(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._start += time.perf_counter() - start

    def _start_counting(self) -> None:
        before, self.trainer.phase = self.trainer.phase, self._phase
        self._undo.callback(setattr, self.trainer, "phase", before)

    @contextlib.contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """Count the memory of a phase, from the first forward pass on, because a validation may come before it."""
        if name == "forward pass" and not self._counts:
            self._counts = True
            optimization = self.trainer.optimization
            self._undo.enter_context(count_step(self._tracker, self.trainer.network, optimization))
            states = [value for state in optimization.optimizer.state.values() for value in state.values()]
            self._tracker.assign((value for value in states if isinstance(value, torch.Tensor)), "optimizer")
        self._tracker.phase = name
        if name != "forward pass":
            yield
            return
        with self._tracker.keeping():
            yield
        self._kept = self._tracker.kept()

    def _finish(self) -> None:
        times = times_by_part(self._profile.events() or (), on_gpu=self._device.type == "cuda")
        kept = {part or OUTSIDE: size for part, size in self._kept.items()}
        peak = {str(role): size for role, size in self._tracker.peak.items()}
        mean = {part: {phase: one / TIMED for phase, one in phases.items()} for part, phases in times.items()}
        self.result = StepProfile(self._milliseconds, mean, kept, peak, self._tracker.peak_phase)
        write_text(self.folder / PROFILE_FILE, self.result.as_markdown())
        del self._profile

    @property
    def _device(self) -> torch.device:
        return self.trainer.process.device


@contextlib.contextmanager
def _spans_of_parts(network: nn.Module) -> Iterator[None]:
    """Record a span whenever a module of a part runs."""
    spans: list[record_function] = []

    def enter(name: str) -> None:
        spans.append(record_function(_PART + name))
        spans[-1].__enter__()  # type: ignore[no-untyped-call]

    with inside_parts(parts_of(network), enter, lambda: spans.pop().__exit__(None, None, None)):
        yield


def times_by_part(events: Iterable[Any], on_gpu: bool) -> dict[str, dict[str, float]]:
    """Add up the times of a profile by part and phase, in milliseconds.

    An operator of the backward pass belongs to the part whose forward operator it differentiates; both have the same
    sequence number. Those without a forward operator add up gradients and belong to the part of the operator before.

    Args:
        events: Events of :meth:`torch.profiler.profile.events`.
        on_gpu: Whether to add up the kernels on the GPU instead of the time on the CPU.
    """
    roots = [event for event in events if event.cpu_parent is None and event.device_type.name == "CPU"]
    part_of: dict[int, str] = {}
    times: dict[str, Counter[str]] = {}
    stack = [(event, "", "") for event in sorted(roots, key=_start_of, reverse=True)]
    while stack:
        event, phase, part = stack.pop()
        phase, part = _place(event, phase, part, part_of)
        spent = sum(kernel.duration for kernel in event.kernels) if on_gpu else event.self_cpu_time_total
        if phase:
            own = part if phase in ("forward pass", "backward pass") else phase
            times.setdefault(own or OUTSIDE, Counter())[phase] += spent / 1000
        stack += [(child, phase, part) for child in sorted(event.cpu_children, key=_start_of, reverse=True)]
    return {part: dict(phases) for part, phases in times.items()}


def _place(event: Any, phase: str, part: str, part_of: dict[int, str]) -> tuple[str, str]:
    """Return phase and part of an event inside others, and note the part of operators of the forward pass."""
    name = event.name
    if name in Trainer.PHASES:
        return name, ""
    if name.startswith(_BACKWARD):
        part_of[_PREVIOUS] = part_of.get(event.sequence_nr, part_of.get(_PREVIOUS, ""))
        return "backward pass", part_of[_PREVIOUS]
    if name.startswith(_PART):
        return phase, name.removeprefix(_PART)
    if name == TARGETS:
        return phase, TARGETS
    if phase == "forward pass" and event.sequence_nr >= 0:
        part_of[event.sequence_nr] = part
    return phase, part


def _start_of(event: Any) -> float:
    return float(event.time_range.start)
