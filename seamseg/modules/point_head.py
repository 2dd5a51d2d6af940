"""Point head: layers that predict masks at single points (Kirillov et al., PointRend, CVPR 2020, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PointHead(nn.Module):
    """Three hidden layers and an output layer that see one point each, with the same weights at all points.

    Every layer also reads the logit of the coarse mask at the point. The paper gives it the coarse logits of all
    classes, but only the mask of a region's own class is trained, so that logit is all that the coarse mask says about
    the region. The weights then do not depend on the classes, except for the rows of the output layer, and can start a
    network for other classes. As in the paper, the activation is a ReLU, and there are no norms.

    Args:
        in_channels: Number of channels C of the feature pyramid.
        channels: Number of channels of the hidden layers.
        num_things: Number of thing classes T.
    """

    def __init__(self, in_channels: int, channels: int, num_things: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_channels + 1, channels)
        self.fc2 = nn.Linear(channels + 1, channels)
        self.fc3 = nn.Linear(channels + 1, channels)
        self.roi_pnt = nn.Linear(channels + 1, num_things)

    def forward(self, features: Tensor, coarse: Tensor) -> Tensor:
        """Predict the masks of all classes at points.

        Args:
            features: R×P×C features of the finest pyramid level at P points of each region.
            coarse: R×P logits of the coarse mask at these points.

        Returns:
            R×T×P logits.
        """
        hidden = features
        for layer in (self.fc1, self.fc2, self.fc3):
            hidden = functional.relu(layer(_beside(hidden, coarse)))
        logits: Tensor = self.roi_pnt(_beside(hidden, coarse))
        return logits.movedim(-1, 1)


def _beside(features: Tensor, coarse: Tensor) -> Tensor:
    return torch.cat([features, coarse.unsqueeze(-1).to(features.dtype)], dim=-1)
