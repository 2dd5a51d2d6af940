"""Evaluation of results from any program in the COCO panoptic format, without a model."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.data.formats.coco_json import ListedSegments, PanopticFiles
from seamseg.data.image_header import size_in_png
from seamseg.data.png import MAX_SEGMENT_ID, read_panoptic_png
from seamseg.errors import DataError, NativeLibraryError
from seamseg.metrics.average_precision import segment_instances
from seamseg.metrics.calibration import CalibrationCounter, CalibrationState, segment_cases
from seamseg.metrics.evaluator import EvaluatorState, PanopticEvaluator
from seamseg.metrics.matching import match
from seamseg.metrics.overlaps import Overlaps
from seamseg.metrics.scores import Scores
from seamseg.ops.overlaps import border_band, map_overlaps, png_overlaps
from seamseg.structures import VOID, ImageId, ImageInstances, PanopticSegmentation

IntArray = NDArray[np.int64]
ListedPair = tuple[ListedSegments, ListedSegments]
"""Annotation and results of an image."""

_IMAGES_AT_ONCE = 64  # that NumPy matches at once, which takes about as long as matching one or two


@dataclass(frozen=True)
class WrongArea:
    """A segment with an area in the JSON file that differs from its number of pixels in the PNG.

    Attributes:
        side: ``annotation`` or ``results``.
        image_id: Id of the image.
        segment_id: Id of the segment.
        stated: Area in the JSON file, in pixels.
        counted: Number of pixels in the PNG.
    """

    side: str
    image_id: ImageId
    segment_id: int
    stated: float
    counted: int


@dataclass(frozen=True)
class CalibrationRequest:
    """Request for the calibration of results.

    Attributes:
        confidence_folder: Folder of gray PNGs with the confidence of every pixel, named like the PNGs of the results;
            None if there are none.
    """

    confidence_folder: Path | None = None


@dataclass(frozen=True)
class FileScores:
    """Result of an evaluation of files.

    Attributes:
        scores: Scores computed only from the PNGs; areas in the JSON files are not used.
        wrong_areas: Segments with an area in the JSON file that differs from the PNG.
    """

    scores: Scores
    wrong_areas: list[WrongArea]


def score_files(
    truth: PanopticFiles,
    results: PanopticFiles,
    boundary: bool = True,
    progress: Callable[[int], None] | None = None,
    num_threads: int | None = None,
    calibration: CalibrationRequest | None = None,
) -> FileScores:
    """Score results at the size of the annotation.

    Average precision is computed if every predicted thing has a score; otherwise it is NaN. So is the calibration of
    things.

    Args:
        truth: Annotation. Each of its images is scored.
        results: Results for the same images. Results for other images are ignored.
        boundary: Whether to also compute boundary PQ.
        progress: Called with the number of finished images, from any thread.
        num_threads: Number of threads. None starts one per core that this process may use.
        calibration: Calibration to compute, too; None computes none.

    Raises:
        SeamsegError: An image has no result, a PNG is broken or contains ids that its JSON file does not list, the
            PNGs of an image differ in size, or there is nothing to compute the calibration from.
        FileNotFoundError: A PNG is missing.
    """
    pairs = [(image, _result_of(image, results)) for image in truth.images.values()]
    num_threads = num_threads or len(os.sched_getaffinity(0))
    num_shares = max(num_threads, math.ceil(len(pairs) / _IMAGES_AT_ONCE))
    scored = _all_scored([result for _, result in pairs], truth.categories.num_stuff)
    if calibration is not None and calibration.confidence_folder is None and not scored:
        raise DataError(
            f"{results.json_file} contains no things, or some without a score; calibration needs the scores of all "
            "things, or confidence maps; `seamseg predict --write panoptic,confidence` writes both"
        )
    work = _Work(truth, scored, boundary, progress, calibration)
    with ThreadPoolExecutor(num_threads) as pool:
        parts = list(pool.map(work.share, [pairs[part::num_shares] for part in range(min(num_shares, len(pairs)))]))
    evaluator = work.evaluator()
    evaluator.merge(part.state for part in parts)
    scores = evaluator.compute(truth.categories.names)
    if calibration is not None:
        counter = CalibrationCounter(len(truth.categories))
        counter.merge(part.calibration for part in parts)
        scores = replace(scores, calibration=counter.compute(truth.categories.names))
    wrong_areas = sorted((wrong for part in parts for wrong in part.wrong_areas), key=lambda wrong: str(wrong.image_id))
    return FileScores(scores, wrong_areas)


@dataclass(frozen=True)
class _Share:
    """Result of some of the images."""

    state: EvaluatorState
    calibration: CalibrationState
    wrong_areas: list[WrongArea]


def _result_of(image: ListedSegments, results: PanopticFiles) -> ListedSegments:
    if image.image_id not in results.images:
        raise DataError(f"{results.json_file} has no result for image {image.image_id}; every image needs a result")
    return results.images[image.image_id]


def _all_scored(results: Sequence[ListedSegments], num_stuff: int) -> bool:
    """Whether there are any predicted things, and all of them have scores."""
    scores = [result.scores[(result.classes >= num_stuff) & (result.classes != VOID)] for result in results]
    together = np.concatenate(scores)
    return len(together) > 0 and not bool(np.isnan(together).any())


class _Work:
    """Scores each share of the images in its own thread; reading and counting release the GIL."""

    def __init__(
        self,
        truth: PanopticFiles,
        scored: bool,
        boundary: bool,
        progress: Callable[[int], None] | None,
        calibration: CalibrationRequest | None,
    ) -> None:
        self._categories, self._scored, self._boundary, self._progress = truth.categories, scored, boundary, progress
        self._calibration = calibration
        self._num_done = 0

    def evaluator(self) -> PanopticEvaluator:
        return PanopticEvaluator(len(self._categories), self._categories.num_stuff, self._boundary)

    def share(self, pairs: Sequence[ListedPair]) -> _Share:
        evaluator, tables, instances = self.evaluator(), list[IntArray](), list[ImageInstances]()
        counter = CalibrationCounter(len(self._categories))
        for pair in pairs:
            tables.append(shared_pixels(*pair, self._boundary))
            if self._scored:
                instances.append(self._instances(*pair))
            if self._calibration is not None and self._calibration.confidence_folder is not None:
                _add_pixels(counter, *pair, self._calibration.confidence_folder)
            self._num_done += 1
            if self._progress is not None:
                self._progress(self._num_done)
        overlaps = _join(pairs, tables)
        evaluator.count([true.image_id for true, _ in pairs], overlaps, instances)
        if self._calibration is not None and self._scored:
            counter.add_things(segment_cases(match(overlaps), instances, self._categories.num_stuff))
        return _Share(evaluator.state, counter.state, _wrong_areas(pairs, overlaps))

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


def _add_pixels(counter: CalibrationCounter, true: ListedSegments, predicted: ListedSegments, folder: Path) -> None:
    true_classes, classes = (read_segmentation(listed).semantics.numpy() for listed in (true, predicted))
    counter.add_pixels(read_confidence(folder / predicted.png_file, true_classes.shape), classes, true_classes)


def read_confidence(path: Path, size: tuple[int, ...]) -> NDArray[np.uint16]:
    """Read a confidence map: a gray PNG whose largest value, 255 or 65535, is 1.

    Args:
        path: Path of the PNG.
        size: Height and width that it must have.

    Returns:
        H×W levels, see :func:`~seamseg.metrics.calibration.confidence_levels`.

    Raises:
        SeamsegError: The file is broken, is not gray, does not have 8 or 16 bits, or has another size.
        FileNotFoundError: The file is missing.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"the confidence map {path} is missing; every scored image needs one, as `seamseg predict --write "
            "panoptic,confidence` writes it"
        )
    levels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if levels is None:
        raise DataError(f"the confidence map {path} cannot be decoded; write it again")
    if levels.shape != size or levels.dtype not in (np.uint8, np.uint16):
        found = "×".join(map(str, levels.shape))
        raise DataError(
            f"the confidence map {path} is {found} {levels.dtype}, but must be gray, with 8 or 16 bits, and have the "
            f"size of its image, {size[0]}×{size[1]} (height×width)"
        )
    return np.asarray(levels.astype(np.uint16) * 257 if levels.dtype == np.uint8 else levels, np.uint16)


def image_overlaps(true: ListedSegments, predicted: ListedSegments, boundary: bool) -> Overlaps:
    """Count the pixels that true and predicted segments of an image share, from the PNGs.

    Segments are identified by their positions in the lists.

    Args:
        true: Annotated segments of the image.
        predicted: Predicted segments of the image.
        boundary: Whether to also count the pixels near segment boundaries.

    Raises:
        SeamsegError: A PNG is broken or contains ids that are not listed, or the two PNGs differ in size.
        FileNotFoundError: A PNG is missing.
    """
    return _join([(true, predicted)], [shared_pixels(true, predicted, boundary)])


def _join(pairs: Sequence[ListedPair], tables: Sequence[IntArray]) -> Overlaps:
    """Return the overlaps of several images from their tables of shared pixels, which contain ids.

    Raises:
        SeamsegError: A PNG contains ids that are not listed.
    """
    table, (true, predicted) = np.concatenate(tables), zip(*pairs, strict=True)
    images = np.repeat(np.arange(len(pairs)), [len(one) for one in tables])
    for column, listed in enumerate((true, predicted)):
        table[:, column] = segment_positions(table[:, column], images, listed)
    classes, crowd = (np.concatenate([getattr(one, name) for one in true]) for name in ("classes", "crowd"))
    predicted_classes = np.concatenate([one.classes for one in predicted])
    return Overlaps(classes, crowd, predicted_classes, _image_numbers(true), _image_numbers(predicted), *table.T)


def shared_pixels(true: ListedSegments, predicted: ListedSegments, boundary: bool) -> IntArray:
    """Return the table of :func:`map_overlaps` of the ids in two PNGs.

    Args:
        true: Annotated segments of an image.
        predicted: Predicted segments of the image.
        boundary: Whether to also count the pixels near segment boundaries.

    Raises:
        SeamsegError: A PNG is broken, or the two PNGs differ in size.
        FileNotFoundError: A PNG is missing.
    """
    files = [_content(listed) for listed in (true, predicted)]
    band = border_band(size_in_png(bytes(files[0][:24])) or (1, 1)) if boundary else 0
    try:
        one, other = (torch.frombuffer(content, dtype=torch.uint8) for content in files)
        table = png_overlaps(one, other, band)
    except NativeLibraryError:
        raise
    except ValueError:  # the slower reader supports more kinds of PNG and has better error messages
        table = _overlaps_of_maps(true, predicted, boundary)
    found: IntArray = table.numpy()
    return found


def _content(listed: ListedSegments) -> bytearray:
    """Return the bytes of the PNG, read in a third of the time of ``Path.read_bytes`` and ``numpy.fromfile``."""
    with open(os.path.join(listed.png_folder, listed.png_file), "rb", buffering=0) as file:
        return bytearray(file.read())


def _overlaps_of_maps(true: ListedSegments, predicted: ListedSegments, boundary: bool) -> torch.Tensor:
    maps = [torch.from_numpy(read_panoptic_png(listed.png)) for listed in (true, predicted)]
    sizes = [f"{one.shape[0]}×{one.shape[1]}" for one in maps]
    if sizes[0] != sizes[1]:
        raise DataError(
            f"image {true.image_id}: {predicted.png} is {sizes[1]} (height×width), but the annotation {true.png} is "
            f"{sizes[0]}; results are scored at the size of the annotation"
        )
    return map_overlaps(maps[0], maps[1], border_band((maps[0].shape[0], maps[0].shape[1])) if boundary else 0)


def _image_numbers(listed: Sequence[ListedSegments]) -> IntArray:
    """Return the number of the image of each segment."""
    return np.repeat(np.arange(len(listed)), [len(one.ids) for one in listed])


def segment_positions(ids: IntArray, images: IntArray | int, listed: Sequence[ListedSegments]) -> IntArray:
    """Look up the positions of PNG ids in the joined lists of segments.

    Args:
        ids: Ids of any shape.
        images: Index of the image of each id.
        listed: Segments of each image.

    Raises:
        SeamsegError: An id is not listed.
    """
    num_ids = MAX_SEGMENT_ID + 1
    known = _image_numbers(listed) * num_ids + np.concatenate([one.ids for one in listed])
    wanted = images * num_ids + ids
    order = np.argsort(known)
    ascending = known[order]
    positions = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    foreign = np.unique(wanted[ascending[positions] != wanted])
    if len(foreign):
        image = foreign[0] // num_ids
        unknown = foreign[foreign // num_ids == image] % num_ids
        some = ", ".join(str(value) for value in unknown[:5]) + (", …" if len(unknown) > 5 else "")
        raise DataError(
            f"{listed[image].png} of image {listed[image].image_id} contains segment id(s) {some} that its JSON file "
            "does not list"
        )
    return order[positions]


def _wrong_areas(pairs: Sequence[ListedPair], overlaps: Overlaps) -> list[WrongArea]:
    wrong = []
    for side, listed, images, segments in (
        ("annotation", [true for true, _ in pairs], overlaps.true_images, overlaps.true),
        ("results", [predicted for _, predicted in pairs], overlaps.predicted_images, overlaps.predicted),
    ):
        ids, stated = (np.concatenate(arrays) for arrays in zip(*((one.ids, one.areas) for one in listed), strict=True))
        counted = np.bincount(segments, overlaps.pixels, len(ids))
        wrong += [
            WrongArea(side, listed[images[i]].image_id, int(ids[i]), float(stated[i]), int(counted[i]))
            for i in np.flatnonzero((stated >= 0) & (stated != counted))
        ]
    return wrong


def read_segmentation(listed: ListedSegments) -> PanopticSegmentation:
    """Read the segments in a PNG; their ids become positions in the list, and missing scores become 1.

    Raises:
        SeamsegError: The PNG is broken or missing, or contains ids that are not listed.
    """
    ids = segment_positions(read_panoptic_png(listed.png).astype(np.int64), 0, [listed])
    scores = torch.from_numpy(np.where(np.isnan(listed.scores), 1.0, listed.scores)).float()
    return PanopticSegmentation(
        torch.from_numpy(ids), torch.from_numpy(listed.classes), torch.from_numpy(listed.crowd), scores
    )
