"""Settings, images and steps of the network benchmark."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks import machine
from seamseg.builders.memory import MadeUpStep, Workload, build_made_up_step
from seamseg.config import Experiment, load_experiment, settings_file
from seamseg.data.labels.cityscapes import CITYSCAPES
from seamseg.networks import PyramidNet
from seamseg.runtime.allocator import LARGE_BLOCK, SWITCH, keep_freed_memory, release_gaps
from seamseg.structures import GroundTruth, Size

RANDOM = ("body.weights=null", "body.frozen=[]", "body.norm_frozen=false", "norm.name=bn", "optimizer.lr=1e-6")
"""Overrides of a config that trains all weights from random values in one process, and hardly changes them."""
POSITIVES = "roi.masks_of_positives_only=true"
PLAIN = ("norm.name=plain", "training.channels_last=false")
"""Overrides of our own network built plainly."""
BEST = ("training.channels_last=true",)
NUM_OBJECTS = 12
NUM_STUFF, NUM_THINGS = CITYSCAPES.num_stuff, CITYSCAPES.num_things
VISTAS_STUFF, VISTAS_THINGS = 28, 37


@dataclass(frozen=True)
class Plan:
    """Extent of a run.

    Attributes:
        size: Height and width of the images of Cityscapes.
        vistas_size: The same for Vistas.
        rounds: Number of rounds of predictions that count.
        step_rounds: The same for training steps.
        num_detections: Number of detections of a prediction.
        num_samples: Number of regions per image that are sampled in training, by all networks.
        overrides: Overrides of all settings.
        has_bf16: Whether to measure in bf16.
        threads: Number of threads.
        in_process: Function that calls another one in a new process.
        compiles: Whether to measure compiled networks, whose compilation takes minutes.
        warm_up: Number of rounds before those that count.
    """

    size: Size
    vistas_size: Size
    rounds: int
    step_rounds: int
    num_detections: int
    num_samples: int
    overrides: tuple[str, ...] = ()
    has_bf16: bool = True
    threads: int = 2
    in_process: Callable[..., Any] = machine.in_fresh_process
    compiles: bool = True
    warm_up: int = 1

    def start(self) -> None:
        """Prepare a new process."""
        if not keep_freed_memory():
            sys.exit(f"the allocator cannot be told to keep freed memory: needs Linux with glibc, and {SWITCH} not 0")
        torch.set_num_threads(self.threads)

    def experiment(self, *overrides: str) -> Experiment:
        """Return the settings for Cityscapes, with two images per step."""
        return load_experiment(settings_file("cityscapes_r50"), [*self._given, "data.train_batch_size=2", *overrides])

    @property
    def prediction(self) -> tuple[str, ...]:
        """Overrides of the settings for Cityscapes that find ``num_detections`` objects with random weights."""
        return (*self.overrides, *RANDOM, "fusion.score_threshold=0", f"roi.max_predictions={self.num_detections}")

    @property
    def _given(self) -> tuple[str, ...]:
        return (*self.overrides, *RANDOM, f"roi.num_samples={self.num_samples}")

    @property
    def workload(self) -> Workload:
        """Images and classes of a step of Cityscapes."""
        return Workload(NUM_STUFF, NUM_THINGS, self.size, NUM_OBJECTS, "Cityscapes")

    def vistas(self, *overrides: str) -> tuple[Experiment, Workload]:
        """Return the settings for Vistas with one image per step, its images and classes."""
        given = [*self._given, "data.train_batch_size=1", *overrides]
        workload = Workload(VISTAS_STUFF, VISTAS_THINGS, self.vistas_size, NUM_OBJECTS, "Vistas")
        return load_experiment(settings_file("vistas_r50"), given), workload


FULL = Plan((512, 1024), (1920, 2304), rounds=5, step_rounds=3, num_detections=100, num_samples=512)
_SMALL = (
    "body.name=resnet18",
    "fpn.channels=32",
    "sem.channels=32",
    "rpn.channels=32",
    "roi={fc_channels: 64, mask_channels: 32}",
    "rpn.training={before_nms: 500, after_nms: 100}",
    "rpn.inference={before_nms: 500, after_nms: 100}",
)
QUICK = Plan(
    (64, 128),
    (192, 256),
    rounds=1,
    step_rounds=1,
    num_detections=10,
    num_samples=32,
    overrides=_SMALL,
    threads=1,
    in_process=machine.in_forked_process,
    compiles=False,
    warm_up=0,
)


def noise(size: Size, count: int) -> list[Tensor]:
    """Return normalized images of noise, 3×H×W each."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, *size, generator=generator) for _ in range(count)]


def made_up_step(experiment: Experiment, workload: Workload, device: torch.device | None = None) -> MadeUpStep:
    """Return a step with images of noise, on the CPU by default."""
    step = build_made_up_step(experiment, workload, device or torch.device("cpu"))
    for image, pixels in zip(step.images.present, noise(workload.size, len(step.images)), strict=True):
        image.copy_(pixels)
    step.network.train()
    return step


def training(step: MadeUpStep) -> Callable[[], None]:
    """Return a function that trains the network of a step once, as :class:`seamseg.engine.train.Trainer` does."""
    network, optimization = step.network, step.optimization
    optimizer, precision = optimization.optimizer, optimization.precision

    def work() -> None:
        keep_freed_memory(below=LARGE_BLOCK)
        optimizer.zero_grad(set_to_none=True)
        with precision.autocast():
            losses = network(step.images, step.ground_truth, torch.Generator().manual_seed(0))
        if step.images.device.type == "cpu":
            release_gaps()
        precision.backward(losses.total(optimization.loss_weights))
        precision.step(optimizer, optimization.clip_norm, precision.gradient_norm(optimizer))
        if optimization.average is not None:
            optimization.average.update(1)

    return work


def panoptic(step: MadeUpStep) -> PyramidNet:
    """Return the network of a step for a data set with stuff and things."""
    assert isinstance(step.network, PyramidNet)
    return step.network


def annotation(step: MadeUpStep) -> GroundTruth:
    """Return the annotation of a step of a network that segments."""
    assert isinstance(step.ground_truth, GroundTruth)
    return step.ground_truth


def describe_size(size: Size) -> str:
    """Format a size."""
    return f"{size[0]}×{size[1]}"


def overrides_of(precision: str, others: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the overrides of our network in its best memory format."""
    return (*BEST, f"training.precision={precision}", *others)
