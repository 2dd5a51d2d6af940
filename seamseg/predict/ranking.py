"""Expected error of a prediction without annotation, to choose the images whose annotation helps most."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seamseg.predict.predictor import Prediction
from seamseg.structures import VOID, Detections


@dataclass(frozen=True)
class ExpectedError:
    """Expected error of one image in 0 … 1, if scores and class probabilities are exact.

    This is uncertainty sampling (Settles, "Active Learning Literature Survey", 2009, section 3) with the error that the
    network is scored by.

    Attributes:
        expected_error: 1 - the expected PQ of the image; see :func:`expected_quality`.
        pixels: Expected fraction of wrong pixels: the mean of 1 - confidence; None without class scores.
        things: Expected recognition error of the objects; see :func:`thing_error`; None without a detector.
    """

    expected_error: float
    pixels: float | None
    things: float | None


def expected_error(found: Prediction, num_stuff: int) -> ExpectedError:
    """Return the expected error of a prediction; of one with a confidence map, or of objects.

    Args:
        found: Prediction for an image.
        num_stuff: Number of stuff classes of the model, which are its first classes.
    """
    pixels = None if found.confidence is None else 1 - float(found.confidence.double().mean())
    things = thing_error(found.detections.scores) if found.finds_objects else None
    return ExpectedError(1 - expected_quality(found, num_stuff), pixels, things)


def expected_quality(found: Prediction, num_stuff: int) -> float:
    """Return the expected PQ of one image, the weighted mean of the qualities of its classes.

    Stuff classes with a segment have their expected IoU and weight 1; without a detector, all classes are treated so.
    Thing classes have the quality of :func:`thing_quality`, weighted by the probability that the image shows an object
    of the class, or by 1 if an object is predicted.

    Args:
        found: Prediction for an image.
        num_stuff: Number of stuff classes of the model, which are its first classes.

    Returns:
        The quality in 0 … 1. Without any class: 1 if the network only finds objects, else 0.
    """
    qualities = list(stuff_qualities(found, num_stuff if found.finds_objects else VOID))
    weights = [1.0] * len(qualities)
    for category in torch.unique(found.detections.classes):
        objects = found.detections.rows(found.detections.classes == category)
        qualities.append(thing_quality(objects))
        scores = objects.scores.double()
        weights.append(1.0 if (scores > 0.5).any() else 1 - (1 - scores).prod().item())
    if not sum(weights):
        return 0.0 if found.semantics.has_classes else 1.0
    return sum(quality * weight for quality, weight in zip(qualities, weights, strict=True)) / sum(weights)


def stuff_qualities(found: Prediction, num_classes: int) -> Iterator[float]:
    """Yield the expected IoU of every class below ``num_classes`` that has a segment.

    It is the sum of the class's probability over its segment, divided by the area of the segment plus that sum over all
    other pixels, at the resolution of the class scores.
    """
    if not found.semantics.has_classes:
        return
    rows, columns = (_valid_places(found, axis) for axis in (0, 1))
    logits = found.semantics.logits[:, : len(rows), : len(columns)]
    probabilities = logits.float().softmax(0)
    segmented = found.segmentation.classes[found.segmentation.ids[rows][:, columns].long()]
    for category in torch.unique(segmented).tolist():
        if category < num_classes:
            inside = segmented == category
            agreed = probabilities[category][inside].sum().item()
            missed = probabilities[category][~inside].sum().item()
            yield agreed / (inside.sum().item() + missed)


def _valid_places(found: Prediction, axis: int) -> Tensor:
    """Return the image row or column under the center of each row or column of class scores, without padding."""
    of_scores, padded = found.semantics.logits.shape[1 + axis], found.semantics.padded_size[axis]
    centers = (torch.arange(of_scores) + 0.5) * (padded / of_scores) / found.semantics.size[axis]
    return (centers[centers < 1] * found.segmentation.size[axis]).long()


def thing_quality(objects: Detections) -> float:
    """Return the expected PQ of one thing class: that of :func:`thing_error`, where TP counts with the expected IoU.

    Args:
        objects: All detections of the class before fusion; without masks, the IoU is 1.
    """
    scores, overlaps = objects.scores.double(), torch.ones(len(objects.scores), dtype=torch.float64)
    if objects.has_masks:
        probabilities = objects.masks.float().sigmoid().flatten(1)
        inside = probabilities > 0.5
        union = torch.where(inside, 1.0, probabilities).sum(1)
        overlaps = (probabilities * inside).sum(1) / union
    expected, half_doubtful = _expected_counts(scores)
    total = expected + half_doubtful
    return (scores * overlaps)[scores > 0.5].sum().item() / total if total else 0.0


def thing_error(scores: Tensor) -> float:
    """Return 1 - RQ for the expected numbers of right, wrong and missed objects.

    An object above ½ is predicted: it is right with the probability of its score s, and wrong otherwise. An object up
    to ½ is not: it is missed with the probability s. So the sums of s, of 1 - s, and of s take the place of TP, FP and
    FN in the recognition quality TP / (TP + ½ FP + ½ FN).

    Args:
        scores: Scores of all detections of an image before fusion.

    Returns:
        The expected error in 0 … 1; 0 without detections.
    """
    right, half_doubtful = _expected_counts(scores.double())
    return half_doubtful / (right + half_doubtful) if half_doubtful else 0.0


def _expected_counts(scores: Tensor) -> tuple[float, float]:
    """Return the expected TP, and half of the expected FP and FN."""
    return scores[scores > 0.5].sum().item(), scores.minimum(1 - scores).sum().item() / 2


def ranked(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return entries with ``expected_error``, the largest first; equal ones keep their order."""
    return sorted(entries, key=lambda entry: -float(entry["expected_error"]))
