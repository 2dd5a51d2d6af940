"""Reading, the network and writing, each while the others are at work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from seamseg.data.images import BrokenImageError
from seamseg.io.workers import available_cores, ordered_map
from seamseg.predict.predictor import Prediction, Predictor, Prepared

MOST_THREADS = 8
"""Readers, and writers: with more of either, Python's own work is what they wait for."""


class Image(Protocol):
    """Something to segment."""

    def read(self) -> NDArray[np.uint8]:
        """H×W×3 RGB; raises a BrokenImageError."""


ImageT = TypeVar("ImageT", bound=Image)
Written = TypeVar("Written")


@dataclass(frozen=True)
class Predicted(Generic[ImageT]):
    """An image and what is in it.

    Attributes:
        source: where it comes from.
        picture: H×W×3 uint8 RGB.
        prediction: at its size.
    """

    source: ImageT
    picture: NDArray[np.uint8]
    prediction: Prediction


@dataclass(frozen=True)
class _Read(Generic[ImageT]):
    source: ImageT
    picture: NDArray[np.uint8]
    prepared: Prepared


def overlapped(
    predictor: Predictor,
    images: Iterable[ImageT],
    write: Callable[[Predicted[ImageT]], Written],
    on_broken: Callable[[ImageT, BrokenImageError], None],
    batch_size: int = 1,
) -> Iterator[Written]:
    """Segments images and writes what was found; yields, in their order, what ``write`` returns.

    At most a few images for each core are in memory, however many there are.

    Args:
        predictor: computes in this thread.
        images: are read in other threads.
        write: is called in other threads.
        on_broken: called in this thread with an image that cannot be read; the others go on.
        batch_size: images that the network sees at a time. Only neighbours of one size share a batch, so that no answer
            depends on it.

    Raises:
        OSError, ValueError: of ``write``.
    """
    threads = num_threads()
    read = ordered_map(partial(_read, predictor), images, threads=threads, ahead=batch_size + threads)
    found = _predicted(predictor, _whole(read, on_broken), batch_size)
    return ordered_map(write, found, threads=threads, ahead=batch_size + threads)


def num_threads() -> int:
    """Readers, and writers: one for each core."""
    return min(MOST_THREADS, available_cores())


def _read(predictor: Predictor, image: ImageT) -> _Read[ImageT] | tuple[ImageT, BrokenImageError]:
    try:
        picture = image.read()
    except BrokenImageError as error:
        return image, error
    return _Read(image, picture, predictor.prepare(picture))


def _whole(
    read: Iterable[_Read[ImageT] | tuple[ImageT, BrokenImageError]],
    on_broken: Callable[[ImageT, BrokenImageError], None],
) -> Iterator[_Read[ImageT]]:
    for one in read:
        if isinstance(one, _Read):
            yield one
        else:
            on_broken(*one)


def _predicted(predictor: Predictor, read: Iterable[_Read[ImageT]], batch_size: int) -> Iterator[Predicted[ImageT]]:
    for batch in _batches(read, batch_size):
        found = predictor.predict([one.prepared for one in batch])
        yield from (Predicted(one.source, one.picture, what) for one, what in zip(batch, found, strict=True))


def _batches(read: Iterable[_Read[ImageT]], batch_size: int) -> Iterator[list[_Read[ImageT]]]:
    """Neighbours of the same shapes, at most ``batch_size``."""
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
