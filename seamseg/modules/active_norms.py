"""Synchronised norms of parts of the network that some ranks have no rows for.

Such a rank makes a fake forward: zero rows go through the part, so that a gradient (zero) reaches every parameter. The
statistics are those of the other ranks' rows alone, and every rank ends up with the same running ones (Porzi et al.,
Seamless Scene Segmentation, CVPR 2019).
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
from seamseg.ops.active_group import ActiveGroup, Sync, exchange_counts, group_of
from seamseg.ops.collectives import is_distributed


@dataclass(frozen=True, eq=False)
class Part:
    """Something that rows go through.

    Attributes:
        module: whose norms see the rows.
        num_rows: of this rank.
    """

    module: nn.Module
    num_rows: int


def set_active_group(module: nn.Module, group: ActiveGroup | None) -> None:
    """Tells the synchronised norms of ``module`` which ranks run their collectives from now on; None: as before."""
    for norm in _synchronised(module):
        norm.active = group


@contextlib.contextmanager
def agreed_statistics(parts: Sequence[Part], sync: Sync) -> Iterator[bool]:
    """Within it the parts run forward, once each; their norms know who takes part.

    One exchange for all parts at the beginning. At the end, ranks that had no rows take over the running statistics of
    those that had, in one broadcast. A part that gets a single row, which has no variance, uses its running statistics.
    Backward passes may come later: they keep to the groups of their forward passes.

    Norms with a ``group`` use the rows of its ranks only, and as in ``masked`` all of its ranks run the collectives.

    Args:
        parts: the same on every rank, but for the rows; who has rows for one has some for those before.
        sync: who runs the collectives of the synchronised norms without a ``group``.

    Yields:
        Whether a part that would use the statistics of its rows gets a single one, of all ranks (of the group) if its
        norms are synchronised.

    Raises:
        ValueError: the norms of a part belong to different groups.
    """
    learning = [part for part in parts if uses_batch_statistics(part.module)]
    shared = [part for part in learning if _synchronised(part.module)] if is_distributed() else []
    of_ranks = exchange_counts([part.num_rows for part in shared]) if shared else []
    counts = dict(zip(shared, zip(*of_ranks, strict=True), strict=True))
    taking_part = {part: [rank for rank, count in enumerate(of_part) if count] for part, of_part in counts.items()}
    assert all(set(inner) <= set(outer) for outer, inner in pairwise(taking_part.values()))
    groups = {part: _own_group(part.module) for part in shared}
    single = [part for part in learning if _num_rows(part, counts.get(part), groups.get(part)) == 1]
    with contextlib.ExitStack() as undo:
        for part in single:
            undo.enter_context(running_statistics(part.module))
        for part in shared:
            undo.callback(set_active_group, part.module, None)
            group = groups[part]
            active = group_of(taking_part[part], sync) if group is None else _within(group, taking_part[part])
            set_active_group(part.module, active)
        yield bool(single)
        _hand_over([norm for part in shared for norm in _synchronised(part.module) if norm.learns_statistics])


def _hand_over(norms: Sequence[InPlaceABNSync]) -> None:
    """The running statistics that only some ranks have moved go to the others, packed into one tensor.

    Args:
        norms: the same on every rank; who is in the group of one is in the groups of those before.
    """
    shared = [norm for norm in norms if norm.group is None]  # all ranks of a group move theirs alike
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
    """Its memory, whatever its type: what is handed over stays equal bit by bit."""
    return buffer.view(-1).view(torch.uint8)


def _own_group(module: nn.Module) -> dist.ProcessGroup | None:
    """The one that the synchronised norms were given; None for all ranks."""
    first, *others = _synchronised(module)
    for norm in others:
        if norm.group is not first.group:
            raise ValueError(
                f"norms that see the same rows must share one group; {norm.layer_name or 'one'} of "
                f"{type(module).__name__} has another than {first.layer_name or 'the first'}: set InPlaceABNSync.group "
                "of all of them to the same process group, or to None"
            )
    return first.group


def _ranks(group: dist.ProcessGroup) -> tuple[int, ...]:
    """Of the world; this one alone if it is not in the group, whose norms then keep to themselves."""
    return tuple(sorted(dist.get_process_group_ranks(group))) if dist.get_rank(group) >= 0 else (dist.get_rank(),)


def _num_rows(part: Part, of_ranks: Sequence[int] | None, group: dist.ProcessGroup | None) -> int:
    """That share their statistics with this rank's."""
    if of_ranks is None:
        return part.num_rows
    return sum(of_ranks if group is None else [of_ranks[rank] for rank in _ranks(group)])


def _within(group: dist.ProcessGroup, taking_part: Sequence[int]) -> ActiveGroup:
    """All ranks of a norm's own group, if any of them takes part."""
    ranks = _ranks(group)
    has_rows = not set(ranks).isdisjoint(taking_part)
    return ActiveGroup(ranks, is_member=True, process_group=group) if has_rows else ActiveGroup((), is_member=False)


def _synchronised(module: nn.Module) -> list[InPlaceABNSync]:
    return [child for child in module.modules() if isinstance(child, InPlaceABNSync)]
