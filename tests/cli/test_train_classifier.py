"""`seamseg train-classifier`: files of a run, resuming, and invalid input."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_experiment import narrow_body, write_tiny_config
from support.tiny_image_folder import CLASSES, copy_with_broken_image, write_classifier_config, write_tiny_folder
from support.tiny_training import equal

from seamseg.cli import main
from seamseg.config import ClassifierExperiment, load_settings
from seamseg.export.model_file import read_model
from seamseg.runtime.checkpoint import load_checkpoint, newest_checkpoint
from seamseg.runtime.log import read_metrics


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_folder(tmp_path_factory.mktemp("classifier") / "images")


@pytest.fixture(scope="module")
def config(images: Path) -> Path:
    return write_classifier_config(images.parent / "tiny.yaml", images)


@pytest.fixture(scope="module")
def finished(config: Path) -> Path:
    """A finished run with averaged weights; tests must not change it."""
    folder = config.parent / "run"
    arguments = ["training.weight_average=0.5", "--run-dir", str(folder), "--device", "cpu"]
    with narrow_body():
        assert main(["train-classifier", str(config), *arguments]) == 0
    return folder


def test_train_classifier_writes_all_files_of_a_run(finished: Path, config: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert {"config.yaml", "metrics.jsonl", "tensorboard", "model.safetensors", "checkpoint-00000006.pt"} <= names
    experiment = load_settings(ClassifierExperiment, config, ["training.weight_average=0.5"])
    assert load_settings(ClassifierExperiment, finished / "config.yaml") == experiment
    model = read_model(finished / "model.safetensors")
    assert model.categories == [{"id": number, "name": name} for number, name in enumerate(CLASSES)]
    assert model.tensors["classifier.fc.weight"].shape == (3, 64)
    entries = read_metrics(finished)
    assert [entry["iteration"] for entry in entries if entry["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert {"classification", "total", "lr"} < set(entries[0])
    assert entries[0]["lr"] == pytest.approx(0.05)
    last = next(entry for entry in reversed(entries) if entry["kind"] == "validation")
    assert set(last) == {"kind", "iteration", "top1", "top5", "num_unreadable"}
    assert 0 <= last["top1"] <= last["top5"] == 1


def test_train_classifier_stopped_after_an_epoch_resumes_bit_for_bit(
    command: Any, config: Path, finished: Path, tmp_path: Path
) -> None:
    arguments = ["train-classifier", config, "training.weight_average=0.5", "--run-dir", tmp_path / "run"]
    assert command(*arguments, "training.epochs=1").code == 0
    code, _, err = command(*arguments, "--auto-resume")
    assert code == 0
    assert "resuming from iteration 3 in epoch 2" in err
    assert "top-1" in err
    one, other = (load_checkpoint(newest_checkpoint(folder)[0]) for folder in (finished, tmp_path / "run"))
    assert one.position == other.position
    assert equal(one.network, other.network)
    assert equal(one.optimizer, other.optimizer)
    assert equal(one.average, other.average)


def test_train_classifier_with_data_workers_trains_the_same_network(
    command: Any, config: Path, finished: Path, tmp_path: Path
) -> None:
    arguments = ["training.weight_average=0.5", "data.num_workers=2", "--run-dir", tmp_path / "run"]
    assert command("train-classifier", config, *arguments).code == 0
    one, other = (read_model(folder / "model.safetensors").tensors for folder in (finished, tmp_path / "run"))
    assert equal(one, other)


def test_train_classifier_in_bfloat16_with_accumulation_logs_finite_losses(
    command: Any, config: Path, tmp_path: Path
) -> None:
    # oneDNN 3.12.0 in torch 2.14.1 reads uninitialized memory for the bfloat16 gradient of filters with stride 2 whose
    # input is a single pixel, so the images must not be too small.
    sizes = ["data.crop=64", "data.resize=64"]
    arguments = ["training.precision=bf16", "training.accumulate=2", "training.channels_last=true", *sizes]
    assert command("train-classifier", config, *arguments, "--run-dir", tmp_path / "run").code == 0
    losses = [entry["total"] for entry in read_metrics(tmp_path / "run") if entry["kind"] == "train"]
    assert len(losses) == 4
    assert torch.tensor(losses).isfinite().all()


def test_train_classifier_network_is_a_body_to_start_a_panoptic_network_from(
    command: Any, data: Path, finished: Path, tmp_path: Path
) -> None:
    arguments = ["training.epochs=1", "data.train_limit=2", f"body.weights={finished}", "body.frozen=[mod1]"]
    panoptic = write_tiny_config(tmp_path / "panoptic.yaml", data)
    code, _, err = command("train", panoptic, *arguments, "--run-dir", tmp_path / "run")
    assert code == 0
    assert re.search(r"body\.weights=.*: \d+ entries used; 0 missing", err)
    key = "mod1.conv1.weight"
    trained = read_model(tmp_path / "run" / "model.safetensors").tensors[f"body.backbone.{key}"]
    assert torch.equal(trained, read_model(finished / "model.safetensors").tensors[f"body.{key}"])


def test_train_classifier_starts_from_the_body_of_another_classifier(
    command: Any, config: Path, finished: Path, tmp_path: Path
) -> None:
    arguments = [f"body.weights={finished}", "norm.name=plain", "norm.activation=relu", "training.epochs=1"]
    code, _, err = command("train-classifier", config, *arguments, "--run-dir", tmp_path / "run")
    assert code == 0
    assert "body.weights=" in err


def test_train_classifier_invalid_folders_are_refused(
    refuses: Callable[..., str], config: Path, images: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    shutil.copytree(images, folder)
    arguments = ["train-classifier", config, f"data.root={folder}", "--run-dir", tmp_path / "run"]
    (folder / "val" / "emu").mkdir()
    shutil.copy(folder / "val" / "red" / "0.png", folder / "val" / "emu")
    message = refuses(*arguments)
    assert "emu" in message
    assert str(folder / "val") in message
    assert str(folder / "nowhere") in refuses(*arguments, "data.train_split=nowhere")
    assert "class folders" in refuses(*arguments, f"data.root={folder / 'train'}", "data.train_split=red")
    assert "data.root" in refuses(*arguments, "data.root=null")
    assert str(tmp_path / "missing") in refuses(*arguments, f"data.root={tmp_path / 'missing'}")
    assert not (tmp_path / "run").exists()


def test_train_classifier_resuming_with_other_classes_is_refused(
    refuses: Callable[..., str], finished: Path, config: Path, images: Path, tmp_path: Path
) -> None:
    folder, run = tmp_path / "images", tmp_path / "run"
    shutil.copytree(images, folder)
    shutil.copytree(finished, run)
    for split in ("train", "val"):
        (folder / split / "red").rename(folder / split / "pink")
    arguments = ["training.weight_average=0.5", f"data.root={folder}", "--run-dir", run, "--resume"]
    assert "different classes" in refuses("train-classifier", config, *arguments)


def test_train_classifier_unreadable_training_image_ends_the_run_with_its_name(
    command: Any, config: Path, images: Path, tmp_path: Path
) -> None:
    broken = copy_with_broken_image(images, tmp_path / "images", "train")
    code, _, err = command(
        "train-classifier", config, f"data.root={tmp_path / 'images'}", "--run-dir", tmp_path / "run"
    )
    assert code == 2
    assert str(broken) in err.splitlines()[-1]


def test_train_classifier_unreadable_validation_image_is_skipped_and_named(
    command: Any, config: Path, images: Path, tmp_path: Path
) -> None:
    copy_with_broken_image(images, tmp_path / "images", "val")
    code, _, err = command(
        "train-classifier", config, f"data.root={tmp_path / 'images'}", "--run-dir", tmp_path / "run"
    )
    assert code == 0
    assert len(re.findall(r"skipped in the validation: .*val/red/0\.png", err)) == 1


def test_commands_that_segment_name_the_ones_for_classifiers(
    refuses: Callable[..., str], config: Path, finished: Path, images: Path, tmp_path: Path
) -> None:
    for arguments in (
        ["train", config],
        ["train", "resnext101"],
        ["predict", finished, images / "val" / "red", tmp_path / "out"],
        ["evaluate", finished, "--data", images, "--split", "val"],
        ["export-model", finished, tmp_path / "out"],
    ):
        assert "seamseg train-classifier" in refuses(*arguments)


def test_train_classifier_settings_that_segment_are_refused(
    refuses: Callable[..., str], data: Path, tmp_path: Path
) -> None:
    panoptic = write_tiny_config(tmp_path / "panoptic.yaml", data)
    for given in (panoptic, "vistas_r50"):
        assert "seamseg train" in refuses("train-classifier", given, "--run-dir", tmp_path / "run")
    (tmp_path / "typo.yaml").write_text("{dta: {crop: 5}}")
    assert "did you mean data" in refuses("train-classifier", tmp_path / "typo.yaml", "--run-dir", tmp_path / "run")
    assert "did you mean resnext101" in refuses("train-classifier", "resnxt101")
