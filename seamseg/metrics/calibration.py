"""Calibration: whether scores are the probability of being right, and what is right above a threshold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.errors import DataError
from seamseg.metrics.matching import FloatArray, Matching
from seamseg.metrics.overlaps import BoolArray, IntArray
from seamseg.structures import VOID, ImageInstances, Instance, Size

NUM_BINS = 15
"""Number of bins of the ECE, as in Guo et al. 2017."""
POSITION_BINS, ALL_BINS = 8, 5
"""Numbers of bins per axis of the D-ECE with two, and with four properties of the box, as in Küppers et al. 2020."""
LEAST_IN_BIN = 8
"""Minimum number of detections in a bin of the D-ECE, as in Küppers et al. 2020."""
TOP_LEVEL = 65_535
"""Level of confidence 1; a level is a confidence as a 16-bit integer."""
NUM_POINTS = 100
"""Maximum number of points of a risk-coverage curve."""

DETECTION_CASES = np.dtype(
    [("class", "i8"), ("score", "f8"), ("right", "?"), ("y", "f8"), ("x", "f8"), ("height", "f8"), ("width", "f8")]
)
"""A predicted thing: class, score, whether it is right, and center and size of its box as fractions of the image."""


@dataclass(frozen=True)
class Reliability:
    """Agreement of scores and outcomes of one class or of all; NaN if there is nothing to count.

    Attributes:
        num: Number of predictions.
        accuracy: Fraction of right predictions.
        confidence: Mean score.
        ece: Expected calibration error (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3): the
            mean difference of accuracy and confidence over 15 bins of the score, (m - 1) / 15 < score ≤ m / 15.
    """

    num: int
    accuracy: float
    confidence: float
    ece: float


@dataclass(frozen=True)
class ThingReliability(Reliability):
    """Agreement of the scores of things and their outcomes.

    The detection calibration errors (D-ECE; Küppers et al., "Multivariate Confidence Calibration for Object Detection",
    CVPR Workshops 2020) also divide the detections by properties of their boxes, relative to the image, so that errors
    of different places or sizes do not cancel out. Bins with fewer than 8 detections are left out, of the mean as well;
    NaN if that leaves none.

    Attributes:
        d_ece_position: D-ECE of score and center, with 8 bins each.
        d_ece_size: D-ECE of score, height and width, with 8 bins each.
        d_ece: D-ECE of score, center, height and width, with 5 bins each.
    """

    d_ece_position: float
    d_ece_size: float
    d_ece: float


@dataclass(frozen=True)
class ScoreCalibration:
    """Calibration of one kind of score, in 0 … 1.

    Attributes:
        all: Reliability over all classes.
        per_class: Reliability by predicted class.
        bins: Number, mean score and accuracy of the predictions in each of the 15 bins of the score.
        aurc: Area under the risk-coverage curve (Geifman et al., "Bias-Reduced Uncertainty Estimation for Deep Neural
            Classifiers", ICLR 2019): the mean fraction of wrong predictions among the k most confident ones, over all
            k. The order among equal scores is random, and the expected value is returned.
        e_aurc: Its excess over the area of a score that puts all right predictions first.
        curve: Up to 100 points of the curve: coverage (the fraction of predictions that are kept), risk (the fraction
            of these that is wrong), and the lowest score that is kept.
    """

    all: Reliability
    per_class: dict[str, Reliability]
    bins: tuple[tuple[int, float, float], ...]
    aurc: float
    e_aurc: float
    curve: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Calibration:
    """Calibration of a model.

    Attributes:
        things: Calibration of the scores of things; None without scores.
        pixels: Calibration of the confidence of pixels; None without confidence.
    """

    things: ScoreCalibration | None
    pixels: ScoreCalibration | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values under the same names."""
        return asdict(self)


@dataclass(frozen=True)
class CalibrationState:
    """Counts of a :class:`CalibrationCounter`; picklable.

    Attributes:
        cases: Predicted things that count, of dtype ``DETECTION_CASES``.
        bins: Number, number right, and sum of the levels of the pixels by class and bin, C×15×3.
        levels: Number of wrong and of right pixels by level, 65536×2; 0×2 without pixels.
    """

    cases: NDArray[Any]
    bins: IntArray
    levels: IntArray


class CalibrationCounter:
    """Count predictions by score and outcome, image by image.

    Args:
        num_classes: Number of classes C.
    """

    def __init__(self, num_classes: int) -> None:
        self._cases: list[NDArray[Any]] = [np.zeros(0, DETECTION_CASES)]
        self._bins = np.zeros((num_classes, NUM_BINS, 3), np.int64)
        self._levels = np.zeros((0, 2), np.int64)

    def add_things(self, cases: NDArray[Any]) -> None:
        """Add the things of one or several images.

        Args:
            cases: Predicted things that count, from :func:`segment_cases` or :func:`object_cases`.

        Raises:
            SeamsegError: A score is not in 0 … 1.
        """
        scores = cases["score"]
        wrong = scores[~((scores >= 0) & (scores <= 1))]
        if len(wrong):
            raise DataError(f"calibration needs scores in 0 … 1, but a result has the score {wrong[0]:g}")
        self._cases.append(cases)

    def add_pixels(self, levels: NDArray[np.uint16], predicted: IntArray, truth: IntArray) -> None:
        """Add the pixels of one image; those that are void on either side do not count.

        Args:
            levels: Confidence of each pixel, H×W, from :func:`confidence_levels`.
            predicted: Predicted class of each pixel, H×W; 255 for void.
            truth: Annotated class of each pixel, H×W; 255 for void.
        """
        counted = (truth != VOID) & (predicted != VOID)
        classes, chosen = predicted[counted].astype(np.int64), levels[counted].astype(np.int64)
        right = classes == truth[counted]
        cells = classes * NUM_BINS + _BIN_OF_LEVEL[chosen]
        size = self._bins.shape[0] * NUM_BINS
        columns = [np.bincount(cells, weights, size) for weights in (None, right, chosen)]
        self._bins += np.stack(columns, 1).astype(np.int64).reshape(self._bins.shape)  # exact below 2^53
        counts = np.bincount(2 * chosen + right, minlength=2 * (TOP_LEVEL + 1)).reshape(-1, 2)
        self._levels = counts + self._levels if len(self._levels) else counts

    @property
    def state(self) -> CalibrationState:
        """Counts so far, to send to other ranks."""
        return CalibrationState(np.concatenate(self._cases), self._bins, self._levels)

    def merge(self, states: Iterable[CalibrationState]) -> None:
        """Add the states of counters of other images; the order does not change the result."""
        for state in states:
            self._cases.append(state.cases)
            self._bins = self._bins + state.bins
            if len(state.levels):
                self._levels = state.levels + self._levels if len(self._levels) else state.levels

    def compute(self, names: Sequence[str]) -> Calibration:
        """Compute the calibration over all images so far.

        Args:
            names: Names of the C classes.
        """
        cases = np.sort(np.concatenate(self._cases))  # sums of floating-point numbers depend on the order
        things = _thing_calibration(cases, names) if len(cases) else None
        return Calibration(things, self._pixel_calibration(names) if self._levels.any() else None)

    def _pixel_calibration(self, names: Sequence[str]) -> ScoreCalibration:
        whole, level_counts = self._bins.sum(0), self._levels[::-1]
        present = level_counts.any(1)
        scores = np.arange(TOP_LEVEL, -1, -1)[present] / TOP_LEVEL
        curve = RiskCoverage(scores, level_counts[present].sum(1), level_counts[present, 0])
        return ScoreCalibration(
            _binned_reliability(whole),
            {name: _binned_reliability(bins) for name, bins in zip(names, self._bins, strict=True) if bins.any()},
            tuple((int(num), _ratio(total, TOP_LEVEL * num), _ratio(right, num)) for num, right, total in whole),
            curve.area,
            curve.area - curve.best_area,
            curve.points(),
        )


def confidence_levels(confidence: FloatArray | NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return confidences in 0 … 1 as 16-bit integers, rounded."""
    return np.asarray(np.rint(np.asarray(confidence, np.float64) * TOP_LEVEL), np.uint16)


def segment_cases(matching: Matching, predicted: Sequence[ImageInstances], num_stuff: int) -> NDArray[Any]:
    """Return the predicted things of images that count in panoptic quality.

    A thing is right if it is a match: same class, IoU over 0.5.

    Args:
        matching: Matches of one or several images.
        predicted: Predicted things of these images with pixels, in the order of their segments.
        num_stuff: Number of stuff classes.
    """
    overlaps = matching.overlaps
    right, counted = np.zeros(overlaps.num_predicted, np.bool_), np.zeros(overlaps.num_predicted, np.bool_)
    right[overlaps.predicted[matching.pairs[matching.matched]]] = True
    counted[matching.false] = True
    there = np.bincount(overlaps.predicted, minlength=overlaps.num_predicted) > 0
    classes = overlaps.predicted_classes
    things = np.flatnonzero(there & (classes >= num_stuff) & (classes != VOID))
    found = [(one, image.size) for image in predicted for one in image.detected]
    assert len(things) == len(found), "every predicted thing with pixels is listed"
    rows = zip(things.tolist(), found, strict=True)
    return _as_cases(
        [(int(classes[i]), bool(right[i]), one, size) for i, (one, size) in rows if right[i] or counted[i]]
    )


def object_cases(image: ImageInstances, right: BoolArray, counted: BoolArray) -> NDArray[Any]:
    """Return the detections of an image that count.

    Args:
        image: True and detected objects.
        right: Whether each detection matches an object.
        counted: Whether each detection counts.
    """
    rows = zip(image.detected, right.tolist(), counted.tolist(), strict=True)
    return _as_cases([(one.category, is_right, one, image.size) for one, is_right, counts in rows if counts])


def _as_cases(rows: Sequence[tuple[int, bool, Instance, Size]]) -> NDArray[Any]:
    return np.array(
        [(category, one.score, is_right, *_relative_box(one, size)) for category, is_right, one, size in rows],
        DETECTION_CASES,
    )


def _relative_box(one: Instance, size: Size) -> tuple[float, float, float, float]:
    """Return center, height and width of a box as fractions of the image."""
    y0, x0, y1, x1 = one.box
    height, width = size
    return (y0 + y1) / 2 / height, (x0 + x1) / 2 / width, (y1 - y0) / height, (x1 - x0) / width


_BIN_OF_LEVEL: IntArray = np.maximum((np.arange(TOP_LEVEL + 1) * NUM_BINS + TOP_LEVEL - 1) // TOP_LEVEL - 1, 0)
"""Bin of each level, computed with integers: exact on the borders of bins."""


def _bins(values: FloatArray, num: int) -> IntArray:
    """Return the bin of each value: m - 1 for (m - 1) / num < value ≤ m / num, and the nearest bin beyond 0 … 1."""
    return np.asarray(np.searchsorted(np.arange(1, num) / num, values, side="left"), np.int64)


def _thing_calibration(cases: NDArray[Any], names: Sequence[str]) -> ScoreCalibration:
    bins = _bins(cases["score"], NUM_BINS)
    chosen = [cases[bins == number] for number in range(NUM_BINS)]
    scores, first = np.unique(-cases["score"], return_inverse=True)
    curve = RiskCoverage(-scores, np.bincount(first), np.bincount(first, ~cases["right"]).astype(np.int64))
    by_class = ((name, cases[cases["class"] == number]) for number, name in enumerate(names))
    return ScoreCalibration(
        _thing_reliability(cases),
        {name: _thing_reliability(some) for name, some in by_class if len(some)},
        tuple((len(some), _mean(some["score"]), _mean(some["right"])) for some in chosen),
        curve.area,
        curve.area - curve.best_area,
        curve.points(),
    )


def _thing_reliability(cases: NDArray[Any]) -> ThingReliability:
    return ThingReliability(
        len(cases),
        _mean(cases["right"]),
        _mean(cases["score"]),
        _calibration_error(cases, ("score",), NUM_BINS, 1),
        _calibration_error(cases, ("score", "y", "x"), POSITION_BINS, LEAST_IN_BIN),
        _calibration_error(cases, ("score", "height", "width"), POSITION_BINS, LEAST_IN_BIN),
        _calibration_error(cases, ("score", "y", "x", "height", "width"), ALL_BINS, LEAST_IN_BIN),
    )


def _calibration_error(cases: NDArray[Any], axes: Sequence[str], num: int, least: int) -> float:
    """Return the mean difference of accuracy and confidence over the bins with at least ``least`` predictions."""
    cells = np.ravel_multi_index([_bins(cases[axis], num) for axis in axes], [num] * len(axes))
    counts, gaps = np.bincount(cells), np.abs(np.bincount(cells, cases["right"] - cases["score"]))
    enough = counts >= least
    return _ratio(gaps[enough].sum(), counts[enough].sum())


def _binned_reliability(bins: IntArray) -> Reliability:
    """Return the reliability of pixels from number, number right and sum of levels of each bin."""
    num, right, total = bins.sum(0)
    gap = np.abs(bins[:, 1] - bins[:, 2] / TOP_LEVEL).sum()
    return Reliability(int(num), _ratio(right, num), _ratio(total, TOP_LEVEL * num), _ratio(gap, num))


class RiskCoverage:
    """Risk-coverage curve of N predictions: the risk of the k most confident ones is the fraction that is wrong.

    Args:
        scores: Different scores, descending, G.
        counts: Number of predictions with each score, G; positive integers.
        wrong: Number of wrong ones among them, G.
    """

    def __init__(self, scores: FloatArray, counts: IntArray, wrong: IntArray) -> None:
        self._scores, self._counts, self._wrong = scores, counts, wrong
        self._ends, self._rates = np.cumsum(counts), wrong / counts
        self._starts, self._wrong_before = self._ends - counts, np.cumsum(wrong) - wrong

    @property
    def area(self) -> float:
        """Mean risk over k = 1 … N."""
        # With r wrong predictions per prediction of a group that starts after K predictions, E of them wrong, the risk
        # is (E + (k - K) r) / k = r + (E - K r) / k. The sum of 1 / k is a difference of digamma functions.
        starts, ends = (torch.from_numpy(edge + 1.0) for edge in (self._starts, self._ends))
        harmonic = (torch.digamma(ends) - torch.digamma(starts)).numpy()
        sums = self._wrong + (self._wrong_before - self._starts * self._rates) * harmonic
        return float(sums.sum() / self._ends[-1])

    @property
    def best_area(self) -> float:
        """Area of a curve with all right predictions before the wrong ones."""
        wrong, total = int(self._wrong.sum()), int(self._ends[-1])
        parts = np.array([[total - wrong, 0], [wrong, wrong]])
        return RiskCoverage(np.array([1.0, 0.0]), *parts.T).area if 0 < wrong < total else float(wrong > 0)

    def points(self) -> tuple[tuple[float, float, float], ...]:
        """Return coverage, risk and lowest score at 1 %, 2 %, … 100 % of the predictions, rounded up to whole ones."""
        total = int(self._ends[-1])
        kept = np.unique([-(-total * part // NUM_POINTS) for part in range(1, NUM_POINTS + 1)])
        groups = np.searchsorted(self._ends, kept)
        wrong = self._wrong_before[groups] + (kept - self._starts[groups]) * self._rates[groups]
        rows = np.stack([kept / total, wrong / kept, self._scores[groups]], 1)
        return tuple((coverage, risk, score) for coverage, risk, score in rows.tolist())


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan
