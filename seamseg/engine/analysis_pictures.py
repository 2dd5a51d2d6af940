"""Pictures of an analysis and of a confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from seamseg.metrics.analysis import SIZE_LIMITS, Analysis, ClassOutcomes, SizeQuality
from seamseg.metrics.calibration import Calibration, ScoreCalibration
from seamseg.metrics.lost_things import STAGES, LostThings
from seamseg.metrics.scores import percent
from seamseg.structures.categories import Color
from seamseg.visualization.bars import BarGroup, StackedBar, grouped_bars, stacked_bars
from seamseg.visualization.calibration_picture import CalibrationRow, calibration_picture
from seamseg.visualization.confusion_picture import confusion_picture
from seamseg.visualization.images import Picture

NUM_CLASSES = 24
"""Maximum number of classes in the picture of outcomes; those that lose the most segments are shown."""

_SERIES: tuple[tuple[str, Color], ...] = (("all", (70, 78, 88)), ("things", (23, 107, 135)), ("stuff", (110, 142, 72)))
_PARTS: tuple[tuple[str, Color], ...] = (
    ("matched", (62, 124, 86)),
    ("localization", (201, 140, 28)),
    ("classification", (196, 69, 37)),
    ("missed", (120, 62, 108)),
)
_STAGE_COLORS: tuple[Color, ...] = ((70, 120, 168), (201, 140, 28), (196, 69, 37), (150, 112, 160), (120, 62, 108))


def semantic_pictures(confusion: NDArray[np.int64], names: Sequence[str]) -> dict[str, Picture]:
    """Draw the confusion of a semantic segmentation, C×(C+1) pixels: one picture, ``confusion_pixels``."""
    title = "Predicted class of pixels"
    return {"confusion_pixels": confusion_picture(confusion, names, title, "void", "pixels")}


def analysis_pictures(analysis: Analysis) -> dict[str, Picture]:
    """Draw an analysis: pictures by name, ``sizes``, ``outcomes``, ``confusion_segments`` and ``confusion_pixels``."""
    confusion = analysis.confusion
    num = len(confusion.classes)
    return {
        "sizes": _sizes(analysis.by_size),
        "outcomes": _outcomes(analysis.outcomes),
        "confusion_segments": confusion_picture(
            confusion.segments[:num], confusion.classes, "Predicted class of true segments", "missed", "segments"
        ),
        **semantic_pictures(confusion.pixels, confusion.classes),
    }


def lost_things_picture(lost: Mapping[str, LostThings]) -> Picture:
    """Draw the stages at which the things of each class were lost, the classes with the most losses first."""
    chosen = sorted(lost.items(), key=lambda entry: -entry[1].num_lost)[:NUM_CLASSES]
    bars = [
        StackedBar(name, [getattr(one, stage) for stage in STAGES], f"{one.num_lost} of {one.things} lost")
        for name, one in chosen
        if one.things
    ]
    parts = [(stage.replace("_", " "), color) for stage, color in zip(STAGES, _STAGE_COLORS, strict=True)]
    return stacked_bars(bars, parts, "Where missing things were lost", "by the stage that lost them")


def _sizes(by_size: dict[str, SizeQuality]) -> Picture:
    groups = []
    for name, quality in by_size.items():
        parts = [quality.all, quality.things, quality.stuff]
        label = f"{quality.tp + quality.fn} true, {quality.fp} false"
        groups.append(BarGroup(name, label, [part.pq for part in parts]))
    small, medium = (round(math.sqrt(limit)) for limit in SIZE_LIMITS)
    limits = f"small: below {small}² pixels, medium: below {medium}², large: all others"
    return grouped_bars(groups, _SERIES, "Panoptic quality by size", limits)


def _outcomes(outcomes: dict[str, ClassOutcomes]) -> Picture:
    """Draw the outcomes of the classes with the most false negatives, in this order."""
    seen = [(name, one) for name, one in outcomes.items() if one.matched + one.num_lost + one.num_false]
    chosen = sorted(seen, key=lambda entry: (-entry[1].num_lost, -entry[1].num_false))[:NUM_CLASSES]
    bars = [
        StackedBar(name, (one.matched, one.localization, one.classification, one.missed), _false_positives(one))
        for name, one in chosen
    ]
    subtitle = f"{len(chosen)} of {len(seen)} classes, most losses first" if len(chosen) < len(seen) else "by class"
    return stacked_bars(bars, _PARTS, "Outcomes of true segments", subtitle)


def _false_positives(outcomes: ClassOutcomes) -> str:
    return f"{outcomes.num_false} FP, {outcomes.duplicate} duplicate, {outcomes.background} background"


def calibration_charts(calibration: Calibration) -> dict[str, Picture]:
    """Draw reliability diagrams and risk-coverage curves: one picture, ``calibration``; none without predictions."""
    rows = []
    for name in ("things", "pixels"):
        found: ScoreCalibration | None = getattr(calibration, name)
        if found is not None:
            note = f"ECE {percent(found.all.ece)} %, accuracy {percent(found.all.accuracy)} % of {found.all.num:,}"
            curve = [(coverage, risk) for coverage, risk, _ in found.curve]
            area = f"AURC {percent(found.aurc, 2)} %, excess over the best order {percent(found.e_aurc, 2)} %"
            rows.append(CalibrationRow(name, note, found.bins, curve, area))
    return {"calibration": calibration_picture(rows)} if rows else {}
