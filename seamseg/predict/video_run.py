"""Goes through the frames of a film."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.predict.outputs import OutputWriter
from seamseg.predict.pipeline import Predicted, overlapped
from seamseg.predict.predictor import Predictor
from seamseg.predict.results_folder import Mode, ResultsFolder
from seamseg.predict.video_file import Video, VideoWriter
from seamseg.runtime.journal import ItemOutput
from seamseg.runtime.progress import progress_bar
from seamseg.visualization.images import Picture
from seamseg.visualization.overlay import draw_overlay

OVERLAY_FILE = "overlay.mp4"


@dataclass(frozen=True)
class FrameName:
    """One frame without its pixels.

    Attributes:
        number: 0, 1, …
        video: the file.
    """

    number: int
    video: Path

    @property
    def name(self) -> str:
        """Of its results."""
        return f"{self.number:06}"

    @property
    def file_name(self) -> str:
        """How the results call it: frame 12 of a.mp4 is ``a.mp4#000012``."""
        return f"{self.video.name}#{self.name}"

    @property
    def sources(self) -> Sequence[Path]:
        """What its results are made from."""
        return (self.video,)


@dataclass(frozen=True)
class _Frame:
    name: FrameName
    pixels: NDArray[np.uint8]

    def read(self) -> NDArray[np.uint8]:
        return self.pixels


def predict_video(
    predictor: Predictor,
    video: Video,
    folder: ResultsFolder,
    mode: Mode,
    info: Mapping[str, Any],
    batch_size: int = 1,
) -> int:
    """Segments all frames of a film; the overlay is a film too, ``overlay.mp4``, the other outputs are files per frame.

    Args:
        predictor: to ask.
        video: the film.
        folder: of the results.
        mode: ``new`` or ``overwrite``: a film is done in one go.
        info: for ``panoptic.json``.
        batch_size: frames that the network sees at a time.

    Returns:
        The number of frames.

    Raises:
        ValueError: the folder may not be used, the mode is another, or no frame can be decoded.
        OSError: a file cannot be written.
    """
    if mode == "resume":
        raise ValueError("a film is segmented in one go and cannot be resumed; begin it anew by --overwrite")
    folder.begin(mode, ())
    try:
        names = _predict_frames(predictor, video, folder, batch_size)
        if not names:
            raise ValueError(f"the film {video.path} cannot be decoded: not even its first frame")
        folder.finish(names, (), info)
    finally:
        folder.close()
    return len(names)


def _predict_frames(predictor: Predictor, video: Video, folder: ResultsFolder, batch_size: int) -> list[FrameName]:
    writer = OutputWriter(folder.path, [kind for kind in folder.kinds if kind != "overlay"], folder.categories)

    def write(found: Predicted[_Frame]) -> tuple[FrameName, Picture, ItemOutput]:
        name = found.source.name
        written = writer.write(name, found.picture, found.prediction)
        return name, draw_overlay(found.picture, found.prediction.segmentation, folder.categories), written

    def broken(frame: _Frame, error: Exception) -> None:
        raise error

    names: list[FrameName] = []
    with ExitStack() as opened:
        advance = opened.enter_context(progress_bar("predicting", video.num_frames))
        film: VideoWriter | None = None
        for name, overlay, written in overlapped(predictor, _frames(video), write, broken, batch_size):
            if film is None and "overlay" in folder.kinds:
                size = overlay.shape[0], overlay.shape[1]
                film = opened.enter_context(VideoWriter(folder.path / OVERLAY_FILE, video.rate, size))
            if film is not None:
                film.add(overlay)
            folder.note(name, written)
            names.append(name)
            advance(len(names), "")
    return names


def _frames(video: Video) -> Iterator[_Frame]:
    return (_Frame(FrameName(number, video.path), pixels) for number, pixels in enumerate(video.frames()))
