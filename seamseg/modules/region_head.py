"""Head of the regions: class, box and mask (He et al., Mask R-CNN, section 3)."""

from __future__ import annotations

import contextlib
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from torch import Tensor, nn
from torch.nn import functional

from seamseg.modules.active_norms import Part, agreed_statistics
from seamseg.modules.norm import Norm, uses_batch_statistics

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
        self.sync = norm.sync
        self._is_expecting = self._said_single_region = False

    @contextlib.contextmanager
    def expecting(self, num_regions: int, num_masks: int) -> Iterator[None]:
        """Within it :meth:`classify` and :meth:`masks` run once each, on so many regions.

        The ranks agree at the beginning on who takes part, in one exchange for both branches, and hold the same running
        statistics at the end. Without it each branch does so by itself.

        Args:
            num_regions: of this rank, for :meth:`classify`.
            num_masks: of this rank, for :meth:`masks`, not more.
        """
        assert num_masks <= num_regions
        with self._expecting([Part(self.fc, num_regions), Part(self.conv, num_masks)]):
            yield

    def classify(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """The class and box branch.

        Args:
            regions: R×C×14×14.

        Returns:
            classes: R×(T+1) logits, 0 is background.
            shifts: R×T×4.
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
        if self._is_expecting or not uses_batch_statistics(branch):
            hidden = branch(regions)
        else:
            with self._expecting([Part(branch, len(regions))]):
                hidden = branch(regions)
        return hidden

    @contextlib.contextmanager
    def _expecting(self, parts: Sequence[Part]) -> Iterator[None]:
        with agreed_statistics(parts, self.sync) as has_single_row:
            if has_single_row:
                self._warn_about_single_region()
            self._is_expecting = True
            try:
                yield
            finally:
                self._is_expecting = False

    def _warn_about_single_region(self) -> None:
        if not self._said_single_region:
            warnings.warn(
                "the region head got a single region and uses its running statistics for this step", stacklevel=2
            )
        self._said_single_region = True
