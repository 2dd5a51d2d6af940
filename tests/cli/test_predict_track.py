"""`seamseg predict --track`: layout, constant ids, resuming, and errors; and `seamseg score --video` on its results."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.command_processes import Command

from seamseg.data.png import read_panoptic_png
from seamseg.predict import pipeline
from seamseg.predict.video_file import Video

NUM_FRAMES = 7
KINDS = "overlay,panoptic,semantic,raw,step"


def pixels(number: int) -> np.ndarray:
    return np.roll(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8), 4 * number, axis=1)


@pytest.fixture
def video_path(tmp_path: Path) -> Path:
    writer = cv2.VideoWriter(str(tmp_path / "street.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 12.5, (64, 48))
    for number in range(NUM_FRAMES):
        writer.write(pixels(number))
    writer.release()
    return tmp_path / "street.mp4"


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two clips of four and three frames, whose numbers have no leading zeros."""
    for number, name in enumerate(["a/8", "a/9", "a/10", "a/11", "b/1", "b/2", "b/3"]):
        path = tmp_path / "clips" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels(number))
    return tmp_path / "clips"


def contents(folder: Path) -> dict[str, Any]:
    """Read all files except the journal; of a video, the pixels, because its bytes depend on the time of writing."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".predictions.journal")
    return {
        path.relative_to(folder).as_posix(): [frame.tobytes() for frame in Video.open(path).frames()]
        if path.suffix == ".mp4"
        else path.read_bytes()
        for path in files
    }


@pytest.fixture
def stopped(command: Any, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Stop a run after some frames."""

    def run(images: Path, after: int, *options: str) -> Path:
        original = pipeline._predicted

        def dies(*given: Any) -> Iterator[Any]:
            for number, found in enumerate(original(*given)):
                if number == after:
                    raise OSError("stopped")
                yield found

        with monkeypatch.context() as patched:
            patched.setattr(pipeline, "_predicted", dies)
            patched.setattr(pipeline, "ordered_map", lambda function, items, threads, ahead: map(function, items))
            assert command("predict", run_dir, images, tmp_path / "out", "--track", *options).code == 2
        return tmp_path / "out"

    return run


def test_predict_track_video_writes_the_layout_of_vipseg(
    command: Any, run_dir: Path, video_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert command("predict", run_dir, video_path, out, "--track", "--write", KINDS).code == 0
    names = [f"{number:06}" for number in range(NUM_FRAMES)]
    frames = {f"{kind}/street/{name}.png" for kind in ("panoptic", "semantic", "step") for name in names}
    frames |= {f"raw/street/{name}.npz" for name in names}
    assert set(contents(out)) == frames | {"overlay.mp4", "panoptic.json", "categories.json"}
    index = json.loads((out / "panoptic.json").read_text())
    assert [video["video_id"] for video in index["videos"]] == ["street"]
    assert [image["id"] for image in index["videos"][0]["images"]] == names
    assert [image["file_name"] for image in index["videos"][0]["images"]] == [f"street.mp4#{name}" for name in names]
    (annotation,) = index["annotations"]
    assert [one["image_id"] for one in annotation["annotations"]] == names
    things = {category["id"] for category in index["categories"] if category["isthing"]}
    seen: dict[int, list[int]] = {}
    for number, one in enumerate(annotation["annotations"]):
        ids = read_panoptic_png(out / "panoptic" / "street" / one["file_name"])
        listed = {segment["id"]: segment["category_id"] for segment in one["segments_info"]}
        assert set(np.unique(ids).tolist()) - {0} == listed.keys()
        assert all(key <= len(index["categories"]) or category in things for key, category in listed.items())
        for key in listed:
            seen.setdefault(key, []).append(number)
    assert any(len(numbers) > 1 for key, numbers in seen.items() if key > len(index["categories"]))


def test_predict_track_results_agree_in_all_formats(command: Any, run_dir: Path, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command("predict", run_dir, clips, out, "--track", "--write", "panoptic,step").code == 0
    for truth, results in (("panoptic.json", "step"), ("step", "panoptic.json"), ("step", "step")):
        scores = tmp_path / "scores.json"
        result = command("score", "--video", "--gt", out / truth, "--pred", out / results, "--json", scores)
        assert result.code == 0, result.err
        found = json.loads(scores.read_text())
        assert [clip["name"] for clip in found["clips"]] == ["a", "b"]
        assert (found["vpq"], found["stq"], found["aq"], found["sq"]) == (1, 1, 1, 1)
        assert "STQ 100.0" in result.out


def test_predict_track_folder_takes_frames_by_number_and_clips_apart(
    command: Any, run_dir: Path, clips: Path, tmp_path: Path
) -> None:
    out, flat = tmp_path / "out", tmp_path / "flat"
    assert command("predict", run_dir, clips, out, "--track").code == 0
    index = json.loads((out / "panoptic.json").read_text())
    names = [[image["file_name"] for image in video["images"]] for video in index["videos"]]
    assert names == [["8.png", "9.png", "10.png", "11.png"], ["1.png", "2.png", "3.png"]]
    assert command("predict", run_dir, clips / "b", flat, "--track").code == 0
    alone = json.loads((flat / "panoptic.json").read_text())
    assert alone["annotations"] == index["annotations"][1:]
    assert (flat / "panoptic" / "b" / "1.png").read_bytes() == (out / "panoptic" / "b" / "1.png").read_bytes()
    assert not (out / ".frames").exists()


@pytest.mark.parametrize(("source", "after"), [("video_path", 0), ("video_path", 4), ("clips", 3), ("clips", 4)])
def test_predict_track_stopped_run_is_resumed_to_the_same_files(
    command: Any, stopped: Callable[..., Path], run_dir: Path, tmp_path: Path, request: Any, source: str, after: int
) -> None:
    images = request.getfixturevalue(source)
    assert command("predict", run_dir, images, tmp_path / "whole", "--track", "--write", KINDS).code == 0
    out = stopped(images, after, "--write", KINDS)
    result = command("predict", run_dir, images, out, "--track", "--write", KINDS, "--resume")
    assert result.code == 0
    assert not after or f"({after} of them in an earlier run)" in result.out
    assert contents(out) == contents(tmp_path / "whole")


def test_predict_track_changed_frame_renews_its_clip_even_if_interrupted(
    command: Any, stopped: Callable[..., Path], run_dir: Path, clips: Path, tmp_path: Path
) -> None:
    assert command("predict", run_dir, clips, tmp_path / "out", "--track").code == 0
    cv2.imwrite(str(clips / "a" / "9.png"), pixels(0)[::-1])
    assert command("predict", run_dir, clips, tmp_path / "whole", "--track").code == 0
    out = stopped(clips, 3, "--resume")
    result = command("predict", run_dir, clips, out, "--track", "--resume")
    assert "(6 of them in an earlier run)" in result.out  # all but a/11
    assert contents(out) == contents(tmp_path / "whole")


def test_predict_track_complete_video_without_overlay_is_not_predicted_again(
    command: Any, run_dir: Path, video_path: Path, tmp_path: Path
) -> None:
    options = ("predict", run_dir, video_path, tmp_path / "out", "--track", "--write", "panoptic")
    assert command(*options).code == 0
    before = contents(tmp_path / "out")
    assert f"({NUM_FRAMES} of them in an earlier run)" in command(*options, "--resume").out
    assert contents(tmp_path / "out") == before


def test_predict_track_without_scipy_keeps_earlier_results(
    command: Any, refuses: Callable[..., str], run_dir: Path, clips: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    out = tmp_path / "out"
    assert command("predict", run_dir, clips / "b", out, "--track").code == 0
    before = contents(out)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    assert "seamseg[track]" in refuses("predict", run_dir, clips / "b", out, "--track", "--overwrite")
    assert contents(out) == before


@pytest.mark.parametrize("damage", ["remove", "cut"])
def test_predict_track_without_a_sound_record_of_tracks_starts_earlier(
    command: Any, stopped: Callable[..., Path], run_dir: Path, video_path: Path, tmp_path: Path, damage: str
) -> None:
    assert command("predict", run_dir, video_path, tmp_path / "whole", "--track").code == 0
    out = stopped(video_path, 4)
    record = out / ".frames" / "street" / "000003.tracks"
    content = record.read_bytes()
    record.unlink() if damage == "remove" else record.write_bytes(content[: len(content) // 2])
    result = command("predict", run_dir, video_path, out, "--track", "--resume")
    assert "(3 of them in an earlier run)" in result.out
    assert contents(out) == contents(tmp_path / "whole")


def test_predict_track_with_a_damaged_overlay_record_is_refused(
    refuses: Callable[..., str], stopped: Callable[..., Path], run_dir: Path, video_path: Path
) -> None:
    out = stopped(video_path, 4)
    (out / ".frames" / "street" / "000001.record").write_bytes(b"damaged")
    message = refuses("predict", run_dir, video_path, out, "--track", "--resume")
    assert "frame 1" in message
    assert "--overwrite" in message


def test_predict_track_resumed_with_other_options_is_refused(
    refuses: Callable[..., str], stopped: Callable[..., Path], run_dir: Path, video_path: Path, tmp_path: Path
) -> None:
    out = stopped(video_path, 3)
    for options in (("--track", "--track-gap=3"), ()):
        assert "another model, video or options" in refuses("predict", run_dir, video_path, out, *options, "--resume")
    renamed = video_path.rename(tmp_path / "lane.mp4")
    assert "another model, video or options" in refuses("predict", run_dir, renamed, out, "--track", "--resume")


@pytest.mark.slow
def test_predict_track_killed_process_is_resumed_to_the_same_files(
    command: Any, run_dir: Path, video_path: Path, tmp_path: Path
) -> None:
    assert command("predict", run_dir, video_path, tmp_path / "whole", "--track").code == 0
    out = tmp_path / "killed"
    with Command("predict", run_dir, video_path, out, "--track", "--device", "cpu") as process:
        latest = time.monotonic() + 120
        while not list(out.glob("panoptic/street/*.png")) and process.poll() is None and time.monotonic() < latest:
            time.sleep(0.001)
        process.kill()
    assert command("predict", run_dir, video_path, out, "--track", "--resume").code == 0
    assert contents(out) == contents(tmp_path / "whole")


def test_predict_track_skips_unreadable_frames(command: Any, run_dir: Path, clips: Path, tmp_path: Path) -> None:
    (clips / "a" / "9.png").write_bytes(b"broken")
    code, _, err = command("predict", run_dir, clips, tmp_path / "out", "--track")
    assert code == 3
    assert "9.png" in err
    index = json.loads((tmp_path / "out" / "panoptic.json").read_text())
    assert [one["image_id"] for one in index["annotations"][0]["annotations"]] == ["8", "10", "11"]


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (("--track-gap", "3"), "--track"),
        (("--write", "step"), "--track"),
        (("--track", "--write", "instances,cvat"), "instances,cvat"),
    ],
)
def test_predict_track_with_options_that_do_not_fit_is_refused(
    refuses: Callable[..., str], run_dir: Path, clips: Path, tmp_path: Path, options: tuple[str, ...], fact: str
) -> None:
    assert fact in refuses("predict", run_dir, clips, tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_predict_track_without_frames_in_order_is_refused(
    refuses: Callable[..., str], run_dir: Path, clips: Path, tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_text("clips/a/8.png\n")
    for given in (tmp_path / "list.txt", clips / "a" / "8.png"):
        assert "is not a folder" in refuses("predict", run_dir, given, tmp_path / "out", "--track")
    (clips / "clips").mkdir()
    for name in ("1.png", "clips/1.png"):
        cv2.imwrite(str(clips / name), pixels(0))
    assert "folder clips" in refuses("predict", run_dir, clips, tmp_path / "out", "--track")
