"""Builders of classification networks, and of the loaders and the trainer of their training."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from seamseg.builders.body import build_body, build_norm, load_and_freeze
from seamseg.builders.data import assemble_evaluation_loader, assemble_training_loader
from seamseg.builders.network import initialize, name_norms
from seamseg.builders.training import assemble_run
from seamseg.config.classifier import ClassifierDataSettings, ClassifierExperiment
from seamseg.data.color_jitter import ColorJitter
from seamseg.data.image_folder import ImageFolder, LabeledTestDataset, LabeledTrainDataset, open_image_folder
from seamseg.data.loader import BatchLoader
from seamseg.data.random_crops import CenterCrop, RandomCrop
from seamseg.engine.classification import ClassifierValidation
from seamseg.engine.record import TrainingRecorder
from seamseg.engine.train import Trainer
from seamseg.errors import BrokenImageError, DataError
from seamseg.io.files import expand_home
from seamseg.networks.classifier import Classifier
from seamseg.runtime.checkpoint import Checkpoint
from seamseg.runtime.distributed import Process
from seamseg.runtime.training_progress import TrainingProgress
from seamseg.structures import LabeledBatch

OUTPUT_GAINS = {"fc": 0.1}
LOSS_WEIGHTS = {"classification": 1.0}


def build_classifier(experiment: ClassifierExperiment, num_classes: int) -> Classifier:
    """Build the network without initializing its weights."""
    memory = experiment.training.memory
    # The largest maps take a larger part of the time without the heads of a segmentation network.
    body = build_body(experiment.body, build_norm(experiment.norm), "none" if memory == "auto" else memory)
    network = Classifier(body, num_classes)
    name_norms(network)
    return network


def build_initialized_classifier(
    experiment: ClassifierExperiment,
    num_classes: int,
    tell: Callable[[str], None] | None = None,
    read_weights: bool = True,
) -> Classifier:
    """Build the network as it is at the start of training: with random or pretrained weights, and with parts frozen.

    Args:
        experiment: Settings of the network.
        num_classes: Number of classes.
        tell: Function called with one sentence that describes the pretrained weights used; None for no report.
        read_weights: Whether ``body.weights`` are read; False for a network that gets the weights of a checkpoint.

    Raises:
        SeamsegError: ``body.weights`` cannot be read or belong to another network.
    """
    network = build_classifier(experiment, num_classes)
    generator = torch.Generator().manual_seed(experiment.training.seed)
    initialize(network, experiment.norm.activation, experiment.norm.slope, generator, OUTPUT_GAINS)
    load_and_freeze(network.body, experiment.body, tell, read_weights)
    return network


def build_test_loader(
    data: ClassifierDataSettings,
    source: ImageFolder,
    process: Process,
    transform: CenterCrop,
    on_broken_image: Callable[[BrokenImageError], None] | None,
) -> BatchLoader[LabeledBatch]:
    """Build the loader of this process's share of the images to score; each image is loaded once.

    Args:
        data: Settings of the data.
        source: Images to score.
        process: This rank, which gets its own share of the images.
        transform: Scaling and cropping of an image.
        on_broken_image: Function called for each image that cannot be read, which is then skipped; None raises the
            error instead.
    """
    dataset = LabeledTestDataset(source, transform)
    return assemble_evaluation_loader(data, dataset, LabeledBatch.collate, source.sizes, process, on_broken_image)


def build_classifier_trainer(
    experiment: ClassifierExperiment, folder: Path, process: Process, checkpoint: Checkpoint | None
) -> tuple[Trainer, TrainingRecorder]:
    """Build the trainer and the recorder of a training run.

    Args:
        experiment: Settings of the run.
        folder: Run folder, to which the recorder writes.
        process: This rank.
        checkpoint: Checkpoint to resume from, or None to start a new run.

    Raises:
        SeamsegError: The image folder is missing or invalid, the validation images have a class that the training
            images lack, or the checkpoint does not match the settings.
    """
    train, val = _open_splits(experiment.data)
    classes: list[dict[str, Any]] = [{"id": number, "name": name} for number, name in enumerate(train.classes)]
    tell = partial(print, file=sys.stderr) if process.is_first and checkpoint is None else None
    if checkpoint is not None and [entry["name"] for entry in checkpoint.categories] != list(train.classes):
        raise DataError(
            f"the image folder {experiment.data.root} and the run to resume have different classes. Resume with the "
            "original images, or start a new run in another --run-dir"
        )
    return assemble_run(
        experiment,
        folder,
        process,
        checkpoint,
        network=build_initialized_classifier(experiment, len(classes), tell, checkpoint is None),
        build_loader=partial(_training_loader, experiment, train, process),
        loss_weights=LOSS_WEIGHTS,
        validation=_validation(experiment, val, process),
        classes=classes,
    )


def _open_splits(data: ClassifierDataSettings) -> tuple[ImageFolder, ImageFolder]:
    if data.root is None:
        raise DataError("the image folder is not set; set data.root=FOLDER")
    root = expand_home(data.root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} does not exist; set data.root to the folder of the images")
    train = open_image_folder(root, data.train_split)
    return train, open_image_folder(root, data.val_split, train.classes)


def _training_loader(
    experiment: ClassifierExperiment, source: ImageFolder, process: Process, position: TrainingProgress
) -> BatchLoader[LabeledBatch]:
    data = experiment.data
    transform = RandomCrop(
        crop=data.crop,
        resize=data.resize,
        area=data.random_area,
        aspect=data.random_aspect,
        padding=data.padding,
        flip=data.random_flip,
        color_jitter=ColorJitter(**data.color_jitter.model_dump()),
        lighting=data.lighting,
    )
    dataset = LabeledTrainDataset(source, transform, experiment.training.seed)
    return assemble_training_loader(experiment, dataset, LabeledBatch.collate, source.sizes, process, position)


def _validation(experiment: ClassifierExperiment, source: ImageFolder, process: Process) -> ClassifierValidation:
    data = experiment.data
    broken: list[BrokenImageError] = []
    return ClassifierValidation(
        process=process,
        classes=source.classes,
        loader=build_test_loader(data, source, process, CenterCrop(data.resize, data.crop), broken.append),
        broken=broken,
        mean=data.mean,
        std=data.std,
        num_pictures=experiment.training.num_pictures,
    )
