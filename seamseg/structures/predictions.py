"""Predictions of the network for a batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seamseg.structures.images import Size
from seamseg.structures.packed_sequence import PackedSequence, require_equal_lengths


@dataclass(frozen=True)
class Detections:
    """Objects detected in one image, by descending score.

    Attributes:
        boxes: D×4 float32, in pixels of the image in which they were detected.
        classes: D int64, 0-based among the things.
        scores: D float32 in 0 … 1.
        masks: D×M×M mask logits inside the boxes (M = 28 in the published network); D×0×0 from a network without masks.
    """

    boxes: Tensor
    classes: Tensor
    scores: Tensor
    masks: Tensor

    def __post_init__(self) -> None:
        require_equal_lengths(self, ("boxes", "classes", "scores", "masks"))

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def has_masks(self) -> bool:
        """Whether the network predicts masks."""
        return self.masks.shape[-1] > 0

    def rows(self, chosen: Tensor) -> Detections:
        """Return some of the detections.

        Args:
            chosen: Indices, or D bool.
        """
        return Detections(self.boxes[chosen], self.classes[chosen], self.scores[chosen], self.masks[chosen])

    def cpu(self) -> Detections:
        """Return the same detections on the CPU."""
        return Detections(self.boxes.cpu(), self.classes.cpu(), self.scores.cpu(), self.masks.cpu())


@dataclass(frozen=True)
class SemanticLogits:
    """Class logits of one image before interpolation.

    Attributes:
        logits: (S+T)×h×w, covering the padded image; 0×0×0 from a network without a semantic head.
        padded_size: Height and width in pixels that the logits cover.
        size: Height and width of the image before padding; it is at the top left.
    """

    logits: Tensor
    padded_size: Size
    size: Size

    @property
    def has_classes(self) -> bool:
        """Whether the network has a semantic head."""
        return len(self.logits) > 0


@dataclass(frozen=True)
class Predictions:
    """Detections and semantic logits of N images, in pixels of the network's input.

    Attributes:
        boxes: Boxes, D×4 float32 per image; zero rows if nothing is detected.
        classes: Classes, D int64 per image, 0-based among the things.
        scores: Scores, D float32 per image, in 0 … 1.
        masks: Mask logits, D×M×M per image; D×0×0 from a network without masks.
        semantic_logits: N×(S+T)×h×w, covering the padded images; N×0×0×0 from a network without a semantic head.
        sizes: Height and width of each image before padding.
        padded_size: Height and width of the padded images.
        proposals: Boxes that were classified, P×4 float32 per image; None from a network that finds no objects.
    """

    boxes: PackedSequence
    classes: PackedSequence
    scores: PackedSequence
    masks: PackedSequence
    semantic_logits: Tensor
    sizes: tuple[Size, ...]
    padded_size: Size
    proposals: PackedSequence | None = None

    def __post_init__(self) -> None:
        require_equal_lengths(self, ("boxes", "classes", "scores", "masks", "semantic_logits", "sizes"))

    @classmethod
    def empty(cls, like: Tensor, sizes: tuple[Size, ...], padded_size: Size) -> Predictions:
        """Return the predictions of a network without any head: zero rows and zero classes for every image.

        Args:
            like: Tensor on the device of the predictions.
            sizes: Height and width of each image before padding.
            padded_size: Height and width of the padded images.
        """

        def none(*shape: int, dtype: torch.dtype = torch.float32) -> PackedSequence:
            return PackedSequence(like.new_empty((0, *shape), dtype=dtype) for _ in sizes)

        logits = like.new_empty((len(sizes), 0, 0, 0))
        return cls(none(4), none(dtype=torch.int64), none(), none(0, 0), logits, sizes, padded_size)

    def with_detections(
        self, boxes: PackedSequence, classes: PackedSequence, scores: PackedSequence, masks: PackedSequence
    ) -> Predictions:
        """Return these predictions with other detections; see the attributes."""
        return replace(self, boxes=boxes, classes=classes, scores=scores, masks=masks)

    def with_proposals(self, proposals: PackedSequence) -> Predictions:
        """Return these predictions with the boxes that were classified."""
        return replace(self, proposals=proposals)

    def with_semantics(self, semantic_logits: Tensor) -> Predictions:
        """Return these predictions with other semantic logits."""
        return replace(self, semantic_logits=semantic_logits)

    def __len__(self) -> int:
        return len(self.sizes)

    def detections(self, image: int) -> Detections:
        """Return the detections of one image."""
        return Detections(
            self.boxes.entry(image), self.classes.entry(image), self.scores.entry(image), self.masks.entry(image)
        )

    def semantics(self, image: int) -> SemanticLogits:
        """Return the semantic logits of one image."""
        return SemanticLogits(self.semantic_logits[image], self.padded_size, self.sizes[image])
