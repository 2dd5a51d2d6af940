"""Video files: sizes, rates and paths that the format or OpenCV does not support."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seamseg.predict.video_file import Video, VideoWriter, is_video


@pytest.mark.parametrize("size", [(48, 64), (47, 65), (1, 1)])
@pytest.mark.parametrize("rate", [25.0, 239.993, 120.123, 59.94, 999.5])
def test_video_writer_with_odd_sizes_and_rates_writes_the_nearest_supported(
    tmp_path: Path, size: tuple[int, int], rate: float
) -> None:
    """The format supports even sizes, and rates that are fractions of integers up to 65535."""
    frame = np.zeros((*size, 3), np.uint8)
    frame[-1, -1] = 200
    with VideoWriter(tmp_path / "a.mp4", rate, size) as writer:
        writer.add(frame)
        writer.add(frame)
    video = Video.open(tmp_path / "a.mp4")
    assert video.num_frames == 2
    assert video.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert video.rate == pytest.approx(rate, abs=0.06)


def test_video_with_a_path_that_is_not_utf8_raises(tmp_path: Path) -> None:
    """OpenCV crashes on such paths."""
    folder = tmp_path / "caf\udce9"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"video")
    with pytest.raises(ValueError, match="UTF-8"):
        Video.open(folder / "a.mp4")
    with pytest.raises(ValueError, match="UTF-8"):
        VideoWriter(folder / "b.mp4", 25, (16, 16))
    (tmp_path / "a\tb.mp4").write_bytes(b"video")
    with pytest.raises(ValueError, match="control"):
        Video.open(tmp_path / "a\tb.mp4")


@pytest.mark.parametrize("suffix", [".wmv", ".flv", ".ts", ".3gp", ".M2TS", ".mp4"])
def test_is_video_with_a_video_suffix_is_true(tmp_path: Path, suffix: str) -> None:
    assert is_video(tmp_path / f"a{suffix}")
