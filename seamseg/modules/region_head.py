"""Head of the regions: class, box and mask (He et al., Mask R-CNN, section 3)."""

from __future__ import annotations

import warnings
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from seamseg.modules.abn import InPlaceABNSync
from seamseg.modules.norm import Norm, running_statistics, uses_batch_statistics
from seamseg.ops.collectives import total_over_ranks

REGION_SIZE = 14
"""Side of the sampled features of a region."""
MASK_SIZE = 28
"""Side of a predicted mask."""


class RegionHead(nn.Module):
    """Two branches on 14×14 features of regions: class and box by fully connected layers, mask by convolutions.

    Args:
        in_channels: of the pyramid.
        num_things: T.
        fc_channels: of the two fully connected layers.
        mask_channels: of the four convolutions and the transposed one.
        norm: what follows each of them.
    """

    def __init__(self, in_channels: int, num_things: int, fc_channels: int, mask_channels: int, norm: Norm) -> None:
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
        self._said_single_region = False

    def classify(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """The class and box branch.

        Args:
            regions: R×C×14×14.

        Returns:
            classes: R×(T+1) logits, 0 is background.
            shifts: R×T×4.
        """
        pooled = functional.avg_pool2d(regions, 2).flatten(1)
        hidden = self._with_enough_samples(self.fc, pooled)
        return self.roi_cls(hidden), self.roi_bbx(hidden).unflatten(1, (-1, 4))

    def masks(self, regions: Tensor) -> Tensor:
        """The mask branch: R×C×14×14 to R×T×28×28 logits."""
        logits: Tensor = self.roi_msk(self._with_enough_samples(self.conv, regions))
        return logits

    @staticmethod
    def _num_samples(branch: nn.Module, count: int, device: torch.device) -> int:
        """Regions that the norms of a branch see: this rank's, or all ranks' if they are synchronised."""
        synchronised = any(isinstance(module, InPlaceABNSync) for module in branch.modules())
        return total_over_ranks(count, device) if synchronised else count

    def _with_enough_samples(self, branch: nn.Module, regions: Tensor) -> Tensor:
        """A single region has no variance over the batch: that step uses the running statistics."""
        hidden: Tensor
        if uses_batch_statistics(branch) and self._num_samples(branch, len(regions), regions.device) == 1:
            self._warn_about_single_region()
            with running_statistics(branch):
                hidden = branch(regions)
        else:
            hidden = branch(regions)
        return hidden

    def _warn_about_single_region(self) -> None:
        if not self._said_single_region:
            warnings.warn(
                "the region head got a single region and uses its running statistics for this step", stacklevel=2
            )
        self._said_single_region = True
