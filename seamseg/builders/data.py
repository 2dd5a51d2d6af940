"""Builders of data sets, transforms and loaders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from seamseg.config import Experiment, TrainableSettings
from seamseg.config.classifier import ClassifierDataSettings
from seamseg.config.data import DataSettings
from seamseg.data.color_jitter import ColorJitter
from seamseg.data.copy_paste import CopyPaste
from seamseg.data.dataset import EvaluationDataset, TrainDataset
from seamseg.data.formats.annotated_dataset import AnnotatedDataset, require_listed_classes
from seamseg.data.formats.listed_images import ListedImages
from seamseg.data.formats.open import choose_format, open_data_set
from seamseg.data.image_draws import ImageDraws, RepeatedImages, UniformClasses
from seamseg.data.loader import BatchLoader, BatchT
from seamseg.data.samplers import BatchSampler, EvaluationBatches, TrainBatches
from seamseg.data.transforms import InputTransform, Normalize, TrainTransform
from seamseg.errors import BrokenImageError, DataError
from seamseg.io.files import expand_home
from seamseg.runtime.distributed import Process
from seamseg.runtime.training_progress import TrainingProgress
from seamseg.structures import Batch, Size


def open_split(
    root: str | None,
    split: str,
    limit: int | None,
    format_name: str | None = None,
    preferred_format: str | None = None,
    task: str | None = None,
) -> AnnotatedDataset:
    """Open one split of a data set.

    Args:
        root: Folder of the data set; None is an error.
        split: Name of the split, or a unique prefix of it.
        limit: Number of images to use, the first ones of the split; None uses all.
        format_name: Format of the data set; None detects it.
        preferred_format: Format to use if several are detected.
        task: Task that the annotation must suffice for, and that chooses among several formats; None accepts any.

    Raises:
        FileNotFoundError: The folder does not exist.
        SeamsegError: ``root`` is None, the folder is not a data set of this format with this split, or its annotation
            does not suffice for the task.
    """
    if root is None:
        raise DataError("the data set folder is not set; set data.root=FOLDER")
    folder = expand_home(root)
    return open_data_set(folder, split, limit, choose_format(folder, format_name, preferred_format, task), task)


def open_training_split(experiment: Experiment) -> AnnotatedDataset:
    """Open the training split of an experiment, without its empty images if they are to be skipped.

    Raises:
        FileNotFoundError: The folder does not exist.
        SeamsegError: See :func:`open_split`, or no image is left.
    """
    data = experiment.data
    split = open_split(data.root, data.train_split, data.train_limit, data.format, task=experiment.task)
    if data.empty_images == "skip" and isinstance(split, ListedImages):
        return split.without_empty_images()
    return split


def build_input_transform(experiment: Experiment) -> InputTransform:
    """Build the transform from an image to the input of the network."""
    data = experiment.data
    return InputTransform(data.shortest_side, data.longest_side, data.mean, data.std)


def build_train_transform(experiment: Experiment) -> TrainTransform:
    """Build the random transform of training images."""
    data = experiment.data
    return TrainTransform(
        shortest_side=data.shortest_side,
        longest_side=data.longest_side,
        random_scale=data.random_scale,
        random_flip=data.random_flip,
        random_crop=data.random_crop,
        crop_min_visible=data.crop_min_visible,
        color_jitter=ColorJitter(**data.color_jitter.model_dump()),
    )


def build_training_loader(
    experiment: Experiment,
    source: AnnotatedDataset,
    process: Process,
    position: TrainingProgress,
    tell: Callable[[str], None] | None = None,
) -> BatchLoader[Batch]:
    """Build the loader of the training batches of this process.

    Args:
        experiment: Settings of the run.
        source: Training split.
        process: This rank, which gets its own share of the images.
        position: Position at which a run starts or resumes.
        tell: Function called with a sentence on the images that are repeated; None for no report.

    Raises:
        SeamsegError: ``data.copy_paste`` is set, but the split has no objects with outlines.
    """
    paste = _build_copy_paste(experiment.data, source)
    dataset = TrainDataset(source, build_train_transform(experiment), experiment.training.seed, paste)
    draws = build_image_draws(experiment, source)
    if tell is not None and isinstance(draws, RepeatedImages):
        tell(draws.describe())
    return assemble_training_loader(experiment, dataset, Batch.collate, source.sizes, process, position, draws)


def build_image_draws(experiment: Experiment, source: AnnotatedDataset) -> ImageDraws | None:
    """Build the rule that draws the images of an epoch; None for every image once.

    Args:
        experiment: Settings of the run. Stuff counts if the task learns it.
        source: Training split.

    Raises:
        SeamsegError: The annotation does not list the classes of each image, or lists no segment.
    """
    data = experiment.data
    if data.scale_sampling == "random" and data.class_sampling == "none":
        return None
    repeats = data.class_sampling == "repeat"
    listed = require_listed_classes(source, "data.class_sampling=repeat" if repeats else "data.scale_sampling=uniform")
    first = 0 if experiment.task in ("panoptic", "semantic") else source.categories.num_stuff
    classes = [[klass for klass in listed.listed_classes(index) if klass >= first] for index in range(len(source))]
    return RepeatedImages(classes, data.repeat_threshold) if repeats else UniformClasses(classes)


def _build_copy_paste(data: DataSettings, source: AnnotatedDataset) -> CopyPaste | None:
    if data.copy_paste == 0:
        return None
    if not (source.content.boxes and source.content.masks and source.categories.num_things):
        lacking = "outlines of objects" if source.categories.num_things else "thing classes"
        raise DataError(
            f"data.copy_paste={data.copy_paste} pastes objects, but the split {data.train_split!r} of {data.root} is "
            f"{source.title} data without {lacking}; set data.copy_paste=0"
        )
    return CopyPaste(data.copy_paste, source.categories.num_stuff, data.crop_min_visible)


def build_evaluation_loader(
    experiment: Experiment,
    source: AnnotatedDataset,
    process: Process,
    on_broken_image: Callable[[BrokenImageError], None] | None = None,
    keep_pixels: bool = False,
) -> BatchLoader[Batch]:
    """Build the loader of this process's share of the images to score; each image is loaded once.

    Args:
        experiment: Settings of the run.
        source: Split to score.
        process: This rank, which gets its own share of the images.
        on_broken_image: Function called for each image that cannot be read, which is then skipped; None raises the
            error instead.
        keep_pixels: Whether the images keep their size and their uint8 values and stay on the CPU, as
            :meth:`seamseg.predict.Predictor.prepare` takes them.
    """
    data = experiment.data
    if keep_pixels:
        dataset = EvaluationDataset(source, None)
        sampler = EvaluationBatches(source.sizes, 1, rank=process.rank, num_ranks=process.world_size)
        on_cpu = replace(process, device=torch.device("cpu"))
        return _loader(data, dataset, Batch.collate, sampler, on_cpu, on_broken_image, torch.clone)
    dataset = EvaluationDataset(source, build_input_transform(experiment))
    return assemble_evaluation_loader(data, dataset, Batch.collate, source.sizes, process, on_broken_image)


def assemble_training_loader(
    experiment: TrainableSettings,
    dataset: Dataset[Any],
    collate: Callable[[list[Any]], BatchT],
    sizes: Sequence[Size],
    process: Process,
    position: TrainingProgress,
    draws: ImageDraws | None = None,
) -> BatchLoader[BatchT]:
    """Build a loader of shuffled batches of this process, for any kind of sample.

    Args:
        experiment: Settings of the run.
        dataset: Samples by key.
        collate: Function that joins samples into a batch.
        sizes: Height and width of every image.
        process: This rank, which gets its own share of the images.
        position: Position at which a run starts or resumes.
        draws: Rule that draws the images of an epoch; None for every image once.
    """
    data = experiment.data
    sampler = TrainBatches(
        sizes,
        data.train_batch_size,
        seed=experiment.training.seed,
        rank=process.rank,
        num_ranks=process.world_size,
        resumed=position,
        draws=draws,
    )
    return _loader(data, dataset, collate, sampler, process)


def assemble_evaluation_loader(
    data: DataSettings | ClassifierDataSettings,
    dataset: Dataset[Any],
    collate: Callable[[list[Any]], BatchT],
    sizes: Sequence[Size],
    process: Process,
    on_broken_image: Callable[[BrokenImageError], None] | None,
) -> BatchLoader[BatchT]:
    """Build a loader of this process's share of the images in fixed order, for any kind of sample.

    Args:
        data: Settings of the data.
        dataset: Samples by key.
        collate: Function that joins samples into a batch.
        sizes: Height and width of every image.
        process: This rank, which gets its own share of the images.
        on_broken_image: Function called for each image that cannot be read, which is then skipped; None raises the
            error instead.
    """
    sampler = EvaluationBatches(sizes, data.val_batch_size, rank=process.rank, num_ranks=process.world_size)
    return _loader(data, dataset, collate, sampler, process, on_broken_image)


def _loader(
    data: DataSettings | ClassifierDataSettings,
    dataset: Dataset[Any],
    collate: Callable[[list[Any]], BatchT],
    sampler: BatchSampler,
    process: Process,
    on_broken_image: Callable[[BrokenImageError], None] | None = None,
    normalize: Callable[[Tensor], Tensor] | None = None,
) -> BatchLoader[BatchT]:
    return BatchLoader(
        dataset,
        collate,
        sampler,
        num_workers=data.num_workers,
        device=process.device,
        normalize=normalize or Normalize(data.mean, data.std),
        worker_timeout=data.worker_timeout,
        on_broken_image=on_broken_image,
    )
