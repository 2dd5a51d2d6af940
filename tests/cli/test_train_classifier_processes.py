"""`seamseg train-classifier` in its own processes: killed and resumed, on two ranks, and on real digits."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.command_processes import COMMAND, environment
from support.tiny_image_folder import CLASSES, write_classifier_config, write_tiny_folder
from support.tiny_training import equal

from seamseg.export.model_file import read_model
from seamseg.runtime.checkpoint import checkpoint_paths, load_checkpoint, newest_checkpoint
from seamseg.runtime.log import read_metrics

SECONDS = 300


def start(folder: Path, *arguments: object, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments), "--device", "cpu"],
        env=environment() | variables,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes: subprocess.Popen[str], code: int = 0) -> list[tuple[str, str]]:
    try:
        output = [process.communicate(timeout=SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [code] * len(processes), output
    return output


@pytest.mark.slow
def test_killed_run_resumes_to_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    config = write_classifier_config(tmp_path / "tiny.yaml", write_tiny_folder(tmp_path / "images", num_train=8))
    arguments = ["train-classifier", config, "training.epochs=6", "training.validate_every=2", "data.num_workers=1"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(tmp_path, *arguments, "--run-dir", whole))
    process = start(tmp_path, *arguments, "--run-dir", killed)
    end = time.monotonic() + SECONDS
    while not checkpoint_paths(killed):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    ((_, err),) = finish(start(tmp_path, *arguments, "--run-dir", killed, "--auto-resume"))
    assert "resuming from iteration" in err
    one, other = (load_checkpoint(newest_checkpoint(folder)[0]) for folder in (whole, killed))
    assert one.position == other.position
    assert equal(one.network, other.network)
    assert equal(one.optimizer, other.optimizer)
    best = [read_model(folder / "model.safetensors").tensors for folder in (whole, killed)]
    assert equal(*best)
    logged = [[entry["total"] for entry in read_metrics(run) if entry["kind"] == "train"] for run in (whole, killed)]
    assert logged[0] == logged[1]


@pytest.mark.slow
def test_signal_saves_a_checkpoint_and_ends_with_its_code(tmp_path: Path) -> None:
    config = write_classifier_config(tmp_path / "tiny.yaml", write_tiny_folder(tmp_path / "images"))
    run = tmp_path / "run"
    process = start(tmp_path, "train-classifier", config, "training.epochs=1000", "--run-dir", run)
    end = time.monotonic() + SECONDS
    while not (run.is_dir() and read_metrics(run)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    ((_, err),) = finish(process, code=143)
    assert "pass --resume to continue" in err
    assert checkpoint_paths(run)


def on_two_ranks(folder: Path, *arguments: object, code: int = 0) -> list[tuple[str, str]]:
    """Run the command in two processes, as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    ranks = [start(folder, *arguments, RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank in range(2)]
    return finish(*ranks, code=code)


@pytest.mark.slow
def test_two_ranks_train_and_test_as_one_process_does(tmp_path: Path) -> None:
    """With synchronized norms, two ranks with half the batch compute the gradients of one process."""
    images = write_tiny_folder(tmp_path / "images", num_val=3)
    config = write_classifier_config(tmp_path / "tiny.yaml", images)
    # Maps of a single pixel would leave too few samples for norms that do not amplify rounding errors.
    plain = ["norm.name=syncbn", "data.crop=64", "data.resize=64", "training.epochs=1", "optimizer.lr=0.01"]
    plain.append("data.train_batch_size=6")
    finish(start(tmp_path, "train-classifier", config, *plain, "--run-dir", "one"))
    (_, first), (out, second) = on_two_ranks(
        tmp_path, "train-classifier", config, *plain, "data.train_batch_size=3", "--run-dir", "two"
    )
    assert "epoch 1: top-1" in first
    assert (out, second) == ("", "")
    one, two = (read_metrics(tmp_path / run) for run in ("one", "two"))
    assert [entry["total"] for entry in two if entry["kind"] == "train"] == pytest.approx(
        [entry["total"] for entry in one if entry["kind"] == "train"], rel=1e-4
    )
    assert one[-1]["top1"] == two[-1]["top1"]
    (images / "val" / CLASSES[0] / "0.png").write_bytes(b"")
    (out, _), (other, _) = on_two_ranks(tmp_path, "test-classifier", "two", images, "--json", "two.json", code=3)
    finish(start(tmp_path, "test-classifier", "two", images, "--json", "one.json"), code=3)
    assert other == ""
    assert out.startswith("8 images")
    assert json.loads((tmp_path / "two.json").read_text()) == json.loads((tmp_path / "one.json").read_text())


@pytest.mark.slow
def test_classifier_learns_real_digits(tmp_path: Path) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images[:700], digits.target, strict=False)):
        path = tmp_path / "digits" / ("val" if number >= 500 else "train") / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), (pixels * (255 / 16)).astype(np.uint8))
    arguments = ["data.root=digits", "training.epochs=8", "training.validate_every=0", "optimizer.lr=0.02"]
    finish(start(tmp_path, "train-classifier", "digits_resnet18", *arguments, "--run-dir", "run"))
    last = read_metrics(tmp_path / "run")[-1]
    assert last["top1"] > 0.7  # chance is 0.1
