"""Video panoptic quality (Kim et al. 2020) and segmentation and tracking quality (Weber et al. 2021).

Both compare tubes, the pixels of one thing or of one stuff class over several frames. All numbers are computed from the
pixels that a true and a predicted tube share in a frame, so memory grows with the number of tubes, not of frames.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from seamseg.metrics.matching import FloatArray, match
from seamseg.metrics.overlaps import BoolArray, IntArray, Overlaps
from seamseg.metrics.panoptic_quality import PanopticQuality, Quality
from seamseg.metrics.scores import json_lines, without_nan
from seamseg.structures import VOID

WINDOWS = (1, 2, 3, 4)
"""Lengths of the windows of VPQ in frames, as in the paper."""

_CLASS_BITS, _CROWD = 25, 1 << 24
_VOID_TUBE = VOID << _CLASS_BITS


def tube_keys(classes: IntArray, ids: IntArray, crowd: BoolArray, num_stuff: int) -> IntArray:
    """Return a number for each segment of a frame that is the same in all frames for segments of one tube.

    A tube is a stuff class, or a thing with a class and an id. Segments of one id with different classes are different
    tubes. Crowd is separate from the rest of its class.

    Args:
        classes: Classes of K segments; 255 for void.
        ids: Ids in 0 … 2²⁴ − 1; the ids of void and stuff are ignored.
        crowd: Whether each segment covers many things.
        num_stuff: Number of stuff classes, which come first.
    """
    keys = (classes << _CLASS_BITS) + np.where(crowd, _CROWD, 0) + np.where(classes >= num_stuff, ids, 0)
    return np.where(classes == VOID, _VOID_TUBE, keys)


@dataclass(frozen=True)
class ClipScores:
    """Scores of one video in 0 … 1; NaN if there is nothing to count.

    Attributes:
        name: Name of the video.
        num_frames: Number of its frames.
        num_tubes: Number of true things, without crowd.
        stq, aq, sq: Segmentation and tracking quality, association quality and segmentation quality.
    """

    name: str
    num_frames: int
    num_tubes: int
    stq: float
    aq: float
    sq: float


@dataclass(frozen=True)
class WindowQuality:
    """VPQ for one length of windows.

    Attributes:
        frames: Length in frames.
        all, things, stuff: Means over the classes that appear.
    """

    frames: int
    all: Quality
    things: Quality
    stuff: Quality


@dataclass(frozen=True)
class VideoClassScores:
    """Scores of one class in 0 … 1; NaN if the class does not appear.

    Attributes:
        vpq: Mean of the VPQs for the lengths of windows in which the class appears.
        by_window: VPQ for each length of windows; NaN for those in which the class does not appear, because all videos
            with it are shorter.
        iou: Pixel IoU.
    """

    vpq: float
    by_window: tuple[float, ...]
    iou: float


@dataclass(frozen=True)
class VideoScores:
    """Scores of videos, in 0 … 1; NaN if there is nothing to count.

    Attributes:
        vpq, vpq_things, vpq_stuff: Video panoptic quality, the mean over the lengths of windows.
        windows: VPQ for each length of windows.
        stq: Segmentation and tracking quality, √(aq · sq).
        aq: Association quality, the mean over the true things of all videos.
        sq: Segmentation quality, the mean pixel IoU over the classes that appear.
        per_class: Scores by class name.
        clips: Scores of each video.
    """

    vpq: float
    vpq_things: float
    vpq_stuff: float
    windows: tuple[WindowQuality, ...]
    stq: float
    aq: float
    sq: float
    per_class: dict[str, VideoClassScores]
    clips: tuple[ClipScores, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values under the same names, with ``None`` in place of NaN, which JSON does not support."""
        plain: dict[str, Any] = without_nan(asdict(self))
        return plain

    def to_json(self) -> str:
        """Return the JSON text, with one line per class, window and video."""
        return json_lines(self.to_dict()) + "\n"


class VideoEvaluator:
    """VPQ and STQ, accumulated frame by frame.

    VPQ is the panoptic quality of the tubes in all windows of k consecutive frames of a video, matched like the
    segments of an image, and its mean over k. AQ is the mean over the true things g of
    Σ_p |p ∩ g| · IoU(p, g) / |g| over the predicted things p of the whole video, whatever their class. Predictions on
    true crowd do not count, predictions on void do, as in the implementation of the authors. SQ is the mean IoU of the
    classes without the pixels that are void in the truth.

    Args:
        num_classes: Number of stuff and thing classes C.
        num_stuff: Number of stuff classes, which come first.
        windows: Lengths of the windows in frames, each at least 1.
    """

    def __init__(self, num_classes: int, num_stuff: int, windows: Sequence[int] = WINDOWS) -> None:
        self.num_classes, self.num_stuff, self.windows = num_classes, num_stuff, tuple(windows)
        self._qualities = [PanopticQuality(num_classes, num_stuff) for _ in self.windows]
        self._confusion = np.zeros((num_classes + 1, num_classes + 1), np.int64)
        self._clips: list[ClipScores] = []
        self._association, self._num_tubes = 0.0, 0
        self._begin_clip()

    def _begin_clip(self) -> None:
        self._recent: deque[IntArray] = deque(maxlen=max(self.windows))
        self._shared: Counter[tuple[int, int]] = Counter()
        self._num_frames = 0

    def update(self, true: IntArray, predicted: IntArray, pixels: IntArray) -> None:
        """Add the next frame of a video.

        Args:
            true: Keys of the true tubes of the N pairs of segments that share a pixel; see :func:`tube_keys`.
            predicted: Keys of the predicted tubes, N.
            pixels: Number of pixels that each pair shares, N.
        """
        self._recent.append(np.stack([true, predicted, pixels]))
        self._num_frames += 1
        for pair, number in zip(zip(true.tolist(), predicted.tolist(), strict=True), pixels.tolist(), strict=True):
            self._shared[pair] += number
        for length, quality in zip(self.windows, self._qualities, strict=True):
            if len(self._recent) >= length:
                window = np.concatenate(list(self._recent)[-length:], axis=1)
                quality.count(match(_tube_overlaps(window)))

    def end_clip(self, name: str) -> ClipScores:
        """Finish a video, and return its scores."""
        pairs = np.array(list(self._shared), np.int64).reshape(-1, 2).T
        pixels = np.array(list(self._shared.values()), np.int64)
        confusion = self._count_classes(pairs, pixels)
        association, num_tubes = self._associate(pairs, pixels)
        aq, sq = association / num_tubes if num_tubes else math.nan, _mean(_ious(confusion))
        clip = ClipScores(name, self._num_frames, num_tubes, math.sqrt(aq * sq), aq, sq)
        self._clips.append(clip)
        self._confusion += confusion
        self._association += association
        self._num_tubes += num_tubes
        self._begin_clip()
        return clip

    def _count_classes(self, pairs: IntArray, pixels: IntArray) -> IntArray:
        """Return the pixels of each true and predicted class, (C+1)×(C+1); the last class is void."""
        classes = np.minimum(pairs >> _CLASS_BITS, self.num_classes)
        confusion = np.zeros((self.num_classes + 1, self.num_classes + 1), np.int64)
        np.add.at(confusion, (classes[0], classes[1]), pixels)
        return confusion

    def _associate(self, pairs: IntArray, pixels: IntArray) -> tuple[float, int]:
        """Return the sum of the association qualities of the true things of a video, and their number."""
        classes = pairs >> _CLASS_BITS
        is_thing = (classes >= self.num_stuff) & (classes != VOID)
        crowd = is_thing[0] & (pairs[0] & _CROWD > 0)
        true, predicted = is_thing[0] & ~crowd, is_thing[1] & ~crowd
        sizes: tuple[Counter[int], Counter[int]] = Counter(), Counter()
        for side, chosen in enumerate((true, predicted)):
            for key, number in zip(pairs[side, chosen].tolist(), pixels[chosen].tolist(), strict=True):
                sizes[side][key] += number
        total, both = 0.0, true & predicted
        for (one, other), shared in zip(pairs[:, both].T.tolist(), pixels[both].tolist(), strict=True):
            union = sizes[0][one] + sizes[1][other] - shared
            total += shared * (shared / union) / sizes[0][one]
        return total, len(sizes[0])

    def compute(self, names: Sequence[str]) -> VideoScores:
        """Return the scores of all finished videos.

        Args:
            names: Names of the classes, C.
        """
        windows = tuple(
            WindowQuality(length, quality.over_all(), quality.over_things(), quality.over_stuff())
            for length, quality in zip(self.windows, self._qualities, strict=True)
        )
        ious = _ious(self._confusion)
        by_class = np.array([quality.pq.tolist() for quality in self._qualities])
        per_class = {
            name: VideoClassScores(_mean(values), tuple(values.tolist()), float(iou))
            for name, values, iou in zip(names, by_class.T, ious, strict=True)
        }
        aq = self._association / self._num_tubes if self._num_tubes else math.nan
        sq = _mean(ious)
        return VideoScores(
            vpq=float(np.mean([one.all.pq for one in windows])),
            vpq_things=float(np.mean([one.things.pq for one in windows])),
            vpq_stuff=float(np.mean([one.stuff.pq for one in windows])),
            windows=windows,
            stq=math.sqrt(aq * sq),
            aq=aq,
            sq=sq,
            per_class=per_class,
            clips=tuple(self._clips),
        )


def _tube_overlaps(window: IntArray) -> Overlaps:
    """Return the overlaps of the tubes in a window from keys and pixels of its frames, 3×N."""
    true_keys, true = np.unique(window[0], return_inverse=True)
    predicted_keys, predicted = np.unique(window[1], return_inverse=True)
    pairs, positions = np.unique(true * len(predicted_keys) + predicted, return_inverse=True)
    pixels = np.bincount(positions, window[2], len(pairs)).astype(np.int64)
    borders = np.zeros(len(pairs), np.int64)
    return Overlaps(
        true_keys >> _CLASS_BITS,
        true_keys & _CROWD > 0,
        predicted_keys >> _CLASS_BITS,
        np.zeros(len(true_keys), np.int64),
        np.zeros(len(predicted_keys), np.int64),
        *np.divmod(pairs, len(predicted_keys)),
        pixels,
        borders,
        borders,
        borders,
    )


def _ious(confusion: IntArray) -> FloatArray:
    """Return the IoU of each class, C; NaN for classes that do not appear. Void truth is ignored."""
    counted = confusion[:-1]
    hits = np.diagonal(counted)
    unions = counted.sum(1) + counted.sum(0)[:-1] - hits
    return np.where(unions > 0, hits / np.maximum(unions, 1), np.nan)


def _mean(values: FloatArray) -> float:
    """Return the mean of the values that are not NaN; NaN if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
