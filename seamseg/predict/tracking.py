"""Tracking of the things in predicted frames, with a record of the tracks after each frame to resume from."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence, Set
from dataclasses import replace
from itertools import groupby, takewhile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.algos.tracking import Tracker
from seamseg.io.files import atomic_write_unsynced
from seamseg.predict.outputs import Named
from seamseg.predict.predictor import Prediction
from seamseg.predict.results_folder import RECORDS_FOLDER
from seamseg.structures import VOID, Categories, PanopticSegmentation


def clip_of(name: str) -> str:
    """Return the name of the clip of a frame, such as ``street`` for ``street/000012``."""
    return name.rpartition("/")[0]


class FrameTracker:
    """Renumbering of the segments of one frame after another, so that ids are constant over a clip.

    Stuff has the number of its class plus 1 as its id, and so have pixels of a thing class that belong to no thing. The
    things follow, numbered in the order in which they appear in the clip.

    Args:
        folder: Results folder, in which a hidden folder holds the tracks after each frame.
        categories: Categories of the model.
        gap: Maximum number of consecutive frames in which a thing is not seen and keeps its id.

    Raises:
        SeamsegError: The package scipy is not installed.
    """

    def __init__(self, folder: Path, categories: Categories, gap: int) -> None:
        self._folder, self._categories, self._gap = folder / RECORDS_FOLDER, categories, gap
        self._clip: str | None = None
        self._tracker = self._new_tracker()
        self._restored: dict[str, Tracker] = {}

    def _new_tracker(self) -> Tracker:
        return Tracker(len(self._categories), self._gap)

    def kept_frames(self, frames: Sequence[Named], done: Set[str]) -> set[str]:
        """Return the names of the frames whose results can stay, and prepare to continue after them.

        Args:
            frames: All frames, clip by clip.
            done: Names of the frames that have results.

        Returns:
            The frames of complete clips, and of every other clip those that :meth:`num_resumable` counts.
        """
        kept = set[str]()
        for _, group in groupby(frames, lambda frame: clip_of(frame.name)):
            clip = list(group)
            leading = list(takewhile(lambda frame: frame.name in done, clip))
            number = len(clip) if len(leading) == len(clip) else self.num_resumable(leading)
            kept |= {frame.name for frame in clip[:number]}
        return kept

    def num_resumable(self, leading: Sequence[Named]) -> int:
        """Return after how many frames tracking can continue, and prepare to do so.

        Args:
            leading: Frames from the beginning of an unfinished clip that have results.
        """
        for number in range(len(leading), 0, -1):
            name = leading[number - 1].name
            if (tracker := self._recorded(name)) is not None:
                self._restored[clip_of(name)] = tracker
                return number
        return 0

    def _recorded(self, name: str) -> Tracker | None:
        """Return the tracker after a frame; None if its record is missing or damaged."""
        tracker = self._new_tracker()
        try:
            with np.load(self._path(name)) as arrays:
                tracker.restore({key: arrays[key] for key in arrays.files})
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
            return None
        return tracker

    def track(self, name: str, found: Prediction) -> Prediction:
        """Return the prediction for the next frame with constant ids, and record the tracks.

        Args:
            name: Name of the frame, ``CLIP/FRAME``.
            found: Prediction for the frame.

        Raises:
            OSError: The record cannot be written.
        """
        clip = clip_of(name)
        if clip != self._clip:
            self._tracker = self._restored.pop(clip) if clip in self._restored else self._new_tracker()
            self._clip = clip
        tracked = renumbered(found.segmentation, self._tracker, self._categories)
        state = self._tracker.state()
        atomic_write_unsynced(self._path(name), lambda path: _save(path, state))
        return replace(found, segmentation=tracked)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.tracks"


def _save(path: Path, state: dict[str, NDArray[np.generic]]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, **state)  # type: ignore[arg-type]


def renumbered(segmentation: PanopticSegmentation, tracker: Tracker, categories: Categories) -> PanopticSegmentation:
    """Return a segmentation whose things have the ids and the classes of their tracks.

    Args:
        segmentation: Segmentation of the next frame, on the CPU.
        tracker: Tracker of the clip.
        categories: Categories of the classes.
    """
    classes, crowd = segmentation.classes.numpy(), segmentation.crowd.numpy()
    scores, ids = segmentation.filled_scores.numpy(), segmentation.ids.numpy().astype(np.int64)
    is_thing = (classes >= categories.num_stuff) & (classes != VOID) & ~crowd
    things = np.flatnonzero(is_thing).tolist()
    found = tracker.update(ids, {one: int(classes[one]) for one in things}, {one: float(scores[one]) for one in things})
    num_classes = len(categories)
    numbers = np.where(classes == VOID, 0, classes + 1)
    numbers[is_thing] = 0  # things without a pixel
    new_classes = np.full(num_classes + tracker.next_number, VOID, np.int64)
    new_crowd, new_scores = np.zeros(len(new_classes), np.bool_), np.zeros(len(new_classes), np.float32)
    for one, (track, category) in found.items():
        numbers[one] = num_classes + track
        new_classes[num_classes + track] = category
    known = np.flatnonzero(numbers)
    rest = known[~is_thing[known]]
    new_classes[numbers[rest]] = classes[rest]
    new_crowd[numbers[rest]], new_scores[numbers[known]] = crowd[rest], scores[known]
    return PanopticSegmentation(
        torch.from_numpy(numbers[ids]), *map(torch.from_numpy, (new_classes, new_crowd, new_scores))
    )
