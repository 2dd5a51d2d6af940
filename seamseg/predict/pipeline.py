"""Prediction pipeline: images are read, predicted on and written at the same time, each image in one of the stages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.data.image_rows import ImageRows
from seamseg.errors import BrokenImageError
from seamseg.io.workers import available_cores, ordered_map
from seamseg.predict.outputs import OutputKind
from seamseg.predict.predictor import Prediction, Predictor, Prepared
from seamseg.predict.results_folder import Mode, ResultsFolder
from seamseg.predict.tiled import OnTile, TiledPredictor, ignore_tile
from seamseg.structures import Categories

MOST_THREADS = 8
"""Maximum number of reading threads, and of writing threads; more would only wait for the interpreter."""

_END = 1 << 20  # bytes
_VERSION = 1  # increase when outputs are written differently, so that older folders are not resumed

ImageT = TypeVar("ImageT")
Written = TypeVar("Written")


@dataclass(frozen=True)
class PredictionJob:
    """Settings of one process of a run.

    Attributes:
        predictor: Predictor on the device of this process.
        folder: Folder of the results.
        mode: How to treat a folder that is not empty.
        info: Entries of ``info`` in ``panoptic.json``.
        batch_size: Maximum number of images, or of tiles of one image, in one batch of the network.
        track_gap: Maximum number of consecutive frames in which a thing is not seen and keeps its id; None if things
            are not tracked.
        on_tile: Called after each tile of a large image.
    """

    predictor: Predictor
    folder: ResultsFolder
    mode: Mode
    info: Mapping[str, Any]
    batch_size: int = 1
    track_gap: int | None = None
    on_tile: OnTile = ignore_tile


def fingerprint(
    predictor: Predictor,
    categories: Categories,
    kinds: Sequence[OutputKind],
    video_path: Path | None = None,
    track_gap: int | None = None,
) -> str:
    """Return a digest of everything that the results of a run depend on, apart from its images.

    It covers weights, classes, thresholds, sizes, augmentation, tiles, precision and kinds of output.

    Args:
        predictor: Predictor of the run.
        categories: Categories of its network.
        kinds: Kinds of output.
        video_path: Video to segment, identified by its content; None for images.
        track_gap: See :class:`PredictionJob`.
    """
    selector, transform = predictor.selector, predictor.transform
    parameters = [
        _VERSION,
        sorted(kinds),
        categories.to_list(),
        repr(predictor.fusion),
        repr(predictor.augmentation),
        predictor.precision,
        None if selector is None else [selector.nms_threshold, selector.score_threshold, selector.max_predictions],
        [transform.shortest_side, transform.longest_side],
        [transform.normalize.mean.tolist(), transform.normalize.std.tolist()],
        None if video_path is None else _ends(video_path),
    ]
    if track_gap is not None:
        parameters += [track_gap, None if video_path is None else video_path.stem]
    if predictor.tiling is not None:
        parameters.append(repr(predictor.tiling))
    digest = hashlib.sha256(json.dumps(parameters).encode())
    for name, tensor in sorted(predictor.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _ends(video_path: Path) -> list[str | int]:
    """Return the size of a file and a digest of its first and last MiB, which are fast to read and identify a video."""
    size = video_path.stat().st_size
    with video_path.open("rb") as file:
        beginning = file.read(_END)
        file.seek(max(0, size - _END))
        return [size, hashlib.sha256(beginning + file.read(_END)).hexdigest()]


@dataclass(frozen=True)
class Predicted(Generic[ImageT]):
    """An image and its prediction.

    Attributes:
        source: Image as it was given to :func:`overlapped`.
        picture: Pixels, H×W×3 uint8 RGB; without rows if the image was read row by row.
        prediction: Prediction at the size of the image.
        rows: File that was read row by row; None if the image was read whole.
    """

    source: ImageT
    picture: NDArray[np.uint8]
    prediction: Prediction
    rows: ImageRows | None = None


@dataclass(frozen=True)
class _Read(Generic[ImageT]):
    source: ImageT
    picture: NDArray[np.uint8]
    prepared: Prepared
    rows: ImageRows | None = None


def overlapped(
    job: PredictionJob,
    images: Iterable[ImageT],
    read: Callable[[ImageT], NDArray[np.uint8] | ImageRows],
    write: Callable[[Predicted[ImageT]], Written],
    on_broken: Callable[[ImageT, BrokenImageError], None],
    in_order: Callable[[ImageT, Prediction], Prediction] | None = None,
) -> Iterator[Written]:
    """Read, segment and write images, and yield the results of ``write`` in the order of the images.

    Only a few images per core are in memory, however many there are. With tiles, one image is predicted on while the
    one before it is written and the next one is read.

    Args:
        job: Predictor, which is called in this thread, and batch size. Only consecutive images of one size share a
            batch, so the batch size does not change the predictions.
        images: Images to segment, in any form that ``read`` accepts.
        read: Reads the pixels of an image, H×W×3 uint8 RGB, or opens it for reading them later; called in other
            threads.
        write: Writes the prediction of an image; called in other threads.
        on_broken: Called in this thread with an image that cannot be read; such images are skipped.
        in_order: Changes the prediction of an image; called in this thread, in the order of the images.

    Raises:
        OSError, ValueError: Errors of ``write``.
    """
    threads, batch_size, ahead = num_threads(), job.batch_size, job.batch_size + num_threads()
    if isinstance(job.predictor, TiledPredictor):
        threads, batch_size, ahead = 1, 1, 1
    prepared = ordered_map(partial(_read, job.predictor, read), images, threads=threads, ahead=ahead)
    found = _predicted(job, _readable(prepared, on_broken), batch_size, on_broken)
    if in_order is not None:
        found = (replace(one, prediction=in_order(one.source, one.prediction)) for one in found)
    return ordered_map(write, found, threads=threads, ahead=ahead)


def num_threads() -> int:
    """Return the number of reading threads, and of writing threads: one per core, up to :data:`MOST_THREADS`."""
    return min(MOST_THREADS, available_cores())


def _read(
    predictor: Predictor, read: Callable[[ImageT], NDArray[np.uint8] | ImageRows], image: ImageT
) -> _Read[ImageT] | tuple[ImageT, BrokenImageError]:
    try:
        picture = read(image)
        if isinstance(picture, np.ndarray):
            return _Read(image, picture, predictor.prepare(picture))
        assert isinstance(predictor, TiledPredictor), "only tiles are read row by row"
        return _Read(image, np.zeros((0, picture.size[1], 3), np.uint8), predictor.prepare(picture), picture)
    except BrokenImageError as error:
        return image, error


def _readable(
    read: Iterable[_Read[ImageT] | tuple[ImageT, BrokenImageError]],
    on_broken: Callable[[ImageT, BrokenImageError], None],
) -> Iterator[_Read[ImageT]]:
    for one in read:
        if isinstance(one, _Read):
            yield one
        else:
            on_broken(*one)


def _predicted(
    job: PredictionJob,
    read: Iterable[_Read[ImageT]],
    batch_size: int,
    on_broken: Callable[[ImageT, BrokenImageError], None],
) -> Iterator[Predicted[ImageT]]:
    for batch in _batches(read, batch_size):
        prepared = [one.prepared for one in batch]
        if isinstance(job.predictor, TiledPredictor):
            try:
                predictions = job.predictor.predict(prepared, job.batch_size, job.on_tile)
            except BrokenImageError as error:  # further down in a file that is read row by row
                on_broken(batch[0].source, error)
                continue
        else:
            predictions = job.predictor.predict(prepared)
        pairs = zip(batch, predictions, strict=True)
        yield from (Predicted(one.source, one.picture, prediction, one.rows) for one, prediction in pairs)


def _batches(read: Iterable[_Read[ImageT]], batch_size: int) -> Iterator[list[_Read[ImageT]]]:
    """Yield batches of consecutive images of the same shapes, at most ``batch_size`` in each."""
    batch: list[_Read[ImageT]] = []
    for one in read:
        if batch and one.prepared.shapes != batch[0].prepared.shapes:
            yield batch
            batch = []
        batch.append(one)
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch
