"""The semantic network of Rota Bulò et al., "In-Place Activated BatchNorm", CVPR 2018."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seamseg.algos.losses import LossReduction, SemanticLoss, reduce_per_rank
from seamseg.modules.body import Body
from seamseg.modules.deeplab_head import DeepLabHead
from seamseg.modules.norm import cache_min_gammas
from seamseg.structures.ground_truth import GroundTruth
from seamseg.structures.images import pad_images
from seamseg.structures.losses import Losses
from seamseg.structures.packed_sequence import PackedSequence
from seamseg.structures.predictions import Predictions


class DeepLabNet(nn.Module):
    """A body without feature pyramid, and a DeepLabV3 head that predicts the class of every pixel.

    Args:
        body: Body; the published network has a dilated WideResNet-38 A2.
        head: DeepLabV3 head on the body's last level.
        num_classes: Number of classes K.
        semantic_loss: Loss of the logits.
        normalize: Function that divides the loss sum by its count.
    """

    def __init__(
        self,
        body: Body,
        head: DeepLabHead,
        num_classes: int,
        semantic_loss: SemanticLoss,
        normalize: LossReduction = reduce_per_rank,
    ) -> None:
        super().__init__()
        self.body, self.head = body, head
        self.cls = nn.Conv2d(head.out_channels, num_classes, 1)
        self.semantic_loss, self.normalize = semantic_loss, normalize

    def forward(self, images: PackedSequence, ground_truth: GroundTruth, generator: torch.Generator) -> Losses:
        """Compute the training loss.

        Args:
            images: N normalized images, 3×H×W each.
            ground_truth: Annotation at the size of the images. Every class counts, things and crowd as well as stuff.
            generator: CPU random generator; nothing is sampled here.
        """
        padded = pad_images(images)
        cache_min_gammas(self)
        loss = self.semantic_loss(self.logits(padded.tensor), padded, ground_truth)
        return Losses(semantic=self.normalize([loss])[0])

    @torch.no_grad()
    def predict(self, images: PackedSequence) -> Predictions:
        """Predict semantic logits, and no detections.

        Args:
            images: N normalized images, 3×H×W each.
        """
        padded = pad_images(images)
        logits = self.logits(padded.tensor)
        return Predictions.empty(logits, padded.sizes, padded.padded_size).with_semantics(logits)

    def logits(self, images: Tensor) -> Tensor:
        """Return N×K×h×w logits of N×3×H×W images, at the stride of the body's last level."""
        logits: Tensor = self.cls(self.head(self.body(images)[-1]))
        return logits
