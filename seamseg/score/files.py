"""Files against files: scores of anybody's results in the COCO panoptic format, without a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.data.formats.coco_json import ListedSegments, PanopticFiles
from seamseg.data.image_header import size_in_png
from seamseg.data.png import read_panoptic_png
from seamseg.errors import DataError
from seamseg.metrics.average_precision import ImageInstances, segment_instances
from seamseg.metrics.evaluator import PanopticEvaluator
from seamseg.metrics.overlaps import Overlaps
from seamseg.metrics.scores import Scores
from seamseg.ops.overlaps import border_band, map_overlaps, png_overlaps
from seamseg.structures import VOID, ImageId, PanopticSegmentation

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class WrongArea:
    """A segment whose JSON file states another area than its PNG has.

    Attributes:
        side: ``annotation`` or ``results``.
        image_id, segment_id: which one.
        stated, counted: pixels.
    """

    side: str
    image_id: ImageId
    segment_id: int
    stated: float
    counted: int


@dataclass(frozen=True)
class FileScores:
    """What comes of scoring files.

    Attributes:
        scores: counted from the PNGs alone.
        wrong_areas: where the JSON files disagree with them.
    """

    scores: Scores
    wrong_areas: list[WrongArea]


def score_files(
    truth: PanopticFiles,
    results: PanopticFiles,
    boundary: bool = True,
    progress: Callable[[int], None] | None = None,
    num_threads: int | None = None,
) -> FileScores:
    """Scores results at the size of the annotation.

    Average precision is computed where every predicted thing carries a score; it is NaN otherwise.

    Args:
        truth: every image of it is scored.
        results: of the same images; others are not looked at.
        boundary: whether to compute boundary PQ too.
        progress: told now and then how many images are done, from any thread.
        num_threads: None means one per core that this process may use.

    Raises:
        SeamsegError: an image has no result, a PNG holds ids that its JSON file does not list or is broken, or two PNGs
            of an image differ in size.
        FileNotFoundError: a PNG is missing.
    """
    pairs = [(image, _result_of(image, results)) for image in truth.images.values()]
    num_threads = num_threads or len(os.sched_getaffinity(0))
    work = _Work(truth, _all_scored([result for _, result in pairs], truth.categories.num_stuff), boundary, progress)
    with ThreadPoolExecutor(num_threads) as pool:
        parts = list(pool.map(work.share, [pairs[part::num_threads] for part in range(num_threads)]))
    evaluator = work.evaluator()
    evaluator.merge(part.state for part, _ in parts)
    wrong_areas = sorted((wrong for _, some in parts for wrong in some), key=lambda wrong: str(wrong.image_id))
    return FileScores(evaluator.compute(truth.categories.names), wrong_areas)


def _result_of(image: ListedSegments, results: PanopticFiles) -> ListedSegments:
    if image.image_id not in results.images:
        raise DataError(f"{results.json_file} has no result for image {image.image_id}; every image needs one")
    return results.images[image.image_id]


def _all_scored(results: Sequence[ListedSegments], num_stuff: int) -> bool:
    """Whether there are things, and all carry scores."""
    scores = [result.scores[(result.classes >= num_stuff) & (result.classes != VOID)] for result in results]
    together = np.concatenate(scores)
    return len(together) > 0 and not bool(np.isnan(together).any())


class _Work:
    """Scores shares of the images, each in its own thread: reading and counting let go of Python's lock."""

    def __init__(
        self, truth: PanopticFiles, scored: bool, boundary: bool, progress: Callable[[int], None] | None
    ) -> None:
        self._categories, self._scored, self._boundary, self._progress = truth.categories, scored, boundary, progress
        self._num_done = 0

    def evaluator(self) -> PanopticEvaluator:
        return PanopticEvaluator(len(self._categories), self._categories.num_stuff, self._boundary)

    def share(
        self, pairs: Sequence[tuple[ListedSegments, ListedSegments]]
    ) -> tuple[PanopticEvaluator, list[WrongArea]]:
        evaluator, wrong_areas = self.evaluator(), list[WrongArea]()
        for true, predicted in pairs:
            overlaps = image_overlaps(true, predicted, self._boundary)
            for side, listed, segments in (
                ("annotation", true, overlaps.true),
                ("results", predicted, overlaps.predicted),
            ):
                wrong_areas += _wrong_areas(side, listed, np.bincount(segments, overlaps.pixels, len(listed.ids)))
            instances = self._instances(true, predicted) if self._scored else None
            evaluator.count(true.image_id, overlaps, instances)
            self._num_done += 1
            if self._progress is not None:
                self._progress(self._num_done)
        return evaluator, wrong_areas

    def _instances(self, true: ListedSegments, predicted: ListedSegments) -> ImageInstances:
        num_stuff = self._categories.num_stuff
        sides = [read_segmentation(listed) for listed in (true, predicted)]
        objects = segment_instances(sides[0], num_stuff)
        return ImageInstances(
            true.image_id,
            sides[0].size,
            objects,
            segment_instances(sides[1], num_stuff, predicted.scores.tolist()),
        )


def image_overlaps(true: ListedSegments, predicted: ListedSegments, boundary: bool) -> Overlaps:
    """How the segments of an image share its pixels, from the PNGs; segments are told by their positions in the lists.

    Args:
        true, predicted: both sides of one image.
        boundary: whether to look at the segments' borders.

    Raises:
        SeamsegError: a PNG holds ids that are not listed or is broken, or the two differ in size.
        FileNotFoundError: a PNG is missing.
    """
    one, other = (torch.from_numpy(np.fromfile(listed.png, dtype=np.uint8)) for listed in (true, predicted))
    try:
        table = png_overlaps(
            one, other, border_band(size_in_png(one[:24].numpy().tobytes()) or (1, 1)) if boundary else 0
        )
    except ValueError:  # left to another reader, which knows more kinds or says what is wrong
        table = _overlaps_of_maps(true, predicted, boundary)
    found = table.numpy()
    for column, listed in enumerate((true, predicted)):
        found[:, column] = _positions(found[:, column], listed)
    return Overlaps.of_table(found, true.classes, true.crowd, predicted.classes)


def _overlaps_of_maps(true: ListedSegments, predicted: ListedSegments, boundary: bool) -> torch.Tensor:
    maps = [torch.from_numpy(read_panoptic_png(listed.png)) for listed in (true, predicted)]
    sizes = [f"{one.shape[0]}×{one.shape[1]}" for one in maps]
    if sizes[0] != sizes[1]:
        raise DataError(
            f"image {true.image_id}: {predicted.png} is {sizes[1]} (height×width), but the annotation {true.png} is "
            f"{sizes[0]}; results are scored at the size of the annotation"
        )
    return map_overlaps(maps[0], maps[1], border_band((maps[0].shape[0], maps[0].shape[1])) if boundary else 0)


def _positions(ids: IntArray, listed: ListedSegments) -> IntArray:
    """From ids in a PNG to positions in the list.

    Raises:
        SeamsegError: an id is not listed.
    """
    order = np.argsort(listed.ids)
    ascending = listed.ids[order]
    positions = np.minimum(np.searchsorted(ascending, ids), len(ascending) - 1)
    foreign = ascending[positions] != ids
    if foreign.any():
        unknown = np.unique(ids[foreign])
        some = ", ".join(str(value) for value in unknown[:5]) + (", …" if len(unknown) > 5 else "")
        raise DataError(
            f"{listed.png} of image {listed.image_id} holds segment id(s) {some} that its JSON file does not list"
        )
    return order[positions]


def _wrong_areas(side: str, listed: ListedSegments, counted: NDArray[Any]) -> list[WrongArea]:
    wrong = np.flatnonzero((listed.areas >= 0) & (listed.areas != counted))
    return [
        WrongArea(side, listed.image_id, int(listed.ids[i]), float(listed.areas[i]), int(counted[i])) for i in wrong
    ]


def read_segmentation(listed: ListedSegments) -> PanopticSegmentation:
    """Read the segments in a PNG; their ids become their positions in the list. The score is 1 where none is listed.

    Raises:
        SeamsegError: the PNG is broken or missing, or holds ids that are not listed.
    """
    ids = _positions(read_panoptic_png(listed.png).astype(np.int64), listed)
    scores = torch.from_numpy(np.where(np.isnan(listed.scores), 1.0, listed.scores)).float()
    return PanopticSegmentation(
        torch.from_numpy(ids), torch.from_numpy(listed.classes), torch.from_numpy(listed.crowd), scores
    )
