"""Batch statistics of the norms in branches that get different numbers of rows on every rank, or none.

A rank without rows runs a fake forward pass: zero rows go through the branch, so that every parameter gets a gradient
(zero). The batch statistics come from the rows of the other ranks only, and all ranks end up with the same running
statistics (Porzi et al., Seamless Scene Segmentation, CVPR 2019).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch import distributed as dist

from seamseg.modules.abn import InPlaceABNSync
from seamseg.modules.norm import running_statistics, uses_batch_statistics
from seamseg.ops.collectives import ActiveGroup, Sync, exchange_counts, group_of, is_distributed


@dataclass(frozen=True, eq=False)
class BranchRows:
    """Branch of a network and the number of rows it will process.

    Attributes:
        module: Module with the norms that see the rows.
        num_rows: Number of rows on this rank.
    """

    module: nn.Module
    num_rows: int


def set_active_group(module: nn.Module, group: ActiveGroup | None) -> None:
    """Set the ranks that run the collectives of the synchronized norms in ``module``; None restores the default."""
    for norm in _sync_norms(module):
        norm.active = group


@contextlib.contextmanager
def shared_batch_stats(parts: Sequence[BranchRows], sync: Sync) -> Iterator[bool]:
    """Share batch statistics between the ranks that have rows, while each branch runs forward once inside the context.

    The ranks exchange the row counts of all branches once, at the beginning. At the end, one broadcast copies the
    running statistics to the ranks that had no rows. A branch with a single row in total, which has no variance, uses
    its running statistics. Backward passes may run later: they use the groups of their forward passes.

    Norms with a ``group`` share the rows of its ranks only, and all of its ranks run the collectives, as with
    ``masked``.

    Args:
        parts: Branches, the same on every rank except for the row counts. A rank that has rows for one branch must have
            rows for all earlier branches.
        sync: Ranks that run the collectives of synchronized norms without a ``group``.

    Yields:
        Whether a branch that would use batch statistics has a single row, counted over all ranks (of the group) if its
        norms are synchronized.

    Raises:
        ValueError: If the norms of a branch belong to different groups.
    """
    using_batch_stats = [part for part in parts if uses_batch_statistics(part.module)]
    shared = [part for part in using_batch_stats if _sync_norms(part.module)] if is_distributed() else []
    counts_of_ranks = exchange_counts([part.num_rows for part in shared]) if shared else []
    counts = dict(zip(shared, zip(*counts_of_ranks, strict=True), strict=True))
    taking_part = {part: [rank for rank, count in enumerate(of_part) if count] for part, of_part in counts.items()}
    assert all(set(inner) <= set(outer) for outer, inner in pairwise(taking_part.values()))
    groups = {part: _common_group(part.module) for part in shared}
    single = [part for part in using_batch_stats if _num_shared_rows(part, counts.get(part), groups.get(part)) == 1]
    with contextlib.ExitStack() as undo:
        for part in single:
            undo.enter_context(running_statistics(part.module))
        for part in shared:
            undo.callback(set_active_group, part.module, None)
            group = groups[part]
            active = group_of(taking_part[part], sync) if group is None else _active_part_of(group, taking_part[part])
            set_active_group(part.module, active)
        yield bool(single)
        _broadcast_running_stats(
            [norm for part in shared for norm in _sync_norms(part.module) if norm.updates_running_stats]
        )


def _broadcast_running_stats(norms: Sequence[InPlaceABNSync]) -> None:
    """Copy running statistics that only some ranks have updated to the others, packed into one tensor.

    Args:
        norms: Norms, the same on every rank. A rank in the active group of a norm is in the groups of all earlier ones.
    """
    shared = [norm for norm in norms if norm.group is None]  # all ranks of a norm's own group update them alike
    moved = [norm for norm in shared if norm.active is not None and 0 < len(norm.active.ranks) < dist.get_world_size()]
    if not moved:
        return
    innermost = moved[-1].active
    assert innermost is not None
    parts = [_bytes(buffer) for norm in moved for buffer in norm.buffers()]
    packed = torch.cat(parts)
    dist.broadcast(packed, src=innermost.ranks[0])
    if not innermost.is_member:
        for part, values in zip(parts, torch.split(packed, [len(part) for part in parts]), strict=True):
            part.copy_(values)


def _bytes(buffer: Tensor) -> Tensor:
    """Return the memory of ``buffer`` as bytes, so that values of any type are copied bit by bit."""
    return buffer.view(-1).view(torch.uint8)


def _common_group(module: nn.Module) -> dist.ProcessGroup | None:
    """Return the process group that all synchronized norms of ``module`` were given; None for all ranks."""
    first, *others = _sync_norms(module)
    for norm in others:
        if norm.group is not first.group:
            raise ValueError(
                f"norms that see the same rows must share one group, but {norm.layer_name or 'a norm'} of "
                f"{type(module).__name__} and {first.layer_name or 'its first norm'} have different ones; set "
                "InPlaceABNSync.group of all of them to the same process group or to None"
            )
    return first.group


def _ranks_of(group: dist.ProcessGroup) -> tuple[int, ...]:
    """Return the global ranks of ``group``, or only this rank if it is not in the group and its norms share nothing."""
    return tuple(sorted(dist.get_process_group_ranks(group))) if dist.get_rank(group) >= 0 else (dist.get_rank(),)


def _num_shared_rows(part: BranchRows, counts_of_ranks: Sequence[int] | None, group: dist.ProcessGroup | None) -> int:
    """Return the number of rows that share batch statistics with those of this rank."""
    if counts_of_ranks is None:
        return part.num_rows
    return sum(counts_of_ranks if group is None else [counts_of_ranks[rank] for rank in _ranks_of(group)])


def _active_part_of(group: dist.ProcessGroup, taking_part: Sequence[int]) -> ActiveGroup:
    """Return all ranks of a norm's own group, or no rank if none of them has rows."""
    ranks = _ranks_of(group)
    has_rows = not set(ranks).isdisjoint(taking_part)
    return ActiveGroup(ranks, is_member=True, process_group=group) if has_rows else ActiveGroup((), is_member=False)


def _sync_norms(module: nn.Module) -> list[InPlaceABNSync]:
    return [child for child in module.modules() if isinstance(child, InPlaceABNSync)]
