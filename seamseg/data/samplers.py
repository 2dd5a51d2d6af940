"""Which images come together in a batch, and in what order.

Batches hold images of one orientation, upright or lying, because an image is padded to the largest of its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seamseg.data.dataset import SampleKey
from seamseg.errors import SettingsError
from seamseg.runtime.training_progress import TrainingProgress
from seamseg.structures import Size


class BatchSampler(Protocol):
    """The batches that one process (rank) gets to see."""

    @property
    def num_batches(self) -> int:
        """How many batches an epoch has, the same in every epoch."""

    def batches(self, epoch: int) -> list[list[SampleKey]]:
        """The batches of an epoch, always the same for the same epoch; none is empty."""


class TrainBatches:
    """Shuffled batches; all ranks get equally many, and no image twice in an epoch.

    Each epoch draws as many images as fill whole batches on all ranks: the remainder, fewer than ``batch_size`` times
    ``num_ranks``, sits this epoch out. At one step all ranks have the same orientation, but for at most one step per
    epoch that collects what is left of both. A data set that does not fill one step gives one smaller step, of
    batches as equal as possible.

    Args:
        sizes: height and width of every image.
        batch_size: images per batch of one rank.
        seed: not negative; with the epoch it decides the order, which does not depend on the rank.
        rank, num_ranks: of this process, and how many there are.
        resumed: the run goes on from here: its epoch has only the batches of the images that are still to come, where a
            part of it was done with another number of images per batch.

    Raises:
        SeamsegError: there are fewer images than ranks, or a number is out of range.
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
    ) -> None:
        _check(batch_size, rank, num_ranks)
        if len(sizes) < num_ranks:
            raise SettingsError(f"{len(sizes)} training images are too few for {num_ranks} processes; start fewer")
        self._lying = _is_lying(sizes)
        self._images_per_step = batch_size * num_ranks
        self._seed, self._rank, self._num_ranks, self._resumed = seed, rank, num_ranks, resumed

    @property
    def num_batches(self) -> int:
        return len(self._lying) // min(self._images_per_step, len(self._lying))

    def batches(self, epoch: int) -> list[list[SampleKey]]:
        generator = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(epoch,)))
        images = generator.permutation(len(self._lying))
        for stretch in self._resumed.earlier if epoch == self._resumed.epoch else ():
            done = self._steps(images, stretch.images_per_batch, generator)[: stretch.num_batches]
            images = images[~np.isin(images, np.concatenate(done))]
        steps = self._steps(images, self._images_per_step, generator)
        return [_keys(epoch, np.array_split(step, self._num_ranks)[self._rank]) for step in steps]

    def _steps(
        self, images: NDArray[np.int64], images_per_step: int, generator: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """The images of every step over all ranks: of one orientation but for the leftovers, in random order."""
        images_per_step = min(images_per_step, len(self._lying))
        drawn = images[: len(images) // images_per_step * images_per_step]
        steps: list[NDArray[np.int64]] = []
        leftovers: list[NDArray[np.int64]] = []
        for indices in (drawn[self._lying[drawn]], drawn[~self._lying[drawn]]):
            filled = len(indices) // images_per_step * images_per_step
            steps.extend(indices[:filled].reshape(-1, images_per_step))
            leftovers.append(indices[filled:])
        mixed = np.concatenate(leftovers)
        steps += [mixed] if len(mixed) else []
        return [steps[step] for step in generator.permutation(len(steps))]


class EvaluationBatches:
    """Every image exactly once over all ranks, in fixed order; ranks may differ by one batch, some may have none.

    Args:
        sizes: height and width of every image.
        batch_size: images per batch; the last one of each orientation may have fewer.
        rank, num_ranks: of this process, and how many there are.

    Raises:
        SeamsegError: a number is out of range.
    """

    def __init__(self, sizes: Sequence[Size], batch_size: int, *, rank: int = 0, num_ranks: int = 1) -> None:
        _check(batch_size, rank, num_ranks)
        lying = _is_lying(sizes)
        chunks = [
            indices[start : start + batch_size]
            for indices in (np.flatnonzero(lying), np.flatnonzero(~lying))
            for start in range(0, len(indices), batch_size)
        ]
        self._chunks = chunks[rank::num_ranks]

    @property
    def num_batches(self) -> int:
        return len(self._chunks)

    def batches(self, epoch: int) -> list[list[SampleKey]]:
        return [_keys(epoch, chunk) for chunk in self._chunks]


def _is_lying(sizes: Sequence[Size]) -> NDArray[np.bool_]:
    """Images at least as wide as high."""
    return np.array([width >= height for height, width in sizes], dtype=np.bool_)


def _keys(epoch: int, indices: NDArray[np.int64]) -> list[SampleKey]:
    return [SampleKey(epoch, int(index)) for index in indices]


def _check(batch_size: int, rank: int, num_ranks: int) -> None:
    if batch_size < 1:
        raise SettingsError(f"the batch size is {batch_size}; it must be at least 1")
    if not 0 <= rank < num_ranks:
        raise SettingsError(f"rank {rank} is not in 0 … {num_ranks - 1}")
