"""`seamseg predict` killed repeatedly: after `--resume`, the results equal those of an uninterrupted run."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.command_processes import Command

KINDS = "overlay,panoptic,semantic,instances,raw"
NUM_IMAGES, NUM_KILLS = 40, 3
SECONDS = 120


def start(run_dir: Path, input_images: Path, out: Path, *options: str) -> Command:
    return Command("predict", run_dir, input_images, out, "--write", KINDS, "--device", "cpu", *options)


def num_written(out: Path) -> int:
    return len([path for path in (out / "raw").glob("*.npz") if not path.name.startswith(".")])


def kill_after(process: Command, out: Path, number: int) -> None:
    """Kill the process as soon as `number` images are written, while it works on others."""
    latest = time.monotonic() + SECONDS
    while num_written(out) < number:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < latest, f"{num_written(out)} of {number} images"
        time.sleep(0.001)
    process.kill()
    process.wait()


def contents(out: Path) -> dict[str, bytes]:
    """Read all files except the journal, whose lines are in order of completion."""
    files = [path for path in out.rglob("*") if path.is_file() and path.name != ".predictions.journal"]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


@pytest.mark.slow
def test_predict_killed_and_resumed_gives_the_same_files(run_dir: Path, tmp_path: Path) -> None:
    input_images, generator = tmp_path / "images", np.random.default_rng(0)
    input_images.mkdir()
    for number in range(NUM_IMAGES):
        pixels = generator.integers(0, 256, (120, 160, 3), dtype=np.uint8)
        cv2.imwrite(str(input_images / f"{number:02}.png"), pixels)
    (input_images / "broken.jpg").write_bytes(b"broken")
    with start(run_dir, input_images, tmp_path / "calm") as calm:
        output = calm.communicate()
        assert calm.returncode == 3, output
    killed = tmp_path / "killed"
    for kill in range(NUM_KILLS):
        with start(run_dir, input_images, killed, *(["--resume"] if kill else [])) as process:
            kill_after(process, killed, (kill + 1) * NUM_IMAGES // (NUM_KILLS + 1))
        assert not (killed / "panoptic.json").exists()
        images = [path for path in (killed / "panoptic").glob("*.png") if not path.name.startswith(".")]
        assert all(cv2.imread(os.fspath(path)) is not None for path in images), "existing files are complete"
    with start(run_dir, input_images, killed, "--resume") as last:
        stdout, err = last.communicate()
    assert last.returncode == 3, err
    before = int(stdout.split(f"{NUM_IMAGES} images segmented (")[1].split(" of them in an earlier run")[0])
    assert NUM_IMAGES // 2 < before < NUM_IMAGES
    found, truth = contents(killed), contents(tmp_path / "calm")
    assert found.keys() == truth.keys()
    assert [name for name in truth if found[name] != truth[name]] == []
    assert len(json.loads(truth["panoptic.json"])["images"]) == NUM_IMAGES
