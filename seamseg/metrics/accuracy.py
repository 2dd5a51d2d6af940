"""Accuracy of a classification network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from torch import Tensor

from seamseg.structures import Unreadable


@dataclass(frozen=True)
class CorrectCounts:
    """Numbers of images, which can be added up over batches and ranks.

    Attributes:
        images: Number of images.
        top1: Number of images whose class has the highest logit.
        top5: Number of images whose class is among the five highest logits.
    """

    images: int = 0
    top1: int = 0
    top5: int = 0

    def __add__(self, other: CorrectCounts) -> CorrectCounts:
        return CorrectCounts(self.images + other.images, self.top1 + other.top1, self.top5 + other.top5)


def count_correct(logits: Tensor, labels: Tensor) -> CorrectCounts:
    """Count the images whose class is among the highest logits.

    Args:
        logits: N×K logits. With fewer than five classes, every image counts as correct in ``top5``.
        labels: N classes.
    """
    highest = logits.topk(min(5, logits.shape[1]), dim=1).indices
    correct = highest == labels[:, None]
    return CorrectCounts(len(labels), int(correct[:, 0].sum()), int(correct.sum()))


@dataclass(frozen=True)
class Accuracy:
    """Accuracy over a set of images.

    Attributes:
        images: Number of images that were scored.
        top1: Fraction of images whose class has the highest logit, in [0, 1]; NaN without images.
        top5: Fraction of images whose class is among the five highest logits, in [0, 1]; NaN without images.
        unreadable: Images that were skipped.
    """

    images: int
    top1: float
    top5: float
    unreadable: tuple[Unreadable, ...] = ()

    @classmethod
    def from_counts(cls, counts: Sequence[CorrectCounts]) -> Accuracy:
        """Add up the counts of all ranks."""
        total = sum(counts, CorrectCounts())
        if not total.images:
            return cls(0, float("nan"), float("nan"))
        return cls(total.images, total.top1 / total.images, total.top5 / total.images)

    def to_json(self) -> str:
        """Return all numbers and the skipped images as JSON."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"
