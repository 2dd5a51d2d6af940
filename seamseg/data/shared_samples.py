"""Samples in one block of memory, which a worker process hands over as a single open file."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from itertools import accumulate
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from seamseg.data.worker_faults import worker_fault

_ALIGNMENT = 64
SampleT = TypeVar("SampleT", bound=Any)
"""Dataclass with tensors among its fields, such as :class:`seamseg.structures.Sample`."""


@dataclass(frozen=True)
class SharedSamples(Generic[SampleT]):
    """N samples of one type, whose tensors are stored one after another in one block of memory.

    Torch opens a file for every tensor that a worker process sends. With one block per batch, the number of open files
    does not depend on the number of images.

    Attributes:
        memory: Bytes of all tensors, each of which starts at a multiple of 64.
        layout: Samples whose tensors are on the meta device and have the right shapes and dtypes.
    """

    memory: Tensor
    layout: list[SampleT]

    @classmethod
    def pack(cls, samples: list[SampleT], shared: bool) -> SharedSamples[SampleT]:
        """Copy samples into one block.

        Args:
            samples: N samples in the memory of this process.
            shared: Whether another process will read the block.

        Raises:
            OSError: The shared memory is full, or too many files are open.
        """
        layout = [
            replace(sample, **{name: tensor.to("meta") for name, tensor in _tensors(sample).items()})
            for sample in samples
        ]
        packed = cls(_allocate(_starts(layout)[-1], shared), layout)
        for target, source in zip(packed.unpack(), samples, strict=True):
            for name, tensor in _tensors(source).items():
                getattr(target, name).copy_(tensor)
        return packed

    def unpack(self) -> list[SampleT]:
        """Return the samples as views of the block, on its device."""
        starts = iter(_starts(self.layout))
        return [
            replace(sample, **{name: self._view(tensor, next(starts)) for name, tensor in _tensors(sample).items()})
            for sample in self.layout
        ]

    def _view(self, like: Tensor, start: int) -> Tensor:
        return self.memory[start : start + like.nbytes].view(like.dtype).view(like.shape)


def _tensors(sample: Any) -> dict[str, Tensor]:
    """Return the fields of a sample that are tensors, by name."""
    values = {field.name: getattr(sample, field.name) for field in fields(sample)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def _starts(layout: list[Any]) -> list[int]:
    """Return the start of each tensor in the block, followed by the length of the block."""
    sizes = [tensor.nbytes for sample in layout for tensor in _tensors(sample).values()]
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
