"""Panoptic quality of maps in memory, as validation during training computes it, against torchmetrics."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.score_files import NUM_CLASSES, NUM_STUFF, cells
from benchmarks.table import Row
from benchmarks.timing import medians, timed
from seamseg.metrics.panoptic_quality import PanopticQuality
from seamseg.structures import VOID, PanopticSegmentation, Size

SIZE: Size = (1024, 2048)
NUM_SEGMENTS = 60
_WARM_UP = 1
_SLUG = "update-torchmetrics"
_WRONG = "the two sides compute different things"


def update_row(rounds: int, size: Size = SIZE, num_segments: int = NUM_SEGMENTS) -> Row:
    """Time the score of one image whose ids and classes are tensors.

    Args:
        rounds: Number of rounds that count.
        size: Height and width of the image.
        num_segments: Number of segments of the annotation and of the prediction.
    """
    try:
        metric = importlib.import_module("torchmetrics.detection").PanopticQuality
    except ImportError as error:
        return Row(_SLUG, f"not measured: torchmetrics is not installed ({error})", None, None, "ms", must=1 / 50)
    truth, prediction = a_pair(size, num_segments)
    colored = [_colors(side)[None] for side in (prediction, truth)]

    def ours() -> float:
        quality = PanopticQuality(NUM_CLASSES, NUM_STUFF)
        quality.update(prediction, truth)
        return quality.over_all().pq

    def peer() -> float:
        quality: Any = metric(set(range(NUM_STUFF, NUM_CLASSES)), set(range(NUM_STUFF)))
        quality.update(*colored)
        return float(quality.compute())

    assert abs(ours() - peer()) < 1e-6, _WRONG
    found = medians(
        {"ours": timed(lambda: None, lambda _: ours()), "peer": timed(lambda: None, lambda _: peer())}, rounds, _WARM_UP
    )
    measure = f"PQ of one pair of maps in memory, {size[1]}×{size[0]}, {num_segments} segments; torchmetrics"
    return Row(_SLUG, measure, found["ours"], found["peer"], "ms", must=1 / 50)


def a_pair(size: Size, num_segments: int) -> tuple[PanopticSegmentation, PanopticSegmentation]:
    """Return truth and prediction without void, which torchmetrics counts differently; one segment per stuff class."""
    generator = np.random.default_rng(0)
    ids = torch.from_numpy(cells(size, num_segments, generator))
    things = torch.from_numpy(generator.integers(NUM_STUFF, NUM_CLASSES, num_segments - NUM_STUFF))
    classes = torch.cat([torch.tensor([VOID]), torch.arange(NUM_STUFF), things])
    crowd = torch.zeros(len(classes), dtype=torch.bool)
    return PanopticSegmentation(ids, classes, crowd), PanopticSegmentation(ids.roll((5, -4), (0, 1)), classes, crowd)


def _colors(segments: PanopticSegmentation) -> Tensor:
    """Return class and id of every pixel, H×W×2."""
    return torch.stack([segments.semantics, segments.ids], -1)
