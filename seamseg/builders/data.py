"""Builders of data sets, transforms and loaders."""

from __future__ import annotations

from collections.abc import Callable

from seamseg.config import Experiment
from seamseg.data.color_jitter import ColorJitter
from seamseg.data.dataset import EvaluationDataset, TrainDataset
from seamseg.data.formats.open import choose_format, open_data_set
from seamseg.data.formats.panoptic_dataset import PanopticDataset
from seamseg.data.loader import BatchLoader
from seamseg.data.samplers import EvaluationBatches, TrainBatches
from seamseg.data.transforms import InputTransform, Normalize, TrainTransform
from seamseg.errors import BrokenImageError, DataError
from seamseg.io.files import expand_home
from seamseg.runtime.distributed import Process
from seamseg.runtime.training_progress import TrainingProgress
from seamseg.structures import Batch


def open_split(
    root: str | None,
    split: str,
    limit: int | None,
    format_name: str | None = None,
    preferred_format: str | None = None,
) -> PanopticDataset:
    """Open one split of a data set.

    Args:
        root: Folder of the data set; None is an error.
        split: Name of the split, or a unique prefix of it.
        limit: Number of images to use, the first ones of the split; None uses all.
        format_name: Format of the data set; None detects it.
        preferred_format: Format to use if several are detected.

    Raises:
        FileNotFoundError: The folder does not exist.
        SeamsegError: ``root`` is None, or the folder is not a data set of this format with this split.
    """
    if root is None:
        raise DataError("the data set folder is not set; set data.root=FOLDER")
    folder = expand_home(root)
    return open_data_set(folder, split, limit, choose_format(folder, format_name, preferred_format))


def build_input_transform(experiment: Experiment) -> InputTransform:
    """Build the transform from an image to the input of the network."""
    data = experiment.data
    return InputTransform(data.shortest_side, data.longest_side, data.mean, data.std)


def build_training_loader(
    experiment: Experiment, source: PanopticDataset, process: Process, position: TrainingProgress
) -> BatchLoader[Batch]:
    """Build the loader of the training batches of this process.

    Args:
        experiment: Settings of the run.
        source: Training split.
        process: This rank, which gets its own share of the images.
        position: Position at which a run starts or resumes.
    """
    data = experiment.data
    transform = TrainTransform(
        shortest_side=data.shortest_side,
        longest_side=data.longest_side,
        random_scale=data.random_scale,
        random_flip=data.random_flip,
        random_crop=data.random_crop,
        crop_min_visible=data.crop_min_visible,
        color_jitter=ColorJitter(**data.color_jitter.model_dump()),
    )
    seed = experiment.training.seed
    sampler = TrainBatches(
        source.sizes,
        data.train_batch_size,
        seed=seed,
        rank=process.rank,
        num_ranks=process.world_size,
        resumed=position,
    )
    return BatchLoader(
        TrainDataset(source, transform, seed),
        Batch.collate,
        sampler,
        num_workers=data.num_workers,
        device=process.device,
        normalize=Normalize(data.mean, data.std),
        worker_timeout=data.worker_timeout,
    )


def build_evaluation_loader(
    experiment: Experiment,
    source: PanopticDataset,
    process: Process,
    on_broken_image: Callable[[BrokenImageError], None] | None = None,
) -> BatchLoader[Batch]:
    """Build the loader of this process's share of the images to score; each image is loaded once.

    Args:
        experiment: Settings of the run.
        source: Split to score.
        process: This rank, which gets its own share of the images.
        on_broken_image: Function called for each image that cannot be read, which is then skipped; None raises the
            error instead.
    """
    data = experiment.data
    sampler = EvaluationBatches(source.sizes, data.val_batch_size, rank=process.rank, num_ranks=process.world_size)
    return BatchLoader(
        EvaluationDataset(source, build_input_transform(experiment)),
        Batch.collate,
        sampler,
        num_workers=data.num_workers,
        device=process.device,
        normalize=Normalize(data.mean, data.std),
        worker_timeout=data.worker_timeout,
        on_broken_image=on_broken_image,
    )
