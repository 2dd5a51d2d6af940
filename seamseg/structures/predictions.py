"""What the network says of a batch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from seamseg.structures.images import Size
from seamseg.structures.packed_sequence import PackedSequence, require_equal_lengths


@dataclass(frozen=True)
class Detections:
    """Objects found in one image, by falling score.

    Attributes:
        boxes: D×4 float32, in pixels of the image they were found in.
        classes: D int64, 0-based among the things.
        scores: D float32 in 0 … 1.
        masks: D×M×M mask logits in the box (M = 28 in the published network).
    """

    boxes: Tensor
    classes: Tensor
    scores: Tensor
    masks: Tensor

    def __post_init__(self) -> None:
        require_equal_lengths(self, ("boxes", "classes", "scores", "masks"))

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class SemanticLogits:
    """Class scores of one image before interpolation.

    Attributes:
        logits: (S+T)×h×w, covering the padded image.
        padded_size: height and width in pixels that the logits cover.
        size: height and width of the valid part, top left.
    """

    logits: Tensor
    padded_size: Size
    size: Size


@dataclass(frozen=True)
class Predictions:
    """Detections and semantics of N images, in pixels of the network's input.

    Attributes:
        boxes, classes, scores, masks: as in :class:`Detections`, one entry per image, zero rows where nothing is found.
        semantic_logits: N×(S+T)×h×w, covering the padded images.
        sizes: height and width of every image's valid part.
        padded_size: height and width of the padded images.
    """

    boxes: PackedSequence
    classes: PackedSequence
    scores: PackedSequence
    masks: PackedSequence
    semantic_logits: Tensor
    sizes: tuple[Size, ...]
    padded_size: Size

    def __post_init__(self) -> None:
        require_equal_lengths(self, ("boxes", "classes", "scores", "masks", "semantic_logits", "sizes"))

    def __len__(self) -> int:
        return len(self.sizes)

    def detections(self, image: int) -> Detections:
        return Detections(
            self.boxes.entry(image), self.classes.entry(image), self.scores.entry(image), self.masks.entry(image)
        )

    def semantics(self, image: int) -> SemanticLogits:
        return SemanticLogits(self.semantic_logits[image], self.padded_size, self.sizes[image])
