"""Cross-entropy of the hardest pixels (Porzi et al., CVPR 2019, section 3.2; Rota Bulò et al., CVPR 2017)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from seamseg.ops.half_types import at_least_float32
from seamseg.structures.categories import VOID
from seamseg.structures.ground_truth import GroundTruth
from seamseg.structures.images import PaddedImages
from seamseg.structures.losses import LossSum


class SemanticLoss:
    """Mean over the images of the mean over each image's hardest pixels.

    Args:
        hardest_fraction: of an image's pixels, above 0 and at most 1; void pixels count with loss 0.
    """

    def __init__(self, hardest_fraction: float = 0.25) -> None:
        self.hardest_fraction = hardest_fraction

    def __call__(self, logits: Tensor, images: PaddedImages, ground_truth: GroundTruth) -> LossSum:
        """Over the images.

        Args:
            logits: N×(S+T)×h×w, covering the padded images.
            images: for their sizes.
            ground_truth: of the images at their valid size.
        """
        losses = []
        for image, (height, width) in enumerate(images.sizes):
            enlarged = functional.interpolate(
                at_least_float32(logits[image : image + 1]),
                size=images.padded_size,
                mode="bilinear",
                align_corners=False,
            )[:, :, :height, :width]
            target = ground_truth.semantic_target(image).unsqueeze(0)
            pixels = functional.cross_entropy(enlarged, target, ignore_index=VOID, reduction="none")
            num_hardest = math.ceil(self.hardest_fraction * height * width)
            losses.append(pixels.flatten().topk(num_hardest, sorted=False).values.mean())
        return LossSum(torch.stack(losses).sum(), len(losses))
