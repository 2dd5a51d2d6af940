"""Collectives, and the group of ranks that currently take part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, TypeVar
from weakref import WeakKeyDictionary

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


Sync = Literal["active", "masked"]
"""Who runs the collectives: the ranks that take part, or all of them, of which some contribute nothing."""
MAX_GROUPS = 16
"""Process groups of some of the ranks that are kept; with nccl each holds memory of the GPU."""


@dataclass(frozen=True)
class ActiveGroup:
    """The ranks that run the collectives of a part of the network.

    Attributes:
        ranks: of the world, ascending.
        is_member: whether this rank is one of them.
        process_group: theirs; None if they are all ranks, or fewer than two, who have nothing to exchange.
    """

    ranks: tuple[int, ...]
    is_member: bool
    process_group: dist.ProcessGroup | None = None


def active_group(active: bool, sync: Sync = "active", max_groups: int | None = None) -> ActiveGroup:
    """The group of the ranks that are active, found in one small exchange.

    Args:
        active: whether this rank takes part.
        sync, max_groups: as in :func:`group_of`.
    """
    flags = exchange_counts([int(active)])
    return group_of([rank for rank, (flag,) in enumerate(flags) if flag], sync, max_groups)


def exchange_counts(counts: Sequence[int]) -> list[list[int]]:
    """The numbers of every rank, in the order of the ranks: one collective of int64, off the GPU.

    Args:
        counts: of this rank, the same number of them on every rank.
    """
    if not is_distributed():
        return [list(counts)]
    local = torch.tensor(counts, dtype=torch.int64, device="cpu")
    of_ranks = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(of_ranks, local, group=_groups().bookkeeping)
    return [one.tolist() for one in of_ranks]


def group_of(active: Sequence[int], sync: Sync = "active", max_groups: int | None = None) -> ActiveGroup:
    """The ranks that run the collectives if these take part.

    A process group is made the first time that a set of ranks takes part, and kept.

    Args:
        active: the ranks that take part, the same on every rank.
        sync: ``active``: they alone; ``masked``: all ranks, as far as there is anything to exchange.
        max_groups: number of process groups that are kept, the same on every rank; beyond it further sets of ranks are
            masked. None for :data:`MAX_GROUPS`.
    """
    ranks = tuple(sorted(active))
    world = tuple(range(dist.get_world_size())) if is_distributed() else (0,)
    rank = dist.get_rank() if is_distributed() else 0
    if sync == "masked" and ranks:
        ranks = world
    if len(ranks) < 2 or ranks == world:
        return ActiveGroup(ranks, rank in ranks)
    made = _groups().of_ranks
    if ranks not in made:
        if len(made) >= (MAX_GROUPS if max_groups is None else max_groups):
            return ActiveGroup(world, is_member=True)
        group = dist.new_group(list(ranks))
        made[ranks] = group if isinstance(group, dist.ProcessGroup) else None
        if made[ranks] is not None:
            connect(made[ranks])
    return ActiveGroup(ranks, rank in ranks, made[ranks])


def num_groups() -> int:
    """Process groups of some of the ranks that are kept at the moment."""
    return len(_groups().of_ranks) if is_distributed() else 0


@dataclass(frozen=True)
class _Groups:
    """Of one world; of the sets of ranks that this one is not in, no more than that there is a group.

    Attributes:
        bookkeeping: a gloo group of all ranks; None if the world is one.
    """

    bookkeeping: dist.ProcessGroup | None
    of_ranks: dict[tuple[int, ...], dist.ProcessGroup | None] = field(default_factory=dict)


# They go with their world: whoever destroys it ends them, and the next world gets its own.
_of_world: WeakKeyDictionary[dist.ProcessGroup, _Groups] = WeakKeyDictionary()


def _groups() -> _Groups:
    world = dist.group.WORLD
    assert world is not None
    if world not in _of_world:
        _of_world[world] = _Groups(None if dist.get_backend() == "gloo" else _beside_the_world())
    return _of_world[world]


def _beside_the_world() -> dist.ProcessGroup:
    group = dist.new_group(backend="gloo")
    assert isinstance(group, dist.ProcessGroup)
    connect(group)
    return group
