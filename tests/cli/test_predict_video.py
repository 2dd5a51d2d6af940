"""`seamseg predict` with a video: its files, resuming, and errors."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.command_processes import Command
from support.full_disk import file_size_limit

from seamseg.predict import pipeline
from seamseg.predict.video_file import Video

SECONDS = 120


def write_video(path: Path, number: int, size: tuple[int, int] = (48, 64)) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 12.5, size[::-1])
    for value in range(number):
        frame = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        writer.write(np.roll(frame, 4 * value, axis=1))
    writer.release()


def contents(folder: Path) -> dict[str, bytes]:
    """Read all files except the journal, which contains times."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".predictions.journal")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def frames(path: Path) -> list[Any]:
    """Read the pixels of a video; its bytes depend on the time of writing."""
    return [frame.tolist() for frame in Video.open(path).frames()]


@pytest.fixture
def video_path(tmp_path: Path) -> Path:
    write_video(tmp_path / "street.mp4", 7)
    return tmp_path / "street.mp4"


@pytest.fixture
def input_images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    return folder


@pytest.fixture
def stopped(
    command: Any, run_dir: Path, video_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Stop a run on the video after three frames."""

    def run(*options: str) -> Path:
        original = pipeline._predicted

        def dies(*given: Any) -> Iterator[Any]:
            for number, found in enumerate(original(*given)):
                if number == 3:
                    raise OSError("stopped")
                yield found

        with monkeypatch.context() as patched:
            patched.setattr(pipeline, "_predicted", dies)
            patched.setattr(pipeline, "ordered_map", lambda function, items, threads, ahead: map(function, items))
            assert command("predict", run_dir, video_path, tmp_path / "out", *options).code == 2
        return tmp_path / "out"

    return run


def test_predict_video_writes_video_and_frames(
    command: Any, refuses: Callable[..., str], run_dir: Path, video_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, stdout, _ = command(
        "predict", run_dir, video_path, out, "--write", "overlay,semantic,panoptic", "--batch-size=2"
    )
    assert (code, stdout) == (0, f"7 frames segmented: {out}\n")
    names = [f"{number:06}" for number in range(7)]
    expected = {f"{kind}/{name}.png" for kind in ("semantic", "panoptic") for name in names}
    assert set(contents(out)) == expected | {"overlay.mp4", "panoptic.json", "categories.json"}
    video = Video.open(out / "overlay.mp4")
    assert (video.num_frames, video.rate, video.size) == (7, 12.5, (48, 64))
    index = json.loads((out / "panoptic.json").read_text())
    assert [image["file_name"] for image in index["images"]] == [f"street.mp4#{name}" for name in names]
    assert "is not empty" in refuses("predict", run_dir, video_path, out)
    assert command("predict", run_dir, video_path, out, "--overwrite").code == 0
    assert set(contents(out)) == {f"panoptic/{name}.png" for name in names} | {"overlay.mp4", "panoptic.json"}


@pytest.mark.parametrize("kinds", ["overlay", "panoptic", "overlay,panoptic,instances"])
def test_predict_video_stopped_run_is_resumed_to_the_same_files(
    command: Any, stopped: Callable[..., Path], run_dir: Path, video_path: Path, tmp_path: Path, kinds: str
) -> None:
    assert command("predict", run_dir, video_path, tmp_path / "whole", "--write", kinds).code == 0
    out = stopped("--write", kinds)
    assert not (out / "overlay.mp4").exists()
    assert not (out / "panoptic.json").exists()
    code, stdout, _ = command("predict", run_dir, video_path, out, "--write", kinds, "--resume")
    assert (code, stdout) == (0, f"7 frames segmented (3 of them in an earlier run): {out}\n")
    truth, found = contents(tmp_path / "whole"), contents(out)
    assert truth.keys() == found.keys()
    assert [name for name in truth if truth[name] != found[name] and name != "overlay.mp4"] == []
    if "overlay" in kinds:
        assert frames(out / "overlay.mp4") == frames(tmp_path / "whole" / "overlay.mp4")


def test_predict_video_finished_run_is_not_repeated(
    command: Any, run_dir: Path, video_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert command("predict", run_dir, video_path, out).code == 0
    before = contents(out)
    (out / "panoptic.json").unlink()  # as if killed just before writing it
    stamp = (out / "overlay.mp4").stat().st_mtime_ns
    result = command("predict", run_dir, video_path, out, "--resume")
    assert result.out == f"7 frames segmented (7 of them in an earlier run): {out}\n"
    assert contents(out) == before
    assert (out / "overlay.mp4").stat().st_mtime_ns == stamp


def test_predict_video_resume_with_another_video_is_refused(
    command: Any, refuses: Callable[..., str], run_dir: Path, video_path: Path, input_images: Path, tmp_path: Path
) -> None:
    out, moved = tmp_path / "out", tmp_path / "elsewhere" / "b.mp4"
    assert command("predict", run_dir, video_path, out).code == 0
    before = contents(out)
    moved.parent.mkdir()
    video_path.rename(moved)
    write_video(video_path, 4)
    for other in (video_path, input_images):
        assert "another model, video or options" in refuses("predict", run_dir, other, out, "--resume")
    assert contents(out) == before
    assert command("predict", run_dir, moved, out, "--resume").code == 0
    images = json.loads((out / "panoptic.json").read_text())["images"]
    assert [image["file_name"] for image in images] == [f"b.mp4#{number:06}" for number in range(7)]


def test_predict_video_overwrite_discards_earlier_frames(
    command: Any, stopped: Callable[..., Path], run_dir: Path, video_path: Path, input_images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert command("predict", run_dir, video_path, out).code == 0
    assert stopped("--overwrite") == out
    assert not (out / "overlay.mp4").exists(), "an existing video counts as complete"
    assert command("predict", run_dir, video_path, out, "--resume").out.startswith("7 frames segmented (3 of them")
    assert Video.open(out / "overlay.mp4").num_frames == 7
    assert stopped("--overwrite") == out
    (out / ".part.overlay.mp4").write_bytes(b"killed")
    assert command("predict", run_dir, input_images, out, "--overwrite").code == 0
    assert set(contents(out)) == {"overlay/a.jpg", "panoptic/a.png", "panoptic.json"}


def empty(path: Path) -> None:
    path.write_bytes(b"")


def tear_journal(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4]))


@pytest.mark.parametrize(
    ("name", "damage"),
    [("overlay.mp4", empty), ("panoptic/000003.png", empty), (".predictions.journal", tear_journal)],
)
def test_predict_video_damaged_after_a_power_cut_is_repaired(
    command: Any, run_dir: Path, video_path: Path, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    out = tmp_path / "out"
    assert command("predict", run_dir, video_path, out).code == 0
    before, pictures = contents(out), frames(out / "overlay.mp4")
    damage(out / name)
    assert command("predict", run_dir, video_path, out, "--resume").out.startswith("7 frames segmented")
    after = contents(out)
    assert after.keys() == before.keys()
    assert [name for name in before if before[name] != after[name] and name != "overlay.mp4"] == []
    assert frames(out / "overlay.mp4") == pictures


@pytest.mark.parametrize(("content", "kept"), [(b"", 1), (b"torn", 3), (None, 3)])
def test_predict_video_frame_record_damaged_by_a_power_cut_is_redone(
    command: Any,
    stopped: Callable[..., Path],
    run_dir: Path,
    video_path: Path,
    tmp_path: Path,
    content: bytes | None,
    kept: int,
) -> None:
    assert command("predict", run_dir, video_path, tmp_path / "whole").code == 0
    record = stopped() / ".frames" / "000001.record"
    whole = record.read_bytes()
    record.write_bytes(whole[:60] + bytes(80) + whole[140:] if content is None else content)
    stdout = command("predict", run_dir, video_path, tmp_path / "out", "--resume").out
    assert stdout.startswith(f"7 frames segmented ({kept} of them in an earlier run)")
    assert frames(tmp_path / "out" / "overlay.mp4") == frames(tmp_path / "whole" / "overlay.mp4")


@pytest.mark.slow
def test_predict_video_killed_run_is_resumed_to_the_same_files(command: Any, run_dir: Path, tmp_path: Path) -> None:
    video_path, out = tmp_path / "street.mp4", tmp_path / "out"
    write_video(video_path, 60)
    assert command("predict", run_dir, video_path, tmp_path / "whole").code == 0
    with Command("predict", run_dir, video_path, out, "--device", "cpu") as process:
        latest = time.monotonic() + SECONDS
        while len(list(out.glob("panoptic/0*.png"))) < 20:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < latest
            time.sleep(0.001)
        process.kill()
    result = command("predict", run_dir, video_path, out, "--resume")
    assert 10 < int(result.out.split("(")[1].split(" of")[0]) < 60, result
    assert frames(out / "overlay.mp4") == frames(tmp_path / "whole" / "overlay.mp4")
    assert contents(out).keys() == contents(tmp_path / "whole").keys()


def test_predict_truncated_video_is_reported(command: Any, run_dir: Path, tmp_path: Path) -> None:
    video_path, out = tmp_path / "street.avi", tmp_path / "out"
    writer = cv2.VideoWriter(str(video_path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for _ in range(20):
        writer.write(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    writer.release()
    video_path.write_bytes(video_path.read_bytes()[: video_path.stat().st_size // 2])
    code, stdout, err = command("predict", run_dir, video_path, out)
    number = int(stdout.split()[0])
    assert (code, 0 < number < 20) == (3, True)
    assert f"{video_path} is truncated or damaged: only {number} of its 20 frames can be decoded" in err
    assert Video.open(out / "overlay.mp4").num_frames == number


def test_predict_broken_or_missing_video_is_refused(refuses: Callable[..., str], run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    assert "a.mp4 cannot be decoded" in refuses("predict", run_dir, tmp_path / "a.mp4", tmp_path / "out")
    assert "none.avi does not exist" in refuses("predict", run_dir, tmp_path / "none.avi", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_predict_video_on_a_full_disk_leaves_no_partial_video(
    command: Any, refuses: Callable[..., str], run_dir: Path, video_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with file_size_limit(5_000):
        sentence = refuses("predict", run_dir, video_path, out, "--write=overlay")
    assert f"{out / 'overlay.mp4'} was written with" in sentence
    assert not [path for path in out.iterdir() if not path.name.startswith(".")]
    result = command("predict", run_dir, video_path, out, "--write=overlay", "--resume")
    assert result.out == f"7 frames segmented (7 of them in an earlier run): {out}\n"
    assert Video.open(out / "overlay.mp4").num_frames == 7
