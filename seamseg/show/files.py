"""Pairs of panoptic files as pictures, without the photographs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.data.formats.coco_json import ListedSegments, PanopticFiles
from seamseg.metrics.analysis import WorstImage
from seamseg.metrics.segments import Segments
from seamseg.score import read_segments
from seamseg.show.album import smaller
from seamseg.structures import VOID, Categories, PanopticSegmentation
from seamseg.visualization.contact_sheet import SheetRow, contact_sheet
from seamseg.visualization.images import Picture

_RIGHT, _WRONG, _UNPREDICTED, _UNKNOWN = (214, 224, 218), (196, 69, 37), (201, 140, 28), (70, 76, 84)


def file_sheet(truth: PanopticFiles, results: PanopticFiles, worst: Sequence[WorstImage], column_width: int) -> Picture:
    """Draws images in three columns: where the classes of pixels agree, the annotation, the result.

    Where they agree is light, a wrong class is red, what is predicted as no class is amber, unknown pixels are dark.

    Args:
        truth, results: both have the images.
        worst: which to draw, in their order; at least one.
        column_width: in pixels.
    """
    rows = [
        _row(truth.images[one.image_id], results.images[one.image_id], truth.categories, one.pq, column_width)
        for one in worst
    ]
    return contact_sheet(rows, truth.categories, column_width, first="Agreement of classes")


def _row(true: ListedSegments, predicted: ListedSegments, categories: Categories, pq: float, width: int) -> SheetRow:
    sides = [read_segments(listed) for listed in (true, predicted)]
    picture = _agreement(*(side.class_map().numpy() for side in sides))
    scores = np.where(np.isnan(predicted.scores), 1, predicted.scores)
    shown = _segmentation(sides[0], np.ones(len(true.ids))), _segmentation(sides[1], scores)
    return smaller(SheetRow(str(true.image_id), picture, shown[0], shown[1], pq), width)


def _agreement(true: NDArray[np.int64], predicted: NDArray[np.int64]) -> Picture:
    picture = np.full((*true.shape, 3), _WRONG, np.uint8)
    picture[true == predicted] = _RIGHT
    picture[predicted == VOID] = _UNPREDICTED
    picture[true == VOID] = _UNKNOWN
    return picture


def _segmentation(segments: Segments, scores: NDArray[np.float64]) -> PanopticSegmentation:
    return PanopticSegmentation(segments.ids, segments.classes, torch.from_numpy(scores).float(), segments.crowd)
