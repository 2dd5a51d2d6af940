"""The RoI head, and statistics of its norms where some ranks have no rows.

Such a rank makes a fake forward: zero rows go through the part, so that a gradient (zero) reaches every parameter. The
statistics are those of the other ranks' rows alone, and every rank ends up with the same running ones (Porzi et al.,
Seamless Scene Segmentation, CVPR 2019).
"""

from __future__ import annotations

import contextlib
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional

from seamseg.modules.abn import InPlaceABNSync
from seamseg.modules.norm import NormFactory, running_statistics, uses_batch_statistics
from seamseg.ops.collectives import ActiveGroup, Sync, exchange_counts, group_of, is_distributed


@dataclass(frozen=True, eq=False)
class BranchRows:
    """Something that rows go through.

    Attributes:
        module: whose norms see the rows.
        num_rows: of this rank.
    """

    module: nn.Module
    num_rows: int


def set_active_group(module: nn.Module, group: ActiveGroup | None) -> None:
    """Tells the synchronized norms of ``module`` which ranks run their collectives from now on; None: as before."""
    for norm in _synchronized(module):
        norm.active = group


@contextlib.contextmanager
def shared_batch_stats(parts: Sequence[BranchRows], sync: Sync) -> Iterator[bool]:
    """Within it the parts run forward, once each; their norms know who takes part.

    One exchange for all parts at the beginning. At the end, ranks that had no rows take over the running statistics of
    those that had, in one broadcast. A part that gets a single row, which has no variance, uses its running statistics.
    Backward passes may come later: they keep to the groups of their forward passes.

    Norms with a ``group`` use the rows of its ranks only, and as in ``masked`` all of its ranks run the collectives.

    Args:
        parts: the same on every rank, but for the rows; who has rows for one has some for those before.
        sync: who runs the collectives of the synchronized norms without a ``group``.

    Yields:
        Whether a part that would use the statistics of its rows gets a single one, of all ranks (of the group) if its
        norms are synchronized.

    Raises:
        ValueError: the norms of a part belong to different groups.
    """
    learning = [part for part in parts if uses_batch_statistics(part.module)]
    shared = [part for part in learning if _synchronized(part.module)] if is_distributed() else []
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
        _hand_over([norm for part in shared for norm in _synchronized(part.module) if norm.updates_running_stats])


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
    """The one that the synchronized norms were given; None for all ranks."""
    first, *others = _synchronized(module)
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


def _num_rows(part: BranchRows, of_ranks: Sequence[int] | None, group: dist.ProcessGroup | None) -> int:
    """That share their statistics with this rank's."""
    if of_ranks is None:
        return part.num_rows
    return sum(of_ranks if group is None else [of_ranks[rank] for rank in _ranks(group)])


def _within(group: dist.ProcessGroup, taking_part: Sequence[int]) -> ActiveGroup:
    """All ranks of a norm's own group, if any of them takes part."""
    ranks = _ranks(group)
    has_rows = not set(ranks).isdisjoint(taking_part)
    return ActiveGroup(ranks, is_member=True, process_group=group) if has_rows else ActiveGroup((), is_member=False)


def _synchronized(module: nn.Module) -> list[InPlaceABNSync]:
    return [child for child in module.modules() if isinstance(child, InPlaceABNSync)]


REGION_SIZE = 14
"""Side of the sampled features of a region."""
MASK_SIZE = 28
"""Side of a predicted mask."""


class RoIHead(nn.Module):
    """Two branches on 14×14 features of regions: class and box by fully connected layers, mask by convolutions.

    Args:
        in_channels: of the pyramid.
        num_things: T.
        fc_channels: of the two fully connected layers.
        mask_channels: of the four convolutions and the transposed one.
        norm: what follows each of them.
    """

    def __init__(
        self, in_channels: int, num_things: int, fc_channels: int, mask_channels: int, norm: NormFactory
    ) -> None:
        super().__init__()
        pooled = in_channels * (REGION_SIZE // 2) ** 2
        self.fc = nn.Sequential(
            OrderedDict(
                fc1=nn.Linear(pooled, fc_channels, bias=False),
                bn1=norm.make(fc_channels),
                fc2=nn.Linear(fc_channels, fc_channels, bias=False),
                bn2=norm.make(fc_channels),
            )
        )
        self.roi_cls = nn.Linear(fc_channels, num_things + 1)
        self.roi_bbx = nn.Linear(fc_channels, num_things * 4)
        layers = OrderedDict[str, nn.Module]()
        for layer in range(1, 5):
            incoming = in_channels if layer == 1 else mask_channels
            layers[f"conv{layer}"] = nn.Conv2d(incoming, mask_channels, 3, padding=1, bias=False)
            layers[f"bn{layer}"] = norm.make(mask_channels)
        layers["conv_up"] = nn.ConvTranspose2d(mask_channels, mask_channels, 2, stride=2, bias=False)
        layers["bn_up"] = norm.make(mask_channels)
        self.conv = nn.Sequential(layers)
        self.roi_msk = nn.Conv2d(mask_channels, num_things, 1)
        self.sync = norm.sync
        self._is_planned = self._said_single_region = False

    @contextlib.contextmanager
    def planned_forward(self, num_regions: int, num_masks: int) -> Iterator[None]:
        """Within it :meth:`classify` and :meth:`masks` run once each, on so many regions.

        The ranks agree at the beginning on who takes part, in one exchange for both branches, and hold the same running
        statistics at the end. Without it each branch does so by itself.

        Args:
            num_regions: of this rank, for :meth:`classify`.
            num_masks: of this rank, for :meth:`masks`, not more.
        """
        assert num_masks <= num_regions
        with self._planned_forward([BranchRows(self.fc, num_regions), BranchRows(self.conv, num_masks)]):
            yield

    def classify(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """The class and box branch.

        Args:
            regions: R×C×14×14.

        Returns:
            classes: R×(T+1) logits, 0 is background.
            box_deltas: R×T×4.
        """
        pooled = functional.avg_pool2d(regions, 2).flatten(1)
        hidden = self._run(self.fc, pooled)
        return self.roi_cls(hidden), self.roi_bbx(hidden).unflatten(1, (-1, 4))

    def masks(self, regions: Tensor) -> Tensor:
        """The mask branch: R×C×14×14 to R×T×28×28 logits."""
        logits: Tensor = self.roi_msk(self._run(self.conv, regions))
        return logits

    def _run(self, branch: nn.Module, regions: Tensor) -> Tensor:
        hidden: Tensor
        if self._is_planned or not uses_batch_statistics(branch):
            hidden = branch(regions)
        else:
            with self._planned_forward([BranchRows(branch, len(regions))]):
                hidden = branch(regions)
        return hidden

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
        if not self._said_single_region:
            warnings.warn(
                "the region head got a single region and uses its running statistics for this step", stacklevel=2
            )
        self._said_single_region = True
