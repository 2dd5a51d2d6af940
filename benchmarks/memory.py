"""Memory that tensors take on the CPU, in bytes: exact, and the same on every run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile


def saved_bytes(network: nn.Module, x: Tensor) -> int:
    """What a forward pass keeps for the backward pass, counted once per storage.

    Parameters, buffers and ``x`` are left out: they are there with or without a backward pass. Views of one storage
    and tensors that several operations keep count once, as they do in memory.
    """
    # Held until the end: a storage that is freed could pass its address on to the next one.
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor.detach()

    # Layers may look at what was kept before them, so it can be had back.
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(x)
    for tensor in (x, *network.parameters(), *network.buffers()):
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(storage.nbytes() for storage in kept.values())


def peak_bytes(work: Callable[[], object]) -> int:
    """The most memory that tensors made by ``work`` hold at one time, on top of what is there before."""
    return max(held_bytes(work), default=0)


def held_bytes(work: Callable[[], object]) -> list[int]:
    """What tensors made by ``work`` hold after each change, its result included.

    The profiler reports every block that torch's CPU allocator hands out and takes back; these are their running sums.
    Blocks from before ``work`` are neither counted nor subtracted when they are freed, which the profiler reports of
    those that an earlier count has seen. The process's own high-water mark would not do: it depends on what lies free
    in its heap.
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
    """Sizes, negative where a block is freed; of the blocks that were handed out in these changes alone."""
    held: set[int] = set()
    for change in changes:
        if change.alloc_size > 0:
            held.add(change.ptr)
        elif change.ptr in held:
            held.remove(change.ptr)
        else:
            continue
        yield change.alloc_size
