"""Memory of tensors on the CPU, in bytes: exact, and equal in every run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile


def saved_bytes(network: nn.Module, x: Tensor) -> int:
    """Count the bytes that a forward pass keeps for the backward pass, once per storage.

    Parameters, buffers and ``x`` are left out, as they exist without a backward pass, too. Views of one storage and
    tensors that several operations keep count once, as they do in memory.

    Args:
        network: Network to run.
        x: Its input.
    """
    # Hold storages until the end, so that no freed address is reused.
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor.detach()

    # Layers may read what earlier layers have kept, so unpacking works.
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(x)
    for tensor in (x, *network.parameters(), *network.buffers()):
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(storage.nbytes() for storage in kept.values())


def peak_bytes(work: Callable[[], object]) -> int:
    """Return the peak memory of the tensors that ``work`` makes."""
    return max(held_bytes(work), default=0)


def held_bytes(work: Callable[[], object]) -> list[int]:
    """Return the memory of the tensors that ``work`` makes, its result included, after each allocation and release.

    The profiler reports every block that torch's CPU allocator allocates and frees; these are their running sums.
    Blocks from before ``work`` are not counted and not subtracted when they are freed, which the profiler reports if an
    earlier count has seen them. The high-water mark of the process depends on what is free in its heap, so it is not
    used.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        result = work()
    del result
    events = _flat(recorded.profiler.kineto_results.experimental_event_tree())
    changes = sorted((event for event in events if event.name == "[memory]"), key=lambda event: event.start_time_ns)
    return list(accumulate(_of_new_blocks(event.extra_fields for event in changes)))


def _flat(events: Iterable[Any]) -> Iterator[Any]:
    for event in events:
        yield event
        yield from _flat(event.children)


def _of_new_blocks(changes: Iterable[Any]) -> Iterator[int]:
    """Yield sizes, negative for freed blocks, of the blocks that were allocated within these changes."""
    held: set[int] = set()
    for change in changes:
        if change.alloc_size > 0:
            held.add(change.ptr)
        elif change.ptr in held:
            held.remove(change.ptr)
        else:
            continue
        yield change.alloc_size
