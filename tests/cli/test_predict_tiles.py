"""`seamseg predict --tile`: large images in overlapping tiles."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.command_processes import environment, in_two_processes
from support.folder_files import visible_files
from support.signal_in_tiles import signal_in_tiles
from support.tiny_experiment import narrow_body

import seamseg
import seamseg.cli
from seamseg.data.image_rows import ImageRows
from seamseg.data.png import read_panoptic_png

SIZES = {"a.png": (150, 100), "b.tif": (64, 140), "c.png": (40, 60)}
TILES = ("--tile", "64", "--overlap", "16")
KINDS = "overlay,panoptic,semantic,instances,labelstudio,cvat"


@pytest.fixture(scope="module")
def input_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, generator = tmp_path_factory.mktemp("tiles") / "images", np.random.default_rng(0)
    folder.mkdir()
    for name, (height, width) in SIZES.items():
        coarse = generator.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
        pixels = np.ascontiguousarray(coarse.repeat(4, 0).repeat(4, 1)[:height, :width])
        assert cv2.imwrite(str(folder / name), pixels)
    return folder


@pytest.fixture(scope="module")
def out(run_dir: Path, input_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results in tiles, of all kinds that tiles have."""
    folder = tmp_path_factory.mktemp("tiles") / "out"
    words = ["predict", run_dir, input_images, folder, "--write", KINDS, *TILES, "--batch-size", "2", "--device", "cpu"]
    with narrow_body():
        assert seamseg.cli.main([str(word) for word in words]) == 0
    return folder


def test_predict_tiles_writes_consistent_outputs_of_all_kinds(out: Path) -> None:
    index = json.loads((out / "panoptic.json").read_text())
    assert {image["file_name"]: (image["height"], image["width"]) for image in index["images"]} == SIZES
    assert (index["info"]["tile"], index["info"]["overlap"]) == ([64, 64], 16)
    for annotation in index["annotations"]:
        name = annotation["file_name"].removesuffix(".png")
        ids = read_panoptic_png(out / "panoptic" / f"{name}.png")
        semantic = cv2.imread(str(out / "semantic" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        overlay = cv2.imread(str(out / "overlay" / f"{name}.jpg"))
        assert ids.shape == semantic.shape == overlay.shape[:2]
        assert {one["id"] for one in annotation["segments_info"]} == set(ids[ids > 0].tolist())
        assert annotation["segments_info"]
    assert json.loads((out / "instances.json").read_text())
    assert len(json.loads((out / "labelstudio.json").read_text())) == 3
    assert json.loads((out / "cvat.json").read_text())["annotations"]


def test_predict_tiles_equals_the_library(out: Path, run_dir: Path, input_images: Path) -> None:
    model = seamseg.load_model(run_dir, "cpu", tile=(64, 64), overlap=16)
    instances = json.loads((out / "instances.json").read_text())
    for name in SIZES:
        result = model.predict(input_images / name)
        semantic = cv2.imread(str(out / "semantic" / f"{name[0]}.png"), cv2.IMREAD_UNCHANGED)
        assert (result.semantic.numpy() == semantic).all()
        mine = [one for one in instances if one["file_name"] == name]
        assert [one["score"] for one in mine] == pytest.approx([one.score for one in result.instances], abs=1e-6)
        assert len(result.detections) == len(mine)
        assert result.overlay().shape == (*SIZES[name], 3)


def test_predict_with_one_tile_equals_the_prediction_without_tiles(
    command: Any, run_dir: Path, input_images: Path, tmp_path: Path
) -> None:
    kinds = "panoptic,semantic,instances,overlay"
    for name, options in (("plain", ()), ("tile", ("--tile", "150x140"))):
        assert command("predict", run_dir, input_images, tmp_path / name, "--write", kinds, *options).code == 0
    plain, tile = visible_files(tmp_path / "plain"), visible_files(tmp_path / "tile")
    assert plain.keys() == tile.keys()
    assert [name for name in plain if plain[name] != tile[name]] == ["panoptic.json"]
    one, other = json.loads(plain["panoptic.json"]), json.loads(tile["panoptic.json"])
    assert other["info"].pop("tile") == [150, 140]
    assert one == other


def test_predict_tiles_without_overlays_reads_by_rows_with_equal_results(
    command: Any, out: Path, run_dir: Path, input_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyvips", reason="the extra large is not installed")
    read, names = ImageRows.read, set[str]()

    def noted(rows: ImageRows, start: int, end: int) -> NDArray[np.uint8]:
        names.add(rows.path.name)
        return read(rows, start, end)

    monkeypatch.setattr(ImageRows, "read", noted)
    assert command("predict", run_dir, input_images, tmp_path / "out", "--write", "panoptic,semantic", *TILES).code == 0
    expected = visible_files(out)
    for name, data in visible_files(tmp_path / "out").items():
        if name.endswith(".png"):
            assert data == expected[name], name
    assert names == SIZES.keys()


def test_predict_tiles_with_a_file_damaged_further_down_skips_it(
    command: Any, run_dir: Path, input_images: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes((input_images / "a.png").read_bytes())
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 64, 3), dtype=np.uint8))
    noise.save(folder / "b.png")
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:-20_000])
    result = command("predict", run_dir, folder, tmp_path / "out", "--write", "semantic", *TILES)
    assert result.code == 3
    assert [one["file_name"] for one in json.loads((tmp_path / "out" / "errors.json").read_text())] == ["b.png"]
    assert {path.name for path in (tmp_path / "out" / "semantic").iterdir()} == {"a.png"}


def test_predict_tiles_resumes_only_with_the_same_tiles(
    command: Any, refuses: Callable[..., str], run_dir: Path, input_images: Path, tmp_path: Path
) -> None:
    words = ("predict", run_dir, input_images, tmp_path / "out", "--write", "semantic")
    assert command(*words, *TILES).code == 0
    for other in ((), ("--tile", "64"), ("--tile", "64x65", "--overlap", "16")):
        same = other == ("--tile", "64")  # the default overlap is a quarter of the tile
        if same:
            assert "3 of them in an earlier run" in command(*words, *other, "--resume").out
        else:
            assert "options" in refuses(*words, *other, "--resume")


KILLED = """
import pathlib, signal, sys, seamseg.cli
from support.signal_in_tiles import signal_in_tiles
from support.tiny_experiment import narrow_body
with narrow_body(), signal_in_tiles(signal.SIGKILL, (64, 140), pathlib.Path(sys.argv[1]), "a"):
    seamseg.cli.main(sys.argv[2:])
"""


@pytest.mark.slow
def test_predict_tiles_interrupted_in_an_image_resumes_in_two_processes_with_equal_results(
    command: Any, out: Path, run_dir: Path, input_images: Path, tmp_path: Path
) -> None:
    """Ctrl-C, then SIGKILL while the tiles of the second image are computed; then torchrun shares the rest."""
    folder, journal = tmp_path / "out", tmp_path / "out" / ".predictions.journal"
    words = [*map(str, ("predict", run_dir, input_images, folder)), "--write", KINDS, *TILES, "--batch-size", "2"]
    with signal_in_tiles(signal.SIGINT, SIZES["b.tif"], journal, "a"):
        result = command(*words, "--device", "cpu")
    assert result.code == 130
    assert result.err.splitlines()[-1] == "seamseg: interrupted"
    killed = [sys.executable, "-c", KILLED, str(journal), *words, "--resume", "--device", "cpu"]
    assert subprocess.run(killed, env=environment(), check=False).returncode == -signal.SIGKILL
    finished = {f"{kind}/a.{'jpg' if kind == 'overlay' else 'png'}" for kind in ("overlay", "panoptic", "semantic")}
    assert visible_files(folder).keys() == finished
    first, other = in_two_processes(tmp_path, [[*words, "--resume"]] * 2)
    assert "3 images segmented (1 of them in an earlier run)" in first[0]
    assert other == ("", "")
    assert visible_files(folder) == visible_files(out)
    assert [path.name for path in folder.rglob(".*")] == [journal.name]


def test_predict_tiles_of_a_video_writes_all_frames(command: Any, run_dir: Path, tmp_path: Path) -> None:
    video = cv2.VideoWriter(str(tmp_path / "a.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (128, 96))
    for value in range(2):
        video.write(np.full((96, 128, 3), 100 * value, np.uint8))
    video.release()
    assert command("predict", run_dir, tmp_path / "a.mp4", tmp_path / "out", *TILES).code == 0
    assert read_panoptic_png(tmp_path / "out" / "panoptic" / "000001.png").shape == (96, 128)
    assert (tmp_path / "out" / "overlay.mp4").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--overlap", "16"), ("overlap", "16")),
        (("--tile", "64", "--overlap", "33"), ("64×64", "32")),
        (("--tile", "0"), ("1×1",)),
        (("--tile", "64", "--write", "raw"), ("raw", "--tile")),
        (("--tile", "64", "--scales", "0.5,1", "--merge", "vote"), ("merge=vote", "logits")),
    ],
)
def test_predict_tiles_with_options_that_exclude_each_other_is_refused(
    refuses: Callable[..., str],
    run_dir: Path,
    input_images: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    words: tuple[str, ...],
) -> None:
    sentence = refuses("predict", run_dir, input_images, tmp_path / "out", *options)
    assert all(word in sentence for word in words)
    assert not (tmp_path / "out").exists()


def test_predict_tile_of_another_form_is_a_usage_error(command: Any, run_dir: Path, tmp_path: Path) -> None:
    result = command("predict", run_dir, tmp_path, tmp_path / "out", "--tile", "big")
    assert result.code == 2
    assert "'big'" in result.err
