"""Expected error of a prediction without annotation, to choose the images whose annotation helps most."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from seamseg.predict.predictor import Prediction


@dataclass(frozen=True)
class ExpectedError:
    """Expected error of one image in 0 … 1, if scores and confidences are probabilities.

    This is uncertainty sampling with the least confidence (Settles, "Active Learning Literature Survey", 2009, section
    3.1), averaged over the pixels and over the objects of the image.

    Attributes:
        expected_error: Mean of the parts that the task of the model has.
        pixels: Expected fraction of wrong pixels: the mean of 1 - confidence; None without class scores.
        things: Expected recognition error of the objects; see :func:`thing_error`; None without a detector.
    """

    expected_error: float
    pixels: float | None
    things: float | None


def expected_error(found: Prediction) -> ExpectedError:
    """Return the expected error of a prediction; of one with a confidence map, or of objects."""
    pixels = None if found.confidence is None else 1 - float(found.confidence.double().mean())
    things = thing_error(found.detections.scores) if found.finds_objects else None
    parts = [part for part in (pixels, things) if part is not None]
    return ExpectedError(sum(parts) / max(1, len(parts)), pixels, things)


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
    values = scores.double()
    right, doubtful = values[values > 0.5].sum().item(), values.minimum(1 - values).sum().item()
    return doubtful / 2 / (right + doubtful / 2) if doubtful else 0.0


def ranked(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return entries with ``expected_error``, the largest first; equal ones keep their order."""
    return sorted(entries, key=lambda entry: -float(entry["expected_error"]))
