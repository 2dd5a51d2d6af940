"""Collectives, and the group of ranks that currently take part in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch import distributed as dist
from torch.autograd.function import once_differentiable

CONNECT_SECONDS = 120
"""Maximum time to connect the ranks of a new gloo group, in seconds."""
Value = TypeVar("Value")


@dataclass(frozen=True)
class Moments:
    """Mean and biased variance per channel over ``count`` samples.

    Attributes:
        mean: C, float32 or float64.
        var: C, same type as ``mean``.
        count: Number of samples per channel; zero-dimensional, same type as ``mean``.
    """

    mean: Tensor
    var: Tensor
    count: Tensor


def is_started() -> bool:
    """Return whether this process belongs to an initialized process group of any size."""
    return dist.is_available() and dist.is_initialized()


def is_distributed() -> bool:
    """Return whether this process belongs to an initialized process group with more than one rank."""
    return is_started() and dist.get_world_size() > 1


def connect(group: dist.ProcessGroup | None = None) -> None:
    """Open the connections of a new gloo group, which its first collective would open otherwise.

    If a rank ends during startup, that collective would let the others wait until its timeout of half an hour. Groups
    of other backends are not changed.

    Args:
        group: Group whose ranks all call this function; None means all ranks.

    Raises:
        ConnectionError: If the ranks cannot connect within :data:`CONNECT_SECONDS`.
    """
    if dist.get_backend(group) != "gloo":
        return
    try:
        dist.barrier(group, async_op=True).wait(timedelta(seconds=CONNECT_SECONDS))
    except RuntimeError as error:
        raise ConnectionError(
            f"rank {dist.get_rank()} cannot connect to the others within {CONNECT_SECONDS} seconds ({error}); restart "
            "all ranks, which torchrun does automatically with --max-restarts"
        ) from error


def reduce_moments(local: Moments, group: dist.ProcessGroup | None) -> Moments:
    """Combine the moments of all ranks' samples in one collective; exact for different counts, including zero.

    Args:
        local: Moments of this rank.
        group: Ranks that take part; None means all ranks.
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
    # Variance within the ranks plus variance between their means (Chan et al.); no large numbers are subtracted.
    var = ((variances + (means - mean).square()) * weights).sum(dim=0)
    return Moments(mean, var, count)


def reduce_differentiable_moments(local: Moments, group: dist.ProcessGroup | None) -> Moments:
    """Run :func:`reduce_moments` as a part of the graph; its backward pass sums the gradients of all ranks.

    Args:
        local: Moments of this rank.
        group: Ranks that take part, in the backward pass as well; None means all ranks.
    """
    return Moments(*_ReducedMoments.apply(local.mean, local.var, local.count, group))


class _ReducedMoments(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, mean: Tensor, var: Tensor, count: Tensor, group: dist.ProcessGroup | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        total = reduce_moments(Moments(mean, var, count), group)
        ctx.group = group
        ctx.save_for_backward(mean - total.mean, count / total.count.clamp(min=1))
        ctx.mark_non_differentiable(total.count)
        return total.mean, total.var, total.count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dmean: Tensor, dvar: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:
        offset, share = ctx.saved_tensors
        dmean, dvar = sum_over_ranks(torch.stack([dmean, dvar]), ctx.group)
        return share * (dmean + 2 * offset * dvar), share * dvar, None, None


def sum_over_ranks(value: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """Return the sum of one tensor over the ranks as a new tensor."""
    total = value.clone()
    dist.all_reduce(total, group=group)
    return total


def sum_and_size_over_ranks(value: Tensor) -> tuple[Tensor, int]:
    """Return the sum of one tensor over all ranks, and the number of ranks."""
    if not is_distributed():
        return value, 1
    return sum_over_ranks(value, None), dist.get_world_size()


def gather_objects(value: Value) -> list[Value]:
    """Gather one picklable value per rank on every rank, in rank order."""
    if not is_distributed():
        return [value]
    gathered = [value] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def mean_over_ranks(values: dict[str, Tensor]) -> dict[str, float]:
    """Average zero-dimensional values over the ranks in one collective."""
    stacked = torch.stack([value.float() for value in values.values()])
    if is_distributed():
        dist.all_reduce(stacked)
        stacked /= dist.get_world_size()
    return dict(zip(values, stacked.tolist(), strict=True))


def largest_over_ranks(values: list[int], device: torch.device) -> list[int]:
    """Return the largest value of each number over all ranks, found in one collective."""
    if not is_distributed():
        return values
    largest = torch.tensor(values, device=device)
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    found: list[int] = largest.tolist()
    return found


Sync = Literal["active", "masked"]
"""Ranks that run the collectives: ``active`` for those that take part, ``masked`` for all, some contributing nothing.
"""
MAX_GROUPS = 16
"""Maximum number of process groups kept for subsets of the ranks. With nccl, each group occupies GPU memory."""


@dataclass(frozen=True)
class ActiveGroup:
    """Ranks that run the collectives of a part of the network.

    Attributes:
        ranks: Global ranks, ascending.
        is_member: Whether this rank is one of them.
        process_group: Their process group; None for all ranks, and for fewer than two ranks, which exchange nothing.
    """

    ranks: tuple[int, ...]
    is_member: bool
    process_group: dist.ProcessGroup | None = None


def active_group(active: bool, sync: Sync = "active", max_groups: int | None = None) -> ActiveGroup:
    """Return the group of the active ranks, found in one small exchange.

    Args:
        active: Whether this rank takes part.
        sync: Ranks that run the collectives; see :func:`group_of`.
        max_groups: Maximum number of process groups that are kept; see :func:`group_of`.
    """
    flags = exchange_counts([int(active)])
    return group_of([rank for rank, (flag,) in enumerate(flags) if flag], sync, max_groups)


def exchange_counts(counts: Sequence[int]) -> list[list[int]]:
    """Gather the numbers of every rank, in rank order, in one int64 collective on the CPU.

    Args:
        counts: Numbers of this rank; every rank passes equally many.
    """
    if not is_distributed():
        return [list(counts)]
    local = torch.tensor(counts, dtype=torch.int64, device="cpu")
    of_ranks = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(of_ranks, local, group=_groups_of_world().bookkeeping)
    return [one.tolist() for one in of_ranks]


def group_of(active: Sequence[int], sync: Sync = "active", max_groups: int | None = None) -> ActiveGroup:
    """Return the group of ranks that run the collectives if the given ranks take part.

    A process group is created the first time that a set of ranks takes part, and kept.

    Args:
        active: Ranks that take part, the same on every rank.
        sync: ``active`` for a group of these ranks only; ``masked`` for all ranks, if any rank takes part.
        max_groups: Maximum number of process groups that are kept, the same on every rank. Further sets of ranks are
            handled as with ``masked``. None for :data:`MAX_GROUPS`.
    """
    ranks = tuple(sorted(active))
    world = tuple(range(dist.get_world_size())) if is_distributed() else (0,)
    rank = dist.get_rank() if is_distributed() else 0
    if sync == "masked" and ranks:
        ranks = world
    if len(ranks) < 2 or ranks == world:
        return ActiveGroup(ranks, rank in ranks)
    made = _groups_of_world().of_ranks
    if ranks not in made:
        if len(made) >= (MAX_GROUPS if max_groups is None else max_groups):
            return ActiveGroup(world, is_member=True)
        group = dist.new_group(list(ranks))
        made[ranks] = group if isinstance(group, dist.ProcessGroup) else None
        if made[ranks] is not None:
            connect(made[ranks])
    return ActiveGroup(ranks, rank in ranks, made[ranks])


def num_groups() -> int:
    """Return the number of process groups of rank subsets that currently exist."""
    return len(_groups_of_world().of_ranks) if is_distributed() else 0


@dataclass(frozen=True)
class _Groups:
    """Process groups of one world. For subsets without this rank, only their existence is recorded.

    Attributes:
        bookkeeping: Gloo group of all ranks; None if the world itself uses gloo.
        of_ranks: Process group of each set of ranks.
    """

    bookkeeping: dist.ProcessGroup | None
    of_ranks: dict[tuple[int, ...], dist.ProcessGroup | None] = field(default_factory=dict)


# Groups live as long as their world: destroying the world ends them, and the next world creates its own.
_groups_by_world: WeakKeyDictionary[dist.ProcessGroup, _Groups] = WeakKeyDictionary()


def _groups_of_world() -> _Groups:
    world = dist.group.WORLD
    assert world is not None
    if world not in _groups_by_world:
        _groups_by_world[world] = _Groups(None if dist.get_backend() == "gloo" else _new_gloo_group())
    return _groups_by_world[world]


def _new_gloo_group() -> dist.ProcessGroup:
    group = dist.new_group(backend="gloo")
    assert isinstance(group, dist.ProcessGroup)
    connect(group)
    return group
