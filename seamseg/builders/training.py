"""Builders of the trainer, the optimizer and the learning rate of a training run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch.optim import SGD, Optimizer

from seamseg.builders.body import compile_bodies
from seamseg.builders.class_weights import build_class_weights
from seamseg.builders.data import build_evaluation_loader, build_training_loader, open_split, open_training_split
from seamseg.builders.initial_weights import build_initialized_network
from seamseg.builders.network import build_fusion, left_out_heads
from seamseg.config import Experiment, TrainableSettings, parse_experiment, parse_settings, save_experiment
from seamseg.config.training import AUTO, AUTOMATIC, PolySchedule, SGDSettings, StepSchedule
from seamseg.data.formats.annotated_dataset import AnnotatedDataset
from seamseg.data.loader import BatchLoader
from seamseg.engine.record import TrainingRecorder
from seamseg.engine.train import Intervals, OptimizationConfig, Trainer, steps_per_epoch
from seamseg.engine.validation import (
    InstanceValidation,
    ObjectValidation,
    PanopticValidation,
    SegmentationValidation,
    SemanticValidation,
    Validation,
)
from seamseg.errors import BrokenImageError, DataError
from seamseg.modules.compilation import compile_network
from seamseg.runtime.checkpoint import Checkpoint
from seamseg.runtime.distributed import Process
from seamseg.runtime.optimizer import (
    Decay,
    DenseAdamW,
    LearningRate,
    WeightAverage,
    cosine_decay,
    parameter_groups,
    poly_decay,
    step_decay,
)
from seamseg.runtime.precision import Precision, choose_precision, prefers_channels_last
from seamseg.runtime.training_progress import TrainingProgress
from seamseg.structures import Categories

ExperimentT = TypeVar("ExperimentT", bound=TrainableSettings)

MOST_DIFFERENCES = 5
"""Maximum number of differences between two lists of categories that an error message names."""


VALIDATIONS: Mapping[str, type[SegmentationValidation]] = {
    "panoptic": PanopticValidation,
    "instance": InstanceValidation,
    "detection": ObjectValidation,
    "semantic": SemanticValidation,
}
"""Scoring during training, by task."""


def build_trainer(
    experiment: Experiment, folder: Path, process: Process, checkpoint: Checkpoint | None
) -> tuple[Trainer, TrainingRecorder]:
    """Build the trainer and the recorder of a training run.

    Args:
        experiment: Settings of the run.
        folder: Run folder, to which the recorder writes.
        process: This rank.
        checkpoint: Checkpoint to resume from, or None to start a new run.

    Raises:
        SeamsegError: A data set is missing or invalid, the two splits have different categories, or the checkpoint
            does not match the settings.
    """
    train_split, val_split = _open_splits(experiment)
    categories = train_split.categories
    tell = partial(print, file=sys.stderr) if process.is_first and checkpoint is None else None
    note = left_out_heads(experiment.task, categories)
    if tell is not None and note:
        tell(note)
    if checkpoint is not None:
        _check_classes(categories, checkpoint, experiment)
        experiment = _with_initial_models(experiment, checkpoint)
    class_weights = build_class_weights(experiment, train_split, process, tell)
    return assemble_run(
        experiment,
        folder,
        process,
        checkpoint,
        network=build_initialized_network(experiment, categories, tell, checkpoint is None, class_weights),
        build_loader=partial(build_training_loader, experiment, train_split, process, tell=tell),
        loss_weights=experiment.loss_weights.model_dump(),
        validation=_validation(experiment, val_split, process),
        classes=categories.to_list(),
    )


def assemble_run(
    experiment: TrainableSettings,
    folder: Path,
    process: Process,
    checkpoint: Checkpoint | None,
    *,
    network: nn.Module,
    build_loader: Callable[[TrainingProgress], BatchLoader[Any]],
    loss_weights: dict[str, float],
    validation: Validation,
    classes: list[dict[str, Any]],
) -> tuple[Trainer, TrainingRecorder]:
    """Build the trainer and the recorder of any network.

    Args:
        experiment: Settings of the run.
        folder: Run folder, to which the recorder writes.
        process: This rank.
        checkpoint: Checkpoint to resume from, or None to start a new run.
        network: Network on the CPU, as it is at the start of training.
        build_loader: Builder of the loader of this rank's training batches, for the position of the run.
        loss_weights: Weight of each loss of the network, by name.
        validation: Scoring of the network.
        classes: Classes of the data set as plain values.
    """
    experiment = with_choices(experiment, process.device, checkpoint)
    network = network.to(process.device)
    if experiment.training.channels_last is True:
        network = network.to(memory_format=torch.channels_last)
    if experiment.training.memory == "compile":
        compile_bodies(network, experiment.training.compile_budget)
    if experiment.training.compile:
        compile_network(network, process.device)
    position = TrainingProgress() if checkpoint is None else checkpoint.position
    position = position.with_batches_of(experiment.data.train_batch_size * process.world_size)
    loader = build_loader(position)
    _check_images(position, loader, experiment.data.root)
    trainer = _trainer(experiment, loss_weights, network, loader, process)
    if checkpoint is not None:
        trainer.restore(checkpoint)
    settings, keep = save_experiment(experiment), experiment.training.keep_checkpoints
    return trainer, TrainingRecorder(folder, process, settings, classes, trainer, position, validation, keep)


def with_choices(experiment: ExperimentT, device: torch.device, checkpoint: Checkpoint | None = None) -> ExperimentT:
    """Replace ``auto`` in ``training.precision`` and ``training.channels_last``.

    Args:
        experiment: Settings of a run.
        device: Device of the run, whose properties decide.
        checkpoint: Checkpoint from which the run resumes, whose settings decide; None for a new run.
    """
    training = experiment.training
    if checkpoint is not None:
        stored = parse_settings(type(experiment), checkpoint.settings, source="the settings in the checkpoint").training
        values = {key: getattr(stored, key) for key in AUTOMATIC if getattr(training, key) == AUTO}
        training = training.model_copy(update=values)
    precision, channels_last = choose_precision(training.precision, device), training.channels_last
    if channels_last == AUTO:
        channels_last = prefers_channels_last(device, precision)
    chosen = training.model_copy(update={"precision": precision, "channels_last": channels_last})
    return cast(ExperimentT, experiment.model_copy(update={"training": chosen}))


def _validation(experiment: Experiment, split: AnnotatedDataset, process: Process) -> SegmentationValidation:
    broken: list[BrokenImageError] = []
    categories = split.categories
    return VALIDATIONS[experiment.task](
        process=process,
        categories=categories.as_stuff() if experiment.task == "semantic" else categories,
        loader=build_evaluation_loader(experiment, split, process, on_broken_image=broken.append),
        broken=broken,
        fusion=build_fusion(experiment, categories.num_stuff, categories.num_things),
        mean=experiment.data.mean,
        std=experiment.data.std,
        num_pictures=experiment.training.num_pictures,
    )


def _open_splits(experiment: Experiment) -> tuple[AnnotatedDataset, AnnotatedDataset]:
    data = experiment.data
    train_split = open_training_split(experiment)
    val_split = open_split(data.root, data.val_split, data.val_limit, data.format, task=experiment.task)
    differences = train_split.categories.differences(val_split.categories, data.train_split, data.val_split)
    if differences:
        raise DataError(
            f"the splits {data.train_split} and {data.val_split} of {data.root} have different categories: "
            f"{_first_of(differences)}"
        )
    return train_split, val_split


def _check_classes(categories: Categories, checkpoint: Checkpoint, experiment: Experiment) -> None:
    """Check that the data set has the classes for which the weights of a checkpoint were trained.

    Raises:
        SeamsegError: The classes differ.
    """
    trained = Categories.from_list(checkpoint.categories)
    differences = categories.differences(trained, "the data set", "the run", compare_ids=False)
    if differences:
        raise DataError(
            f"the data set {experiment.data.root} and the run to resume have different classes: "
            f"{_first_of(differences)}. Resume with the original data set, or start a new run in another --run-dir"
        )


def _with_initial_models(experiment: Experiment, checkpoint: Checkpoint) -> Experiment:
    """Return the settings with the models that the weights of a checkpoint started from, which model cards state."""
    begun = parse_experiment(checkpoint.settings, source="the settings in the checkpoint")
    return experiment.model_copy(update={"init_from": begun.init_from})


def _first_of(differences: list[str]) -> str:
    return "; ".join(differences[:MOST_DIFFERENCES]) + ("; …" if len(differences) > MOST_DIFFERENCES else "")


def _check_images(position: TrainingProgress, loader: BatchLoader[Any], root: str | None) -> None:
    """Check that the data set has at least as many images as the run has already used in the epoch to resume.

    Raises:
        SeamsegError: The data set has fewer images.
    """
    num_batches = loader.num_batches_in(position.epoch)
    if position.batch > num_batches:
        raise DataError(
            f"the run to resume has used {position.batch} batches of its epoch, but the data set "
            f"{root} has only {num_batches}; resume with all images that the run was started with"
        )


def _trainer(
    experiment: TrainableSettings,
    loss_weights: dict[str, float],
    network: nn.Module,
    loader: BatchLoader[Any],
    process: Process,
) -> Trainer:
    settings = experiment.training
    assert settings.precision != AUTO
    decay = settings.weight_average
    num_iterations = settings.epochs * steps_per_epoch(loader.num_batches, settings.accumulate)
    images_per_step = experiment.data.train_batch_size * settings.accumulate * process.world_size
    optimization = OptimizationConfig(
        optimizer=build_optimizer(experiment, network),
        learning_rate=build_learning_rate(experiment, num_iterations, images_per_step),
        loss_weights=loss_weights,
        clip_norm=experiment.optimizer.clip_norm,
        precision=Precision(choose_precision(settings.precision, process.device), process.device),
        accumulate=settings.accumulate,
        average=None if decay is None else WeightAverage(network, decay),
    )
    intervals = Intervals(settings.epochs, settings.validate_every, settings.checkpoint_every, settings.log_every)
    return Trainer(network, loader, optimization, settings.seed, process, intervals)


def build_optimizer(experiment: TrainableSettings, network: nn.Module) -> Optimizer:
    """Build the optimizer of all parameters that are not frozen."""
    settings = experiment.optimizer
    groups = parameter_groups(network, settings.weight_decay, settings.weight_decay_norm)
    if isinstance(settings, SGDSettings):
        nesterov = settings.nesterov and settings.momentum > 0
        return SGD(groups, settings.lr, settings.momentum, nesterov=nesterov, fused=True)
    return DenseAdamW(groups, settings.lr, settings.betas, fused=True)


def build_learning_rate(experiment: TrainableSettings, num_iterations: int, images_per_step: int) -> LearningRate:
    """Build the learning rate schedule.

    Args:
        experiment: Settings of the schedule and the optimizer.
        num_iterations: Number of steps of the whole run.
        images_per_step: Number of images per step over all processes.
    """
    schedule = experiment.schedule
    decay: Decay
    if isinstance(schedule, StepSchedule):
        per_epoch = num_iterations // experiment.training.epochs
        in_epochs = schedule.unit == "epochs"
        milestones = [count * per_epoch + 1 if in_epochs else count for count in schedule.milestones]
        decay = step_decay(milestones, schedule.gamma)
    elif isinstance(schedule, PolySchedule):
        decay = poly_decay(schedule.power, num_iterations)
    else:
        decay = cosine_decay(num_iterations)
    rate = experiment.optimizer.lr * images_per_step / (experiment.optimizer.lr_batch or images_per_step)
    return LearningRate(rate, decay, schedule.warmup.iterations, schedule.warmup.factor)
