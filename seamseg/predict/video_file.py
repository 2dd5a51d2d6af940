"""Reading and writing of video files."""

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
    """A video file.

    Attributes:
        path: Path of the file.
        rate: Frames per second.
        num_frames: Number of frames according to the file, at least 1; wrong in some files.
        size: Height and width in pixels.
    """

    path: Path
    rate: float
    num_frames: int
    size: Size

    @classmethod
    def open(cls, path: Path) -> Video:
        """Read the properties of a video.

        Raises:
            FileNotFoundError: The file does not exist.
            SeamsegError: The file cannot be decoded, or its name cannot be stored in the results.
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
        """Yield the frames, H×W×3 uint8 RGB, up to the first that cannot be decoded."""
        capture = _capture(self.path)
        try:
            while True:
                decoded, pixels = capture.read()
                if not decoded:
                    return
                yield np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
        finally:
            capture.release()


class VideoWriter:
    """Context manager that writes a video; the file gets its final name once it is complete.

    Args:
        path: Path of the ``.mp4`` file; its folder must exist.
        rate: Frames per second.
        size: Height and width of the frames in pixels.

    Raises:
        SeamsegError: The path is not UTF-8.
        OSError: The file cannot be written.
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
        """Append an H×W×3 uint8 RGB frame.

        The format only supports even sizes, so the last row or column of an odd size is repeated.
        """
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
                to_disk(self._temporary)  # a video with its final name counts as complete
                self._temporary.replace(self._path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def _check(self) -> None:
        """Check the number of frames, since OpenCV does not report a full disk."""
        try:
            found = Video.open(self._temporary).num_frames
        except ValueError:
            found = 0
        if found != self._num_frames:
            raise OSError(
                f"the video {self._path} was written with {found} of {self._num_frames} frames; "
                "check whether the disk is full"
            )


def is_video(path: Path) -> bool:
    """Return whether a path has the suffix of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir()


def _storable(rate: float) -> float:
    """Return the nearest frame rate that the format can store.

    OpenCV stores a fraction of integers up to 65535 with a power of ten as the denominator.
    """
    digits = next(digits for digits in (3, 2, 1, 0) if rate * 10**digits <= _LARGEST_NUMBER)
    return round(rate, digits)


def _capture(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(_opencv_name(path))
    if not capture.isOpened():
        raise DataError(f"the video {path} cannot be decoded: it is truncated, damaged or in an unknown format")
    return capture


def _opencv_name(path: Path) -> str:
    """Return the path for OpenCV, which crashes on paths that are not UTF-8."""
    try:
        path.as_posix().encode()
    except UnicodeEncodeError:
        raise DataError(f"the path {str(path)!r} of a video is not UTF-8; rename the folder or file") from None
    return str(path)
