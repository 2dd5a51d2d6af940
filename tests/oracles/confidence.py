"""Confidence of pixels from a softmax over all classes at full size, and masks resampled over the whole image."""

from __future__ import annotations

import torch
from oracles.paste import paste_values
from oracles.upsample_argmax import enlarged
from torch import Tensor

from seamseg.structures import Detections, PanopticSegmentation, SemanticLogits


def confidence(segmentation: PanopticSegmentation, things: Detections, semantics: SemanticLogits) -> Tensor:
    """Return H×W float64: the softmax of the pixel's class, score times mask for things, and 0 for void."""
    probabilities = enlarged(semantics, segmentation.size).softmax(0) if semantics.has_classes else None
    masks = [paste_values(*one, segmentation.size) for one in zip(things.masks, things.boxes, strict=True)]
    result = torch.zeros(segmentation.size, dtype=torch.float64)
    for y, row in enumerate(segmentation.ids.tolist()):
        for x, segment in enumerate(row):
            if 0 < segment <= len(things):
                result[y, x] = things.scores[segment - 1] * masks[segment - 1][y, x]
            elif segment and probabilities is not None:
                result[y, x] = probabilities[int(segmentation.classes[segment]), y, x]
    return result
