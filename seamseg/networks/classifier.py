"""The network that a body is trained in on ImageNet."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from seamseg.modules.body import Body
from seamseg.modules.norm import cache_min_gammas
from seamseg.structures.images import pad_images
from seamseg.structures.losses import ClassifierLosses
from seamseg.structures.packed_sequence import PackedSequence


class Classifier(nn.Module):
    """A body, the mean of its last level, and a linear layer.

    Published files have the same state-dict names, without the ``body.`` in front of the body's.

    Args:
        body: Body whose last level is classified.
        num_classes: Number of classes K.
    """

    def __init__(self, body: Body, num_classes: int) -> None:
        super().__init__()
        self.body = body
        self.classifier = nn.Sequential(OrderedDict(fc=nn.Linear(body.channels[-1], num_classes)))

    def forward(self, images: PackedSequence, labels: Tensor, generator: torch.Generator) -> ClassifierLosses:
        """Compute the training loss.

        Args:
            images: N normalized images of one size, 3×H×W each.
            labels: N int64 classes.
            generator: Not used; nothing is sampled.
        """
        cache_min_gammas(self)
        return ClassifierLosses(functional.cross_entropy(self.logits(pad_images(images).tensor).float(), labels))

    @torch.no_grad()
    def predict(self, images: PackedSequence) -> Tensor:
        """Return the N×K logits of N normalized images of one size, 3×H×W each."""
        return self.logits(pad_images(images).tensor)

    def logits(self, images: Tensor) -> Tensor:
        """Return the N×K logits of N×3×H×W normalized images."""
        logits: Tensor = self.classifier(self.body(images)[-1].mean(dim=(2, 3)))
        return logits
