"""Arithmetic floor of a computation: its convolutions and matrix products, each at the best speed of this machine.

:class:`OperatorLog` records every convolution and matrix product of a computation, forward and backward, with its
shapes and types, and the bytes that all other operators move. :func:`measure_floor` runs each distinct product by
itself in both memory formats and adds up the shortest times. No arrangement of these products by the same library is
faster, so a computation that takes as long as its floor spends no time on anything else.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from seamseg.ops.recomputation import is_recomputing
from seamseg.runtime.allocator import keep_freed_memory

FORMATS = (torch.contiguous_format, torch.channels_last)
_SLOW = 1.5
"""Factor on the time of the other format from which a format is measured only once."""
_COPIED = 256 * 2**20
"""Size of the tensor whose copy measures the memory bandwidth, in bytes."""


@dataclass(frozen=True)
class TensorShape:
    """Shape and type of a tensor of a product, and whether it is a transposed matrix."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    transposed: bool

    def make(self, memory_format: torch.memory_format) -> Tensor:
        """Return a tensor of ones; ``memory_format`` applies to tensors of four dimensions."""
        if len(self.shape) == 4:
            return torch.ones(self.shape, dtype=self.dtype).contiguous(memory_format=memory_format)
        if self.transposed:
            return torch.ones(*self.shape[:-2], self.shape[-1], self.shape[-2], dtype=self.dtype).mT
        return torch.ones(self.shape, dtype=self.dtype)


@dataclass(frozen=True)
class Product:
    """A convolution or matrix product, or the gradients of a convolution.

    Attributes:
        operator: Operator of torch.
        arguments: Its positional arguments, with a :class:`TensorShape` in place of each tensor and tuples for lists.
        flops: Number of additions and multiplications.
    """

    operator: torch._ops.OpOverload[..., Any]
    arguments: tuple[Any, ...]
    flops: int

    def shortest(self, rounds: int) -> float:
        """Return the shortest time in milliseconds, over both memory formats and several rounds."""
        works = [self._work(memory_format) for memory_format in self._formats]
        best = [_milliseconds(work) for work in works for _ in range(2)][1::2]  # the first calls build the kernels
        for _ in range(rounds - 1):
            for index, work in enumerate(works):
                if best[index] < _SLOW * min(best):
                    best[index] = min(best[index], _milliseconds(work))
        return min(best)

    @property
    def _formats(self) -> tuple[torch.memory_format, ...]:
        has_maps = any(isinstance(one, TensorShape) and len(one.shape) == 4 for one in self.arguments)
        return FORMATS if has_maps else FORMATS[:1]

    def _work(self, memory_format: torch.memory_format) -> Callable[[], object]:
        made = [one.make(memory_format) if isinstance(one, TensorShape) else one for one in self.arguments]
        return lambda: self.operator(*made)


class OperatorLog(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Context that records the products of a computation and the bytes that its other operators move.

    Convolutions that a backward pass computes again do not count: a floor is the least that a step must compute.

    Attributes:
        products: Number of calls of each distinct product.
        other_bytes: Bytes that all other operators read and write if each of them reads its inputs once and writes its
            results once. Operators that read only a part of an input count all of it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.products: Counter[Product] = Counter()
        self.other_bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator and record it."""
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket is torch.ops.aten.convolution and is_recomputing():
            return result
        if func.overloadpacket in flop_registry:
            flops = flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=result)
            if flops:
                arguments = tree_map(_as_shape, args)
                self.products[Product(func, _hashable(arguments), flops)] += 1
        elif not func.is_view:
            moved = {one.untyped_storage().data_ptr(): one.nbytes for one in _tensors((args, kwargs, result))}
            written = [one for name, one in zip(func._schema.arguments, args, strict=False) if _is_written(name)]
            self.other_bytes += sum(moved.values()) + sum(one.nbytes for one in _tensors(written))
        return result


@dataclass(frozen=True)
class Floor:
    """Lower bound of the time of a computation.

    Attributes:
        milliseconds: Sum of the shortest times of all products.
        gflop: Additions and multiplications of the products, in 10⁹.
        gigabytes: Bytes that the other operators move, in 10⁹.
        bandwidth: Bytes per second of a large copy, reading and writing, in 10⁹.
    """

    milliseconds: float
    gflop: float
    gigabytes: float
    bandwidth: float

    @property
    def moving(self) -> float:
        """Time in milliseconds that the other operators need at the bandwidth of a copy."""
        return 1000 * self.gigabytes / self.bandwidth

    def describe(self, milliseconds: float) -> str:
        """Say what limits a computation that takes this long, and which part of its time the limits explain."""
        limit = "arithmetic" if self.milliseconds >= self.moving else "bytes"
        explained = (self.milliseconds + self.moving) / milliseconds
        return (
            f"limited by {limit}: {self.gflop:.0f} GFLOP at {1000 * self.gflop / self.milliseconds:.0f} GFLOP/s, and "
            f"{self.gigabytes:.1f} GB between them at {self.bandwidth:.0f} GB/s ({self.moving:.0f} ms); together "
            f"{100 * explained:.0f} % of the time"
        )


def record_operators(work: Callable[[], object]) -> OperatorLog:
    """Run ``work`` and return its operators."""
    log = OperatorLog()
    with log:
        work()
    return log


def measure_floor(log: OperatorLog, rounds: int) -> Floor:
    """Measure the floor of recorded operators on this machine, with the current number of threads.

    Args:
        log: Recorded operators.
        rounds: Number of timed calls of each product.
    """
    keep_freed_memory()  # our steps return large blocks
    taken = sum(count * product.shortest(rounds) for product, count in log.products.items())
    flops = sum(count * product.flops for product, count in log.products.items())
    return Floor(taken, flops / 1e9, log.other_bytes / 1e9, copy_bandwidth(rounds))


def copy_bandwidth(rounds: int) -> float:
    """Return the bandwidth of copying a large tensor, reading and writing, in GB/s."""
    source = torch.ones(_COPIED, dtype=torch.uint8)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * _COPIED / 1e6 / min(_milliseconds(lambda: target.copy_(source)) for _ in range(rounds))


def _milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    result = work()
    taken = 1000 * (time.perf_counter() - start)
    del result
    return taken


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _is_written(argument: Any) -> bool:
    return argument.alias_info is not None and bool(argument.alias_info.is_write)


def _as_shape(value: object) -> object:
    if not isinstance(value, Tensor):
        return value
    transposed = value.ndim in (2, 3) and value.stride(-1) != 1 and value.stride(-2) == 1
    return TensorShape(tuple(value.shape), value.dtype, transposed)


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, (list, tuple)) else value
