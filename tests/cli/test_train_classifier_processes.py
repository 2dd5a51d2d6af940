"""`seamseg train-classifier` in its own processes: killed and resumed, on two ranks, and on real digits."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.command_processes import Command, in_two_processes, run
from support.tiny_image_folder import CLASSES, write_classifier_config, write_tiny_folder
from support.tiny_training import equal

from seamseg.export.model_file import read_model
from seamseg.runtime.checkpoint import checkpoint_paths, load_checkpoint, newest_checkpoint
from seamseg.runtime.log import read_metrics

SECONDS = 300
CPU = ("--device", "cpu")


@pytest.mark.slow
def test_killed_run_resumes_to_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    config = write_classifier_config(tmp_path / "tiny.yaml", write_tiny_folder(tmp_path / "images", num_train=8))
    arguments = ["train-classifier", config, "training.epochs=6", "training.validate_every=2", "data.num_workers=1"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(*arguments, "--run-dir", whole, *CPU)
    with Command(*arguments, "--run-dir", killed, *CPU) as process:
        end = time.monotonic() + SECONDS
        while not checkpoint_paths(killed):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)
        process.kill()
    _, err = run(*arguments, "--run-dir", killed, "--auto-resume", *CPU)
    assert "resuming from iteration" in err
    one, other = (load_checkpoint(newest_checkpoint(folder)[0]) for folder in (whole, killed))
    assert one.position == other.position
    assert equal(one.network, other.network)
    assert equal(one.optimizer, other.optimizer)
    best = [read_model(folder / "model.safetensors").tensors for folder in (whole, killed)]
    assert equal(*best)
    logged = [
        [entry["total"] for entry in read_metrics(folder) if entry["kind"] == "train"] for folder in (whole, killed)
    ]
    assert logged[0] == logged[1]


@pytest.mark.slow
def test_signal_saves_a_checkpoint_and_ends_with_its_code(tmp_path: Path) -> None:
    config = write_classifier_config(tmp_path / "tiny.yaml", write_tiny_folder(tmp_path / "images"))
    folder = tmp_path / "run"
    with Command("train-classifier", config, "training.epochs=1000", "--run-dir", folder, *CPU) as process:
        end = time.monotonic() + SECONDS
        while not (folder.is_dir() and read_metrics(folder)):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
    assert process.returncode == 143, err
    assert "pass --resume to continue" in err
    assert checkpoint_paths(folder)


@pytest.mark.slow
def test_two_ranks_train_and_test_as_one_process_does(tmp_path: Path) -> None:
    """With synchronized norms, two ranks with half the batch compute the gradients of one process."""
    images = write_tiny_folder(tmp_path / "images", num_val=3)
    config = write_classifier_config(tmp_path / "tiny.yaml", images)
    # Maps of a single pixel would leave too few samples for norms that do not amplify rounding errors.
    plain = ["norm.name=syncbn", "data.crop=64", "data.resize=64", "training.epochs=1", "optimizer.lr=0.01"]
    plain.append("data.train_batch_size=6")
    run("train-classifier", config, *plain, "--run-dir", "one", *CPU, folder=tmp_path)
    on_ranks = ["train-classifier", str(config), *plain, "data.train_batch_size=3", "--run-dir", "two"]
    (_, first), (out, second) = in_two_processes(tmp_path, [on_ranks] * 2)
    assert "epoch 1: top-1" in first
    assert (out, second) == ("", "")
    one, two = (read_metrics(tmp_path / folder) for folder in ("one", "two"))
    assert [entry["total"] for entry in two if entry["kind"] == "train"] == pytest.approx(
        [entry["total"] for entry in one if entry["kind"] == "train"], rel=1e-4
    )
    assert one[-1]["top1"] == two[-1]["top1"]
    (images / "val" / CLASSES[0] / "0.png").write_bytes(b"")
    test = ["test-classifier", "two", str(images), "--json"]
    (out, _), (other, _) = in_two_processes(tmp_path, [[*test, "two.json"]] * 2, code=3)
    run(*test, "one.json", *CPU, folder=tmp_path, code=3)
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
    run("train-classifier", "digits_resnet18", *arguments, "--run-dir", "run", *CPU, folder=tmp_path)
    last = read_metrics(tmp_path / "run")[-1]
    assert last["top1"] > 0.7  # chance is 0.1
