"""What the ranks of a process group agree upon."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

CONNECT_SECONDS = 120
Value = TypeVar("Value")


@dataclass(frozen=True)
class Moments:
    """Mean and biased variance per channel of ``count`` samples.

    Attributes:
        mean, var: C, float32 or float64.
        count: zero-dimensional, of the same type; the number of samples per channel.
    """

    mean: Tensor
    var: Tensor
    count: Tensor


def is_started() -> bool:
    """Whether this process belongs to a started process group, of one rank or more."""
    return dist.is_available() and dist.is_initialized()


def is_distributed() -> bool:
    """Whether this process belongs to a started process group of more than one rank."""
    return is_started() and dist.get_world_size() > 1


def connect(group: dist.ProcessGroup | None = None) -> None:
    """Opens the connections of a new gloo group, which would otherwise be opened by its first collective.

    A rank that ends while it starts would keep the others waiting for as long as a collective may take: half an hour.
    Others than gloo connect as they do.

    Args:
        group: whose ranks all call this; None means all ranks.

    Raises:
        ConnectionError: the ranks don't find each other within :data:`CONNECT_SECONDS`.
    """
    if dist.get_backend(group) != "gloo":
        return
    try:
        dist.barrier(group, async_op=True).wait(timedelta(seconds=CONNECT_SECONDS))
    except RuntimeError as error:
        raise ConnectionError(
            f"rank {dist.get_rank()} cannot connect to the others within {CONNECT_SECONDS} seconds ({error}); start "
            "all of them again, which torchrun does by itself with --max-restarts"
        ) from error


def reduce_moments(local: Moments, group: dist.ProcessGroup | None) -> Moments:
    """The moments of all ranks' samples together, in one collective; exact for different counts, zero included.

    Args:
        local: this rank's moments.
        group: the ranks that take part; None means all of them.
    """
    packed = torch.cat([local.mean, local.var, local.count.reshape(1)])
    of_ranks = [torch.empty_like(packed) for _ in range(dist.get_world_size(group))]
    dist.all_gather(of_ranks, packed, group=group)
    gathered = torch.stack(of_ranks)
    channels = len(local.mean)
    means, variances, counts = gathered[:, :channels], gathered[:, channels:-1], gathered[:, -1:]
    count = counts.sum()
    weights = counts / count.clamp(min=1)
    mean = (means * weights).sum(dim=0)
    # The spread between the ranks' means joins the spread within them (Chan et al.); nothing large is subtracted.
    var = ((variances + (means - mean).square()) * weights).sum(dim=0)
    return Moments(mean, var, count)


def sum_over_ranks(value: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """The sum of one tensor over the ranks, as a new tensor."""
    total = value.clone()
    dist.all_reduce(total, group=group)
    return total


def sum_and_size_over_ranks(value: Tensor) -> tuple[Tensor, int]:
    """The sum of one tensor over all ranks, and their number."""
    if not is_distributed():
        return value, 1
    return sum_over_ranks(value, None), dist.get_world_size()


def gather_objects(value: Value) -> list[Value]:
    """One picklable value of every rank, on every rank, in the order of the ranks."""
    if not is_distributed():
        return [value]
    gathered = [value] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def mean_over_ranks(values: dict[str, Tensor]) -> dict[str, float]:
    """Zero-dimensional values, averaged over the ranks in one collective."""
    stacked = torch.stack([value.float() for value in values.values()])
    if is_distributed():
        dist.all_reduce(stacked)
        stacked /= dist.get_world_size()
    return dict(zip(values, stacked.tolist(), strict=True))


def largest_over_ranks(values: list[int], device: torch.device) -> list[int]:
    """The largest of each number over all ranks, in one collective."""
    if not is_distributed():
        return values
    largest = torch.tensor(values, device=device)
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    found: list[int] = largest.tolist()
    return found
