"""Samples in one block of memory, which a worker process hands over as a single open file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from seamseg.data.worker_faults import worker_fault
from seamseg.structures import Sample

_TENSORS = ("image", "ids", "classes", "crowd", "boxes")
_ALIGNMENT = 64


@dataclass(frozen=True)
class SharedSamples:
    """N samples whose tensors are stored one after another in one block of memory.

    Torch opens a file for every tensor that a worker process sends. With one block per batch, the number of open files
    does not depend on the number of images.

    Attributes:
        memory: Bytes of all tensors, each of which starts at a multiple of 64.
        layout: Samples whose tensors are on the meta device and have the right shapes and dtypes.
    """

    memory: Tensor
    layout: list[Sample]

    @classmethod
    def pack(cls, samples: list[Sample], shared: bool) -> SharedSamples:
        """Copy samples into one block.

        Args:
            samples: N samples in the memory of this process.
            shared: Whether another process will read the block.

        Raises:
            OSError: The shared memory is full, or too many files are open.
        """
        layout = [_with_tensors(sample, [getattr(sample, name).to("meta") for name in _TENSORS]) for sample in samples]
        packed = cls(_allocate(_starts(layout)[-1], shared), layout)
        for target, source in zip(packed.unpack(), samples, strict=True):
            for name in _TENSORS:
                getattr(target, name).copy_(getattr(source, name))
        return packed

    def unpack(self) -> list[Sample]:
        """Return the samples as views of the block, on its device."""
        starts = iter(_starts(self.layout))
        return [
            _with_tensors(sample, [self._view(getattr(sample, name), next(starts)) for name in _TENSORS])
            for sample in self.layout
        ]

    def _view(self, like: Tensor, start: int) -> Tensor:
        return self.memory[start : start + like.nbytes].view(like.dtype).view(like.shape)


def _with_tensors(sample: Sample, tensors: list[Tensor]) -> Sample:
    """Return the sample with its tensors replaced, in the order of ``_TENSORS``."""
    image, ids, classes, crowd, boxes = tensors
    return replace(sample, image=image, ids=ids, classes=classes, crowd=crowd, boxes=boxes)


def _starts(layout: list[Sample]) -> list[int]:
    """Return the start of each tensor in the block, followed by the length of the block."""
    sizes = [getattr(sample, name).nbytes for sample in layout for name in _TENSORS]
    return list(accumulate((-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes), initial=0))


def _allocate(num_bytes: int, shared: bool) -> Tensor:
    memory = torch.empty(num_bytes, dtype=torch.uint8)
    try:
        # Torch would otherwise share it in the thread that sends it. An error in that thread is only printed: the batch
        # would be lost, and the main process would wait for it forever.
        return memory.share_memory_() if shared else memory  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        sentence = worker_fault(error)
        if sentence is None:
            raise
        raise OSError(sentence) from error
