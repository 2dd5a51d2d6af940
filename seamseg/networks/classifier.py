"""The network that a body is trained in on ImageNet."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from seamseg.modules.body import Body


class Classifier(nn.Module):
    """A body, the mean of its last level, and a linear layer.

    Published files have the same state-dict names, without the ``body.`` in front of the body's.

    Args:
        body: Body whose last level is classified.
        num_classes: Number of classes K.

    Shape:
        N×3×H×W to N×K logits.
    """

    def __init__(self, body: Body, num_classes: int) -> None:
        super().__init__()
        self.body = body
        self.classifier = nn.Sequential(OrderedDict(fc=nn.Linear(body.channels[-1], num_classes)))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of every image."""
        logits: Tensor = self.classifier(self.body(images)[-1].mean(dim=(2, 3)))
        return logits
