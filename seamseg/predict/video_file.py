"""Videos: reading their frames, writing a new one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from seamseg.data.input_folder import VIDEO_SUFFIXES
from seamseg.data.json_fields import check_file_names
from seamseg.errors import DataError
from seamseg.io.files import part_path, to_disk
from seamseg.structures import Size
from seamseg.visualization.images import Picture

_LARGEST_NUMBER = 65_535
_CODEC = "mp4v"  # MPEG-4 part 2, which every build of OpenCV writes


@dataclass(frozen=True)
class Video:
    """A video on disk.

    Attributes:
        path: of the file.
        rate: frames per second.
        num_frames: that the file says it has, at least 1; some say wrong.
        size: height and width.
    """

    path: Path
    rate: float
    num_frames: int
    size: Size

    @classmethod
    def open(cls, path: Path) -> Video:
        """Looks at a video.

        Raises:
            FileNotFoundError: it is not there.
            SeamsegError: it cannot be decoded.
        """
        if not path.is_file():
            raise FileNotFoundError(f"the video {path} does not exist")
        check_file_names([path.name], str(path.parent))
        capture = _capture(path)
        try:
            rate, count, height, width = (
                capture.get(key)
                for key in (
                    cv2.CAP_PROP_FPS,
                    cv2.CAP_PROP_FRAME_COUNT,
                    cv2.CAP_PROP_FRAME_HEIGHT,
                    cv2.CAP_PROP_FRAME_WIDTH,
                )
            )
        finally:
            capture.release()
        return cls(path, rate if 0 < rate < 1000 else 25.0, max(1, int(count)), (int(height), int(width)))

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """H×W×3 RGB, one after the other, up to the first that cannot be decoded."""
        capture = _capture(self.path)
        try:
            while True:
                there, pixels = capture.read()
                if not there:
                    return
                yield np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
        finally:
            capture.release()


class VideoWriter:
    """Writes a video that appears when it is whole; use it as a context manager.

    Args:
        path: of the result, ``.mp4``; its folder exists.
        rate: frames per second.
        size: height and width of the frames.

    Raises:
        SeamsegError: the path is not UTF-8.
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, rate: float, size: Size) -> None:
        self._path, self._temporary = path, part_path(path)
        self._num_frames = 0
        codec = cv2.VideoWriter.fourcc(*_CODEC)
        height, width = (side + side % 2 for side in size)
        self._writer = cv2.VideoWriter(_opencv_name(self._temporary), codec, _storable(rate), (width, height))
        if not self._writer.isOpened():
            self._temporary.unlink(missing_ok=True)
            raise OSError(f"the video {path} cannot be written")

    def add(self, frame: Picture) -> None:
        """Appends H×W×3 RGB; of an odd height or width, which the format does not hold, the last line is repeated."""
        bottom, right = frame.shape[0] % 2, frame.shape[1] % 2
        even = cv2.copyMakeBorder(frame, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        self._writer.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))
        self._num_frames += 1

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.release()
        try:
            if error is None:
                self._check()
                to_disk(self._temporary)  # a video that has its name counts as whole
                self._temporary.replace(self._path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def _check(self) -> None:
        """OpenCV says nothing of a disk that is full."""
        try:
            found = Video.open(self._temporary).num_frames
        except ValueError:
            found = 0
        if found != self._num_frames:
            raise OSError(
                f"the video {self._path} came out with {found} of {self._num_frames} frames: is the disk full?"
            )


def is_video(path: Path) -> bool:
    """Whether a path names a video, by its ending."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir()


def _storable(rate: float) -> float:
    """The nearest rate that the format holds: as a fraction of whole numbers up to 65 535, by powers of ten."""
    digits = next(digits for digits in (3, 2, 1, 0) if rate * 10**digits <= _LARGEST_NUMBER)
    return round(rate, digits)


def _capture(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(_opencv_name(path))
    if not capture.isOpened():
        raise DataError(f"the video {path} cannot be decoded: it is truncated, damaged or of an unknown kind")
    return capture


def _opencv_name(path: Path) -> str:
    """The path for OpenCV, whose functions crash where it is not UTF-8."""
    try:
        path.as_posix().encode()
    except UnicodeEncodeError:
        raise DataError(f"the path {str(path)!r} is not UTF-8, which videos need; rename the folder or file") from None
    return str(path)
