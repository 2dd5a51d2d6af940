"""RoI head, and batch statistics of its norms when some ranks have no rows.

A rank without rows runs a fake forward pass: zero rows go through the branch, so that every parameter gets a gradient
(zero). The batch statistics come from the rows of the other ranks only, and all ranks end up with the same running
statistics (Porzi et al., Seamless Scene Segmentation, CVPR 2019).
"""

from __future__ import annotations

import contextlib
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional

from seamseg.modules.abn import InPlaceABNSync
from seamseg.modules.mask_upsampling import can_upsample_rows, recompute_in_chunks, upsample_rows
from seamseg.modules.norm import NormFactory, running_statistics, uses_batch_statistics
from seamseg.ops.collectives import ActiveGroup, Sync, exchange_counts, group_of, is_distributed
from seamseg.ops.inplace_abn import takes_ordinary_operators


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
        norms: Norms, the same on every rank. A rank in the active group of one norm is in those of all earlier norms.
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


REGION_SIZE = 14
"""Side of the sampled features of a region, in bins."""
MASK_SIZE = 28
"""Side of a predicted mask, in mask pixels."""


class RoIHead(nn.Module):
    """Two branches on 14×14 features of regions: fully connected layers for class and box, convolutions for masks.

    Args:
        in_channels: Number of channels of the feature pyramid.
        num_things: Number of thing classes T.
        fc_channels: Number of outputs of each of the two fully connected layers.
        mask_channels: Number of channels of the four convolutions and of the transposed convolution; None leaves out
            the mask branch, ``conv`` and ``roi_msk``.
        norm: Factory of the norm after each of these layers.

    Attributes:
        has_masks: Whether the mask branch exists.
    """

    def __init__(
        self, in_channels: int, num_things: int, fc_channels: int, mask_channels: int | None, norm: NormFactory
    ) -> None:
        super().__init__()
        pooled = in_channels * (REGION_SIZE // 2) ** 2
        self.fc = nn.Sequential(
            OrderedDict(
                fc1=norm.linear(pooled, fc_channels),
                bn1=norm.make(fc_channels),
                fc2=norm.linear(fc_channels, fc_channels),
                bn2=norm.make(fc_channels),
            )
        )
        self.roi_cls = nn.Linear(fc_channels, num_things + 1)
        self.roi_bbx = nn.Linear(fc_channels, num_things * 4)
        self.has_masks = mask_channels is not None
        if mask_channels is not None:
            self.conv = _mask_layers(in_channels, mask_channels, norm)
            self.roi_msk = nn.Conv2d(mask_channels, num_things, 1)
        self.sync = norm.sync
        self._is_planned = self._warned_about_single_region = False

    @contextlib.contextmanager
    def planned_forward(self, num_regions: int, num_masks: int) -> Iterator[None]:
        """Announce the row counts of one :meth:`classify` and one :meth:`masks` call, to be made inside the context.

        The ranks agree on who takes part in a single exchange for both branches at the beginning, and have the same
        running statistics at the end. Outside this context, each branch does so on its own.

        Args:
            num_regions: Number of regions of this rank for :meth:`classify`.
            num_masks: Number of regions of this rank for :meth:`masks`; at most ``num_regions``. Not used without a
                mask branch.
        """
        assert num_masks <= num_regions
        masks = [BranchRows(self.conv, num_masks)] if self.has_masks else []
        with self._planned_forward([BranchRows(self.fc, num_regions), *masks]):
            yield

    def classify(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Run the class and box branch.

        Args:
            regions: R×C×14×14.

        Returns:
            classes: R×(T+1) logits; class 0 is background.
            box_deltas: R×T×4.
        """
        in_training = regions.requires_grad and not takes_ordinary_operators()
        pooled = (_HalfSize.apply(regions) if in_training else functional.avg_pool2d(regions, 2)).flatten(1)
        with self._planned(self.fc, pooled):
            hidden = self.fc(pooled)
        return self.roi_cls(hidden), self.roi_bbx(hidden).unflatten(1, (-1, 4))

    def masks(self, regions: Tensor, rows: Tensor | None = None) -> Tensor:
        """Run the mask branch.

        Args:
            regions: R×C×14×14.
            rows: Indices of the K regions whose masks are returned; None for all. The others only take part in batch
                statistics.

        Returns:
            K×T×28×28 logits.
        """
        *_, conv_up, bn_up = self.conv
        with self._planned(self.conv, regions):
            if uses_batch_statistics(self.conv):
                if can_upsample_rows(conv_up, bn_up):
                    return upsample_rows(conv_up, bn_up, self.roi_msk, self.conv[:-2](regions), rows)
                hidden = self.conv(regions)
                logits: Tensor = self.roi_msk(hidden if rows is None else hidden[rows])
                return logits
            chosen = self.conv[:-2](regions if rows is None else regions[rows])
            return recompute_in_chunks(lambda part: self.roi_msk(bn_up(conv_up(part))), chosen)

    def _planned(self, branch: nn.Module, regions: Tensor) -> AbstractContextManager[None]:
        """Return the context of a forward pass of one branch, which may have been planned outside."""
        if self._is_planned or not uses_batch_statistics(branch):
            return contextlib.nullcontext()
        return self._planned_forward([BranchRows(branch, len(regions))])

    @contextlib.contextmanager
    def _planned_forward(self, parts: Sequence[BranchRows]) -> Iterator[None]:
        with shared_batch_stats(parts, self.sync) as has_single_row:
            if has_single_row:
                self._warn_about_single_region()
            self._is_planned = True
            try:
                yield
            finally:
                self._is_planned = False

    def _warn_about_single_region(self) -> None:
        if not self._warned_about_single_region:
            warnings.warn(
                "the RoI head got a single region and uses its running statistics for this step", stacklevel=2
            )
        self._warned_about_single_region = True


class _HalfSize(torch.autograd.Function):
    """Average pool over 2×2 positions without overlap, which keeps nothing; PyTorch's keeps its input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return functional.interpolate(gradient / 4, scale_factor=2, mode="nearest")


def _mask_layers(in_channels: int, channels: int, norm: NormFactory) -> nn.Sequential:
    layers = OrderedDict[str, nn.Module]()
    for layer in range(1, 5):
        layers[f"conv{layer}"] = norm.conv(in_channels if layer == 1 else channels, channels, 3)
        layers[f"bn{layer}"] = norm.make(channels)
    layers["conv_up"] = norm.conv_transpose(channels, channels, 2, stride=2)
    layers["bn_up"] = norm.make(channels)
    return nn.Sequential(layers)
