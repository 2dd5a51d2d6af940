"""Which ranks take part in something, and the process group they do it in.

A rank without proposals or objects sends nothing through a part of the network; the collectives of that part can then
be left to the others (the active group). What the ranks tell each other to find out goes over gloo, from CPU to CPU: no
GPU waits for it, and it works beside any backend.

All functions here are collective: every rank of the world calls them, in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import distributed as dist

from seamseg.ops.collectives import connect, is_distributed

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
