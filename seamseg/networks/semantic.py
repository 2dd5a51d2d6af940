"""The semantic network (Rota Bulò et al., In-Place Activated BatchNorm, CVPR 2018)."""

from __future__ import annotations

from torch import Tensor, nn

from seamseg.modules.body import Body
from seamseg.modules.deeplab_head import DeepLabHead


class SemanticNet(nn.Module):
    """A body, the DeepLabV3 head on its last level, and a classification of every position.

    Args:
        body: Body; the published network has a dilated WideResNet-38 A2.
        head: Head on the body's last level.
        num_classes: Number of classes K.

    Shape:
        N×3×H×W to N×K×h×w logits at the stride of the body's last level.
    """

    def __init__(self, body: Body, head: DeepLabHead, num_classes: int) -> None:
        super().__init__()
        self.body, self.head = body, head
        self.cls = nn.Conv2d(head.out_channels, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of every position of the body's last level."""
        logits: Tensor = self.cls(self.head(self.body(images)[-1]))
        return logits
