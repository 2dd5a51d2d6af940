"""Batch samplers: which images form a batch, and in what order.

A batch contains images of one orientation, portrait or landscape, because each image is padded to the largest one in
its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seamseg.data.dataset import SampleKey
from seamseg.data.image_draws import EveryImage, ImageDraws
from seamseg.errors import SettingsError
from seamseg.runtime.training_progress import TrainingProgress
from seamseg.structures import Size


class BatchSampler(Protocol):
    """Batches of one process (rank)."""

    @property
    def num_batches(self) -> int:
        """Number of batches per epoch, the same for every epoch."""

    def batches(self, epoch: int) -> list[list[SampleKey]]:
        """Return the non-empty batches of an epoch; the result depends only on the epoch."""


class TrainBatches:
    """Shuffled batches; all ranks get the same number, and no image occurs twice in an epoch unless it is drawn twice.

    Each epoch uses as many of its draws as fill whole batches on all ranks. The remainder, fewer than ``batch_size *
    num_ranks`` images, is skipped in that epoch. In every step, all ranks have images of the same orientation, except
    for at most one step per epoch that collects the leftovers of both. A data set too small to fill one step yields one
    smaller step with batches as equal in size as possible.

    Args:
        sizes: Height and width of every image.
        batch_size: Number of images per batch on one rank.
        seed: Non-negative seed. Together with the epoch it determines the order, which does not depend on the rank.
        rank: Rank of this process.
        num_ranks: Number of processes.
        resumed: Progress of the run that is resumed. If part of its epoch was trained with another number of images per
            batch, that epoch has only batches of the remaining images.
        draws: Rule that draws the images of an epoch; None for every image once.

    Raises:
        SeamsegError: There are fewer images than ranks, or a number is out of range.
    """

    def __init__(
        self,
        sizes: Sequence[Size],
        batch_size: int,
        *,
        seed: int,
        rank: int = 0,
        num_ranks: int = 1,
        resumed: TrainingProgress = TrainingProgress(),  # noqa: B008 - it is frozen
        draws: ImageDraws | None = None,
    ) -> None:
        _check_numbers(batch_size, rank, num_ranks)
        if len(sizes) < num_ranks:
            raise SettingsError(
                f"{len(sizes)} training images are too few for {num_ranks} processes; start fewer processes"
            )
        self._landscape = _is_landscape(sizes)
        self._draws: ImageDraws = draws or EveryImage(len(sizes))
        self._images_per_step = batch_size * num_ranks
        self._seed, self._rank, self._num_ranks, self._resumed = seed, rank, num_ranks, resumed

    @property
    def num_batches(self) -> int:
        """Number of batches per epoch, the same for every epoch."""
        return self._draws.num_draws // min(self._images_per_step, self._draws.num_draws)

    def batches(self, epoch: int) -> list[list[SampleKey]]:
        """Return this rank's batches of an epoch."""
        generator = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(epoch,)))
        draws = self._draws.draw(generator)
        landscape, keys = self._landscape[draws.images], _keys(epoch, draws.images, draws.repeats, draws.targets)
        places = generator.permutation(len(keys))
        for span in self._resumed.earlier if epoch == self._resumed.epoch else ():
            done = self._steps(places, landscape, span.images_per_batch, generator)[: span.num_batches]
            places = places[~np.isin(places, np.concatenate(done))]
        steps = self._steps(places, landscape, self._images_per_step, generator)
        return [[keys[place] for place in np.array_split(step, self._num_ranks)[self._rank]] for step in steps]

    def _steps(
        self,
        places: NDArray[np.int64],
        landscape: NDArray[np.bool_],
        images_per_step: int,
        generator: np.random.Generator,
    ) -> list[NDArray[np.int64]]:
        """Return the draws of every step over all ranks, in random order.

        All images of a step have one orientation, except in the step that collects the leftovers.

        Args:
            places: Indices of draws, shuffled.
            landscape: Whether the image of each draw is at least as wide as high.
            images_per_step: Number of images per step over all ranks.
            generator: Random generator.
        """
        images_per_step = min(images_per_step, len(landscape))
        drawn = places[: len(places) // images_per_step * images_per_step]
        steps: list[NDArray[np.int64]] = []
        leftovers: list[NDArray[np.int64]] = []
        for indices in (drawn[landscape[drawn]], drawn[~landscape[drawn]]):
            filled = len(indices) // images_per_step * images_per_step
            steps.extend(indices[:filled].reshape(-1, images_per_step))
            leftovers.append(indices[filled:])
        mixed = np.concatenate(leftovers)
        steps += [mixed] if len(mixed) else []
        return [steps[step] for step in generator.permutation(len(steps))]


class EvaluationBatches:
    """Batches that contain every image exactly once over all ranks, in fixed order.

    The number of batches may differ by one between ranks, and some ranks may have none.

    Args:
        sizes: Height and width of every image.
        batch_size: Number of images per batch; the last batch of each orientation may have fewer.
        rank: Rank of this process.
        num_ranks: Number of processes.

    Raises:
        SeamsegError: A number is out of range.
    """

    def __init__(self, sizes: Sequence[Size], batch_size: int, *, rank: int = 0, num_ranks: int = 1) -> None:
        _check_numbers(batch_size, rank, num_ranks)
        landscape = _is_landscape(sizes)
        chunks = [
            indices[start : start + batch_size]
            for indices in (np.flatnonzero(landscape), np.flatnonzero(~landscape))
            for start in range(0, len(indices), batch_size)
        ]
        self._chunks = chunks[rank::num_ranks]

    @property
    def num_batches(self) -> int:
        """Number of batches of this rank."""
        return len(self._chunks)

    def batches(self, epoch: int) -> list[list[SampleKey]]:
        """Return this rank's batches, with the epoch in their keys."""
        return [_keys(epoch, chunk) for chunk in self._chunks]


def _is_landscape(sizes: Sequence[Size]) -> NDArray[np.bool_]:
    """Return which images are at least as wide as high."""
    return np.array([width >= height for height, width in sizes], dtype=np.bool_)


def _keys(
    epoch: int,
    indices: NDArray[np.int64],
    repeats: NDArray[np.int64] | None = None,
    targets: NDArray[np.int64] | None = None,
) -> list[SampleKey]:
    numbers = [0] * len(indices) if repeats is None else repeats.tolist()
    classes = [None] * len(indices) if targets is None else targets.tolist()
    return [SampleKey(epoch, *values) for values in zip(indices.tolist(), numbers, classes, strict=True)]


def _check_numbers(batch_size: int, rank: int, num_ranks: int) -> None:
    if batch_size < 1:
        raise SettingsError(f"the batch size is {batch_size}; it must be at least 1")
    if not 0 <= rank < num_ranks:
        raise SettingsError(f"rank {rank} is not in 0 … {num_ranks - 1}")
