"""Batches loaded ahead by worker processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torch.utils.data.dataloader import _BaseDataLoaderIter

from seamseg.data.dataset import SampleKey
from seamseg.data.samplers import BatchSampler
from seamseg.data.shared_samples import SharedSamples
from seamseg.data.worker_faults import memory_ran_out, stalled, start_fault
from seamseg.errors import BrokenImageError, SeamsegError
from seamseg.structures import ImageId, PackedSequence

_POLL_SECONDS = 1
_NOTHING_YET = "DataLoader timed out"
"""Start of the error message that torch raises when no batch has arrived for ``_POLL_SECONDS``."""


class LoadedBatch(Protocol):
    """Images with ground truth of some kind, such as :class:`seamseg.structures.Batch`."""

    @property
    def image_ids(self) -> Sequence[ImageId]:
        """Ids of the images in their data set."""
        ...

    @property
    def images(self) -> PackedSequence:
        """Images, 3×H×W each: uint8 as collated, normalized float32 when finalized."""
        ...

    @property
    def ground_truth(self) -> Any:
        """Ground truth in the form that the network's loss expects."""
        ...

    def to(self: BatchT, device: torch.device) -> BatchT:
        """Return the batch on a device."""
        ...

    def finalize(self: BatchT, normalize: Callable[[Tensor], Tensor]) -> BatchT:
        """Return the batch as the network reads it, without any memory in common with this one."""
        ...


BatchT = TypeVar("BatchT", bound=LoadedBatch)


class BatchLoader(Generic[BatchT]):
    """Batches for one epoch after another; their content does not depend on the number of workers.

    Until a batch is on the device, its images are uint8 and its ids int32, which takes a quarter and half of the memory
    of the final types. Batches own their memory, so keeping part of a batch keeps no memory or open file of a worker
    process.

    Attributes:
        on_wait: Function called about every second while the worker processes deliver nothing, with the seconds waited
            so far. An exception that it raises ends the epoch.

    Args:
        dataset: Data set that returns the sample for a key: a dataclass whose fields are tensors and other values.
        collate: Function that joins samples into a batch.
        sampler: Batch sampler that groups the keys.
        num_workers: Number of worker processes that read ahead; 0 reads in this process.
        device: Device of the returned batches. For CUDA devices, batches pass through page-locked memory.
        normalize: Function applied on the device that turns uint8 images into the input of the network.
        on_broken_image: Function called with the error of an unreadable file, whose image is then left out of its
            batch; a batch without any image left is skipped. None raises the error instead, which training on several
            ranks requires because the ranks take their steps together.
        worker_timeout: Seconds without a batch from the worker processes after which an error is raised.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        collate: Callable[[list[Any]], BatchT],
        sampler: BatchSampler,
        *,
        num_workers: int,
        device: torch.device,
        normalize: Callable[[Tensor], Tensor],
        on_broken_image: Callable[[BrokenImageError], None] | None = None,
        worker_timeout: float = 600.0,
    ) -> None:
        self.on_wait: Callable[[float], None] = lambda seconds: None
        self._collate, self._sampler, self._worker_timeout = collate, sampler, worker_timeout
        self._device, self._normalize = device, normalize
        self._on_broken_image = on_broken_image
        self._schedule = _Schedule()
        self._loading: _BaseDataLoaderIter | None = None
        self._loader: DataLoader[_Loaded] = DataLoader(
            _ErrorsAsValues(dataset),
            batch_sampler=self._schedule,
            collate_fn=_pack,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            timeout=_POLL_SECONDS if num_workers > 0 else 0,
            pin_memory=device.type == "cuda",
            worker_init_fn=_prepare_worker,
            generator=torch.Generator(),  # without it, every epoch would draw from torch's global generator
        )

    @property
    def num_batches(self) -> int:
        """Number of batches per epoch; fewer are returned if all images of a batch are broken and left out."""
        return self._sampler.num_batches

    def num_batches_in(self, epoch: int) -> int:
        """Return the number of batches in one epoch; a resumed epoch may have fewer than others."""
        return len(self._sampler.batches(epoch))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[BatchT]:
        """Return the batches of an epoch, beginning with number ``start``, to resume an interrupted run.

        Only one epoch can be read at a time: start the next one when this iterator is exhausted or no longer used.

        Args:
            epoch: Number of the epoch.
            start: Number of batches to skip, from 0 to the number of batches.

        Raises:
            ValueError: ``start`` is out of range.
            SeamsegError: The files of a sample are wrong.
            OSError: A sample cannot be read, or the worker processes fail or deliver nothing.
        """
        batches = self._sampler.batches(epoch)
        if not 0 <= start <= len(batches):
            raise ValueError(f"an epoch has batches 0 … {len(batches) - 1}; it cannot start at {start}")
        return self._epoch(batches[start:])

    def _epoch(self, batches: list[list[SampleKey]]) -> Iterator[BatchT]:
        self._schedule.batches = batches
        for loaded in self._loaded_batches():
            for error in loaded.errors:
                self._handle(error)
            if loaded.samples is not None:
                yield self._on_device(loaded.samples)

    def _loaded_batches(self) -> Iterator[_Loaded]:
        """Yield loaded batches; while none arrives, call ``on_wait`` until the worker timeout is reached."""
        loading = self._begin()
        since = time.monotonic()
        while True:
            try:
                loaded = next(loading, None)
            except RuntimeError as error:
                if not str(error).startswith(_NOTHING_YET):
                    raise
                waited = time.monotonic() - since
                self.on_wait(waited)
                if waited >= self._worker_timeout:
                    raise OSError(stalled(self._worker_timeout)) from None
                continue
            if loaded is None:
                return
            yield loaded
            since = time.monotonic()

    def _begin(self) -> Iterator[_Loaded]:
        """Start the workers, or give the existing workers the batches of the new epoch."""
        if self._loading is not None:
            # Workers respond only after finishing the batches of an abandoned epoch; allow the full timeout for that.
            self._loading._timeout = self._worker_timeout
        try:
            self._loading = iter(self._loader)
        except OSError as error:
            raise start_fault(error) from error
        except RuntimeError as error:
            if not str(error).startswith(_NOTHING_YET):
                raise
            raise OSError(stalled(self._worker_timeout)) from None
        self._loading._timeout = _POLL_SECONDS
        return self._loading

    def _on_device(self, packed: SharedSamples[Any]) -> BatchT:
        """Return a batch that does not refer to the shared memory block."""
        memory = packed.memory.to(self._device, non_blocking=True)
        batch = self._collate(SharedSamples(memory, packed.layout).unpack())
        return batch.finalize(self._normalize)

    def _handle(self, error: SeamsegError | OSError) -> None:
        if self._on_broken_image is None or not isinstance(error, BrokenImageError):
            raise error
        self._on_broken_image(error)


class _Schedule:
    """Batches that the workers read next; filled before every epoch."""

    def __init__(self) -> None:
        self.batches: list[list[SampleKey]] = []

    def __iter__(self) -> Iterator[list[SampleKey]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class _ErrorsAsValues(Dataset[Any]):
    """Data set that returns data errors as values.

    If they were raised in a worker, they would arrive wrapped in its traceback.
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitem__(self, key: SampleKey) -> Any:
        try:
            return self.dataset[key]
        except (SeamsegError, OSError) as error:
            return error
        except MemoryError as error:
            return OSError(memory_ran_out(error))


@dataclass(frozen=True)
class _Loaded:
    """The samples of a batch that could be read (None if there are none) and the errors of the others."""

    samples: SharedSamples[Any] | None
    errors: list[SeamsegError | OSError]

    def pin_memory(self) -> _Loaded:
        if self.samples is None:
            return self
        return replace(self, samples=replace(self.samples, memory=self.samples.memory.pin_memory()))


def _pack(items: list[Any]) -> _Loaded:
    errors = [item for item in items if isinstance(item, (SeamsegError, OSError))]
    samples = [item for item in items if not isinstance(item, (SeamsegError, OSError))]
    try:
        packed = SharedSamples.pack(samples, shared=get_worker_info() is not None) if samples else None
    except OSError as error:
        return _Loaded(None, [*errors, error])
    return _Loaded(packed, errors)


def _prepare_worker(worker: int) -> None:
    # The workers already run in parallel; threads inside them would only compete for the cores.
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    # Ctrl-C and `timeout` signal a whole process group. Only the main process must receive that signal, because it
    # saves first. It then stops its workers itself, and workers also exit when it is gone.
    os.setpgrp()
