"""Prediction on a video, with records of the finished frames.

An unfinished video file cannot be extended. A resumed run therefore rewrites it from the start: it reads the
segmentations or objects of the first frames from the records, and draws them again.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, count, islice, takewhile
from operator import attrgetter
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.errors import DataError, SeamsegError
from seamseg.io.files import atomic_write_unsynced
from seamseg.io.journal import ItemOutput
from seamseg.io.progress import progress_bar
from seamseg.io.workers import ordered_map
from seamseg.predict.outputs import OutputWriter
from seamseg.predict.pipeline import Predicted, PredictionJob, num_threads, overlapped
from seamseg.predict.predictor import Prediction
from seamseg.predict.results_folder import OVERLAY_FILE, RECORDS_FOLDER, remove_records
from seamseg.predict.tracking import FrameTracker
from seamseg.predict.video_file import Video, VideoWriter
from seamseg.structures import DrawnObjects, Instance, PanopticSegmentation, RunLengthMask
from seamseg.visualization.images import Picture
from seamseg.visualization.objects import Drawn, draw
from seamseg.visualization.overlay import USUAL, Style


class FrameRecords:
    """Hidden folder with a small file per finished frame: arrays of a segmentation, or JSON of objects.

    Args:
        folder: Results folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / RECORDS_FOLDER

    def write(self, name: str, found: Drawn) -> None:
        """Save what the overlay of a frame shows.

        Args:
            name: Name of the frame, such as ``000012``.
            found: Segmentation or objects of the frame.

        Raises:
            OSError: The file cannot be written.
        """
        atomic_write_unsynced(self._path(name), lambda path: _save(path, found))

    def holds(self, name: str) -> bool:
        """Return whether a frame has a file that is not empty; a power failure can leave an empty file."""
        path = self._path(name)
        return path.is_file() and path.stat().st_size > 0

    def read(self, name: str) -> Drawn | None:
        """Return what the overlay of a frame shows; None if its file is missing or damaged."""
        try:
            with self._path(name).open("rb") as file:
                return _objects(json.load(file)) if file.peek(1)[:1] == b"{" else _segmentation(file)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
            return None

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.record"


def _save(path: Path, found: Drawn) -> None:
    if isinstance(found, DrawnObjects):
        path.write_text(_objects_text(found))
        return
    ids = found.ids.numpy().astype(np.int32)
    with path.open("wb") as file:
        np.savez_compressed(
            file, ids=ids, classes=found.classes.numpy(), scores=found.filled_scores.numpy(), crowd=found.crowd.numpy()
        )


def _segmentation(file: IO[bytes]) -> PanopticSegmentation:
    with np.load(file) as arrays:
        found = {key: torch.from_numpy(arrays[key]) for key in ("ids", "classes", "scores", "crowd")}
    return PanopticSegmentation(found["ids"].long(), found["classes"], found["crowd"], found["scores"])


def _objects_text(found: DrawnObjects) -> str:
    entries = [
        [one.category, one.box, one.score, None if one.mask is None else one.mask.counts.decode("ascii")]
        for one in found.instances
    ]
    return json.dumps({"size": found.size, "objects": entries})


def _objects(content: dict[str, Any]) -> DrawnObjects:
    height, width = content["size"]
    instances = [
        Instance(
            category, tuple(box), None if counts is None else RunLengthMask((height, width), counts.encode()), score
        )
        for category, box, score, counts in content["objects"]
    ]
    return DrawnObjects((height, width), instances)


@dataclass(frozen=True)
class FrameName:
    """Name of a video frame.

    Attributes:
        number: Frame number, starting at 0.
        video: Path of the video file.
        is_tracked: Whether the name of the results starts with that of the video.
    """

    number: int
    video: Path
    is_tracked: bool = False

    @property
    def name(self) -> str:
        """Name of its results: the frame number with six digits; if things are tracked, in a folder of the video."""
        return f"{self.video.stem}/{self.number:06}" if self.is_tracked else f"{self.number:06}"

    @property
    def file_name(self) -> str:
        """Name of the frame in the JSON files: frame 12 of a.mp4 is ``a.mp4#000012``."""
        return f"{self.video.name}#{self.number:06}"

    @property
    def sources(self) -> Sequence[Path]:
        """Files that the results are made from."""
        return (self.video,)


@dataclass(frozen=True)
class _Frame:
    name: FrameName
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class _Drawn:
    """A finished frame: its overlay if one is requested, and its files unless an earlier run wrote them."""

    name: FrameName
    overlay: Picture | None
    written: ItemOutput | None


@dataclass(frozen=True)
class VideoOutcome:
    """Outcome of a run.

    Attributes:
        num_frames: Number of frames with results.
        num_kept: Number of frames with results from an earlier run, included in ``num_frames``.
    """

    num_frames: int
    num_kept: int


def predict_video(job: PredictionJob, video: Video) -> VideoOutcome:
    """Predict on all frames of a video.

    The overlays become one video, ``overlay.mp4``; other outputs have one file per frame.

    Args:
        job: Settings of the run.
        video: Video to predict on.

    Returns:
        The outcome of the run.

    Raises:
        SeamsegError: The results folder is in use, holds other files, or has results that ``job.mode`` does not allow
            to change; or no frame can be decoded.
        OSError: A file cannot be written; frames that are already finished are kept.
    """
    job.folder.begin(job.mode, ())
    try:
        run = _VideoRun(job, video)
        names = run.noted if run.is_complete else run.finish_frames()
        if not names:
            raise DataError(f"the video {video.path} cannot be decoded: its first frame is damaged")
        job.folder.finish(names, (), job.info)
        remove_records(job.folder.path)
    finally:
        job.folder.close()
    return VideoOutcome(len(names), len(names) if run.is_complete else run.num_kept)


class _VideoRun:
    """One run on a video, with an open results folder."""

    def __init__(self, job: PredictionJob, video: Video) -> None:
        self.job, self.video = job, video
        folder = job.folder
        self.records = FrameRecords(folder.path)
        self._writer = OutputWriter(
            folder.path, [kind for kind in folder.kinds if kind != "overlay"], folder.categories
        )
        self._video_path = folder.path / OVERLAY_FILE
        self._draws = "overlay" in folder.kinds
        self.noted = list(self._noted())
        self.is_complete = self._has_all_results()
        self.num_kept = self._num_recorded() if self._draws else len(self.noted)
        self._tracker, self._style = None, USUAL
        if job.track_gap is not None:
            self._tracker, self._style = FrameTracker(folder.path, folder.categories, job.track_gap), Style(ids=True)
            if not self.is_complete:
                self.num_kept = self._tracker.num_resumable(self.noted[: self.num_kept])
                folder.invalidate(frame.name for frame in self.noted[self.num_kept :])

    def _name(self, number: int) -> FrameName:
        return FrameName(number, self.video.path, self.job.track_gap is not None)

    def finish_frames(self) -> list[FrameName]:
        """Predict on the frames that are missing, and return all frames."""
        frames, num_kept = self._frames(), self.num_kept
        threads = num_threads()
        before = ordered_map(self._draw_again, islice(frames, num_kept), threads=threads, ahead=threads)
        new = overlapped(self.job, frames, attrgetter("pixels"), self._write, _raise_error, self._track)
        names: list[FrameName] = []
        with ExitStack() as opened:
            advance = opened.enter_context(progress_bar("predicting", self.video.num_frames, num_kept))
            writer: VideoWriter | None = None
            for frame in chain(before, new):
                if frame.overlay is not None:
                    size = frame.overlay.shape[0], frame.overlay.shape[1]
                    writer = writer or opened.enter_context(VideoWriter(self._video_path, self.video.rate, size))
                    writer.add(frame.overlay)
                if frame.written is not None:
                    self.job.folder.note(frame.name, frame.written)
                names.append(frame.name)
                advance(max(num_kept, len(names)), "")
        return names

    def _noted(self) -> Iterator[FrameName]:
        """Return the frames of an earlier run. They are the first ones, since frames are recorded in order."""
        return takewhile(self.job.folder.holds, map(self._name, count()))

    def _frames(self) -> Iterator[_Frame]:
        return (_Frame(self._name(number), pixels) for number, pixels in enumerate(self.video.frames()))

    def _track(self, frame: _Frame, found: Prediction) -> Prediction:
        return found if self._tracker is None else self._tracker.track(frame.name.name, found)

    def _has_all_results(self) -> bool:
        if self._draws:
            return 0 < len(self.noted) == _num_frames(self._video_path)
        # The file may state a wrong number of frames; counting them takes far less time than predicting on them again.
        return len(self.noted) >= self.video.num_frames and len(self.noted) == sum(1 for _ in self.video.frames())

    def _num_recorded(self) -> int:
        """Return how many frames from the start of the video can be drawn again."""
        return sum(1 for _ in takewhile(lambda name: self.records.holds(name.name), self.noted))

    def _draw_again(self, frame: _Frame) -> _Drawn:
        if not self._draws:
            return _Drawn(frame.name, None, None)
        found = self.records.read(frame.name.name)
        if found is None and self._tracker is not None:
            raise DataError(
                f"the record of frame {frame.name.number} of {self.video.path} is damaged, so that its ids are lost; "
                "pass --overwrite to start over"
            )
        if found is None:
            predictor = self.job.predictor
            found = predictor.predict([predictor.prepare(frame.pixels)])[0].drawn()
        return _Drawn(frame.name, self._overlay(frame.pixels, found), None)

    def _write(self, found: Predicted[_Frame]) -> _Drawn:
        name = found.source.name
        written = self._writer.write(name, found.picture, found.prediction)
        if not self._draws:
            return _Drawn(name, None, written)
        drawn = found.prediction.drawn()
        self.records.write(name.name, drawn)
        return _Drawn(name, self._overlay(found.picture, drawn), written)

    def _overlay(self, pixels: Picture, found: Drawn) -> Picture:
        return draw(pixels, found, self.job.folder.categories, self._style)


def _num_frames(video_path: Path) -> int:
    """Return the number of frames of a video; 0 if it is missing or damaged."""
    try:
        return Video.open(video_path).num_frames
    except (FileNotFoundError, SeamsegError):
        return 0


def _raise_error(frame: _Frame, error: Exception) -> None:
    raise error
