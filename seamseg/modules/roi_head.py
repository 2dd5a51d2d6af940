"""RoI head: the branches of a region network for classes, boxes, masks, points of masks, and the quality of masks.

References: He et al., Mask R-CNN, ICCV 2017; Huang et al., Mask Scoring R-CNN, CVPR 2019; Kirillov et al., PointRend,
CVPR 2020; Cai and Vasconcelos, Cascade R-CNN, TPAMI 2019.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from seamseg.modules.compilation import Compilable, compilable
from seamseg.modules.mask_upsampling import can_upsample_rows, recompute_in_chunks, upsample_rows
from seamseg.modules.norm import NormFactory, uses_batch_statistics
from seamseg.modules.point_head import PointHead
from seamseg.modules.shared_batch_stats import BranchRows, shared_batch_stats
from seamseg.ops.half_size import with_half_size

REGION_SIZE = 14
"""Side of the sampled features of a region, in bins."""
POOLED_SIZE = REGION_SIZE // 2
"""Side of the features of the class and box branch, in bins."""
MASK_SIZE = 28
"""Side of a predicted mask, in mask pixels."""
LATER_STAGES = ("2", "3")
"""Names of the stages of a cascade after the first, in :class:`RoIHead` and in the names of their losses."""


class RoIHead(Compilable):
    """Branches on 14×14 features of regions: for class and box, for masks, and for their scores; and a head for points.

    Args:
        in_channels: Number of channels of the feature pyramid.
        num_things: Number of thing classes T.
        fc_channels: Number of outputs of each fully connected layer.
        mask_channels: Number of channels of the four convolutions and of the transposed convolution; None leaves out
            the mask branch, ``conv`` and ``roi_msk``.
        norm: Factory of the norm after each of these layers.
        box_channels: Number of channels of four convolutions in front of one fully connected layer, which are the
            class and box branch ``box`` (Wu and He, Group Normalization, ECCV 2018, section 4.2). None for the branch
            ``fc`` of two fully connected layers.
        mask_scoring: Whether to predict the IoU of each mask with the object (Huang et al., section 3.3), with the
            branch ``iou`` of four convolutions and two fully connected layers, and ``roi_iou``. Requires the mask
            branch.
        point_head: Whether to predict masks at points, too (Kirillov et al., section 3.3), with ``point``, whose hidden
            layers have ``mask_channels``. Requires the mask branch.
        class_agnostic: Whether the box_deltas are the same for all classes; ``roi_bbx_any`` predicts them instead of
            ``roi_bbx``.
        num_later_stages: Number of further stages of a cascade, each with its own branch for class and box, 0 … 2.
            They are ``stages``, heads without masks. Requires ``class_agnostic``.

    Attributes:
        has_box_convs: Whether the class and box branch is ``box`` instead of ``fc``.
        has_masks: Whether the mask branch exists.
        has_mask_scores: Whether the branch that scores masks exists.
        has_points: Whether the head for points of masks exists.
        is_class_agnostic: Whether the box_deltas are the same for all classes.
    """

    def __init__(
        self,
        in_channels: int,
        num_things: int,
        fc_channels: int,
        mask_channels: int | None,
        norm: NormFactory,
        box_channels: int | None = None,
        *,
        mask_scoring: bool = False,
        point_head: bool = False,
        class_agnostic: bool = False,
        num_later_stages: int = 0,
    ) -> None:
        super().__init__()
        self.has_box_convs = box_channels is not None
        if box_channels is None:
            self.fc = _fc_layers(in_channels, fc_channels, norm)
        else:
            self.box = _box_layers(in_channels, box_channels, fc_channels, norm)
        self.roi_cls = nn.Linear(fc_channels, num_things + 1)
        self.num_things, self.is_class_agnostic = num_things, class_agnostic
        if class_agnostic:
            self.roi_bbx_any = nn.Linear(fc_channels, 4)
        else:
            self.roi_bbx = nn.Linear(fc_channels, num_things * 4)
        self.has_masks = mask_channels is not None
        if mask_channels is not None:
            self.conv = _mask_layers(in_channels, mask_channels, norm)
            self.roi_msk = nn.Conv2d(mask_channels, num_things, 1)
        self.has_mask_scores = mask_scoring
        if mask_scoring:
            assert mask_channels is not None, "only predicted masks can be scored"
            self.iou = _iou_layers(in_channels, mask_channels, fc_channels, norm)
            self.roi_iou = nn.Linear(fc_channels, num_things)
        self.has_points = point_head
        if point_head:
            assert mask_channels is not None, "only predicted masks can be refined"
            self.point = PointHead(in_channels, mask_channels, num_things)
        assert class_agnostic or num_later_stages == 0, "the next stage needs one box per region"
        self.stages = nn.ModuleDict(
            {
                stage: RoIHead(in_channels, num_things, fc_channels, None, norm, box_channels, class_agnostic=True)
                for stage in LATER_STAGES[:num_later_stages]
            }
        )
        self.sync = norm.sync
        self._is_planned = self._warned_about_single_region = False

    @property
    def box_branch(self) -> nn.Sequential:
        """Hidden layers of the class and box branch."""
        return self.box if self.has_box_convs else self.fc

    @property
    def later_stages(self) -> list[RoIHead]:
        """Heads of the further stages of a cascade."""
        return [cast(RoIHead, stage) for stage in self.stages.values()]

    @contextlib.contextmanager
    def planned_forward(self, num_regions: int, num_masks: int, num_scores: int) -> Iterator[None]:
        """Announce the row counts of one call of each branch, to be made inside the context.

        The ranks agree on who takes part in a single exchange for all branches at the beginning, and have the same
        running statistics at the end. Outside this context, each branch does so on its own.

        Args:
            num_regions: Number of regions of this rank for :meth:`classify`.
            num_masks: Number of regions of this rank for :meth:`masks`; at most ``num_regions``. Not used without a
                mask branch.
            num_scores: Number of regions of this rank for :meth:`mask_scores`; at most ``num_masks``. Not used without
                a branch that scores masks.
        """
        assert num_scores <= num_masks <= num_regions
        masks = [BranchRows(self.conv, num_masks)] if self.has_masks else []
        scores = [BranchRows(self.iou, num_scores)] if self.has_mask_scores else []
        with self._planned_forward([BranchRows(self.box_branch, num_regions), *masks, *scores]):
            yield

    def classify(self, regions: Tensor, is_halved: bool = False) -> tuple[Tensor, Tensor]:
        """Run the class and box branch, which only reads means over 2×2 bins.

        Args:
            regions: R×C×14×14, or R×C×7×7 means.
            is_halved: Whether the regions are such means; see :func:`seamseg.ops.half_size.with_half_size`.

        Returns:
            classes: R×(T+1) logits; class 0 is background.
            box_deltas: R×T×4; views of R×4 values if they are the same for all classes.
        """
        pooled = regions if is_halved else with_half_size(regions)[1]
        with self._planned(self.box_branch, pooled):
            hidden = self._run(self.box_branch, pooled if self.has_box_convs else pooled.flatten(1))
        if self.is_class_agnostic:
            return self.roi_cls(hidden), self.roi_bbx_any(hidden).unsqueeze(1).expand(-1, self.num_things, 4)
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
                    return upsample_rows(conv_up, bn_up, self.roi_msk, self._run(self.conv[:-2], regions), rows)
                hidden = self._run(self.conv, regions)
                logits: Tensor = self.roi_msk(hidden if rows is None else hidden[rows])
                return logits
            chosen = self._run(self.conv[:-2], regions if rows is None else regions[rows])
            return recompute_in_chunks(lambda part: self.roi_msk(bn_up(conv_up(part))), chosen)

    def mask_scores(self, regions: Tensor, masks: Tensor) -> Tensor:
        """Predict the IoU of masks with the objects that they show.

        Args:
            regions: R×C×14×14.
            masks: R×28×28 logits, one mask for each region.

        Returns:
            R×T, the IoU if the region shows an object of each thing class. Not limited to 0 … 1.
        """
        # Pooled like in the paper: a bin is inside if one of its four mask pixels is.
        pooled = functional.max_pool2d(masks.sigmoid().unsqueeze(1), MASK_SIZE // REGION_SIZE)
        inputs = torch.cat([regions, pooled.to(regions.dtype)], dim=1)
        with self._planned(self.iou, inputs):
            scores: Tensor = self.roi_iou(self._run(self.iou, inputs))
        return scores

    def point_logits(self, features: Tensor, coarse: Tensor) -> Tensor:
        """Predict masks at points; see :meth:`seamseg.modules.point_head.PointHead.forward`."""
        logits: Tensor = self.point(features, coarse)
        return logits

    def _run(self, layers: nn.Sequential, rows: Tensor) -> Tensor:
        # The compiler would compile the layers again for no row, and for a single one.
        if not self.is_compiled or len(rows) <= 1:
            return cast(Tensor, layers(rows))
        return self._run_rows(layers, rows)

    @compilable
    def _run_rows(self, layers: nn.Sequential, rows: Tensor) -> Tensor:
        return cast(Tensor, layers(rows))

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


def _fc_layers(in_channels: int, channels: int, norm: NormFactory) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            fc1=norm.linear(in_channels * POOLED_SIZE**2, channels),
            bn1=norm.make(channels),
            fc2=norm.linear(channels, channels),
            bn2=norm.make(channels),
        )
    )


def _iou_layers(in_channels: int, channels: int, fc_channels: int, norm: NormFactory) -> nn.Sequential:
    layers = _four_convs(in_channels + 1, channels, norm, last_stride=2)
    layers["flatten"] = nn.Flatten()
    for name, num_inputs in (("fc1", channels * POOLED_SIZE**2), ("fc2", fc_channels)):
        layers[name] = norm.linear(num_inputs, fc_channels)
        layers[f"bn_{name}"] = norm.make(fc_channels)
    return nn.Sequential(layers)


def _box_layers(in_channels: int, channels: int, fc_channels: int, norm: NormFactory) -> nn.Sequential:
    layers = _four_convs(in_channels, channels, norm)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = norm.linear(channels * POOLED_SIZE**2, fc_channels)
    layers["bn_fc"] = norm.make(fc_channels)
    return nn.Sequential(layers)


def _four_convs(
    in_channels: int, channels: int, norm: NormFactory, last_stride: int = 1
) -> OrderedDict[str, nn.Module]:
    layers = OrderedDict[str, nn.Module]()
    for layer in range(1, 5):
        stride = last_stride if layer == 4 else 1
        layers[f"conv{layer}"] = norm.conv(in_channels if layer == 1 else channels, channels, 3, stride)
        layers[f"bn{layer}"] = norm.make(channels)
    return layers


def _mask_layers(in_channels: int, channels: int, norm: NormFactory) -> nn.Sequential:
    layers = _four_convs(in_channels, channels, norm)
    layers["conv_up"] = norm.conv_transpose(channels, channels, 2, stride=2)
    layers["bn_up"] = norm.make(channels)
    return nn.Sequential(layers)
