"""`seamseg test-classifier`: accuracy, crops, published files, conversions of weights, and invalid input."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from support.tiny_experiment import narrow_body
from support.tiny_image_folder import (
    CLASSES,
    copy_with_broken_image,
    tiny_classifier,
    write_classifier_config,
    write_tiny_folder,
)
from torchvision.transforms import v2

from seamseg.builders.classifier import build_initialized_classifier
from seamseg.builders.classifier_model import open_classifier
from seamseg.cli import main
from seamseg.runtime.log import read_metrics

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_folder(tmp_path_factory.mktemp("classifier") / "images", num_val=5)


@pytest.fixture(scope="module")
def tiny_yaml(images: Path) -> Path:
    return write_classifier_config(images.parent / "tiny.yaml", images)


def train(tiny_yaml: Path, name: str, *overrides: str) -> Path:
    folder = tiny_yaml.parent / name
    with narrow_body():
        assert main(["train-classifier", str(tiny_yaml), *overrides, "--run-dir", str(folder), "--device", "cpu"]) == 0
    return folder


@pytest.fixture(scope="module")
def finished(tiny_yaml: Path) -> Path:
    return train(tiny_yaml, "run")


@pytest.fixture(scope="module")
def with_relu(tiny_yaml: Path) -> Path:
    return train(tiny_yaml, "relu", "norm={name: plain, activation: relu}")


def result(out: str) -> tuple[int, float, float]:
    match = re.fullmatch(r"(\d+) images, .*\ntop-1 ([\d.]+) %\ntop-5 ([\d.]+) %\n", out)
    assert match, out
    return int(match[1]), float(match[2]), float(match[3])


def test_test_classifier_equals_the_validation_of_the_training(
    command: Any, finished: Path, images: Path, tmp_path: Path
) -> None:
    code, out, err = command("test-classifier", finished, images, "--json", tmp_path / "new" / "scores.json")
    best = max(entry["top1"] for entry in read_metrics(finished) if entry["kind"] == "validation")
    assert code == 0
    assert result(out) == (15, pytest.approx(100 * best, abs=0.01), 100)
    assert re.search(r"testing .* 15/15 ", err)
    scores = json.loads((tmp_path / "new" / "scores.json").read_text())
    assert scores == {"images": 15, "top1": pytest.approx(best), "top5": 1.0, "unreadable": []}


@pytest.mark.parametrize("crops", [1, 10])
def test_test_classifier_crops_give_the_accuracy_of_torchvisions_crops(
    command: Any, finished: Path, images: Path, crops: int
) -> None:
    model = open_classifier(finished, None, CPU)
    data = model.experiment.data
    crop = v2.CenterCrop(24) if crops == 1 else v2.TenCrop(24)
    correct = []
    for label, name in enumerate(CLASSES):
        for path in sorted((images / "val" / name).iterdir()):
            pixels = torch.from_numpy(cv2.imread(str(path))[:, :, ::-1].copy()).permute(2, 0, 1)
            cropped = crop(v2.Resize(30, antialias=True)(pixels))
            views = torch.stack(cropped if crops == 10 else [cropped]).float() / 255
            views = (views - torch.tensor(data.mean)[:, None, None]) / torch.tensor(data.std)[:, None, None]
            with torch.no_grad():
                correct.append(int(model.network.logits(views).mean(dim=0).argmax()) == label)
    code, out, _ = command("test-classifier", finished, images, "--crop", 24, "--size", 30, "--crops", crops)
    assert code == 0
    assert result(out)[1] == pytest.approx(100 * np.mean(correct), abs=0.01)
    assert f"{crops} crop{'s' if crops > 1 else ''} of 24 pixels from a shorter side of 30" in out


def test_test_classifier_size_follows_the_crop_as_in_training(command: Any, finished: Path, images: Path) -> None:
    assert (
        "1 crop of 32 pixels from a shorter side of 36"
        in command("test-classifier", finished, images, "--crop", 32).out
    )


def test_test_classifier_other_split_with_some_of_the_classes(
    command: Any, finished: Path, images: Path, tmp_path: Path
) -> None:
    shutil.copytree(images / "val" / "red", tmp_path / "few" / "red")
    code, out, _ = command("test-classifier", finished, tmp_path, "--split", "few")
    assert (code, result(out)[0]) == (0, 5)
    assert command("test-classifier", next(finished.glob("checkpoint-*.pt")), images).code == 0


def test_test_classifier_unreadable_images_are_skipped_and_listed(
    command: Any, finished: Path, images: Path, tmp_path: Path
) -> None:
    copy_with_broken_image(images, tmp_path / "images", "val")
    code, out, err = command("test-classifier", finished, tmp_path / "images", "--json", tmp_path / "scores.json")
    assert code == 3
    assert result(out)[0] == 14
    assert "1 image could not be read" in err
    (entry,) = json.loads((tmp_path / "scores.json").read_text())["unreadable"]
    assert entry["file_name"] == "val/red/0.png"


def test_test_classifier_relu_model_moves_into_a_leaky_relu_network(
    command: Any, with_relu: Path, tiny_yaml: Path, images: Path
) -> None:
    """In-place norms with leaky ReLU compute the same with a slope near 0, except for negative and tiny weights."""
    leaky = tiny_classifier(images, "norm={name: bn, slope: 1.0e-6, scale: signed}")
    original, moved = open_classifier(with_relu, None, CPU), open_classifier(with_relu, leaky, CPU)
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(
            moved.network.logits(x.clone()), original.network.logits(x.clone()), atol=1e-3, rtol=1e-3
        )
    assert original.report == ""
    code, out, err = command("test-classifier", with_relu, images, "--config", tiny_yaml)
    assert code == 0
    result(out)
    report = next(line for line in err.splitlines() if "entries used" in line)
    for fact in (str(with_relu), "0 left out", "from plain to abs", "leaky_relu instead of relu"):
        assert fact in report


def published(path: Path, images: Path, norm: str = "{name: bn}", prefix: str = "module.") -> Path:
    """Write a network as the published ones are: an entry `state_dict`, and names without `body.`."""
    network = build_initialized_classifier(tiny_classifier(images, f"norm={norm}"), len(CLASSES))
    tensors = {prefix + name.removeprefix("body."): tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": tensors, "epoch": 90}, path)
    return path


def test_test_classifier_published_file_needs_the_config_of_its_network(
    command: Any, refuses: Callable[..., str], tiny_yaml: Path, images: Path, tmp_path: Path
) -> None:
    file = published(tmp_path / "resnet.pth.tar", images)
    assert "--config" in refuses("test-classifier", file, images)
    code, out, err = command("test-classifier", file, images, "--config", tiny_yaml)
    assert code == 0
    assert result(out)[0] == 15
    assert f"{file}: " in err
    assert "0 left out" in err
    assert "converted" not in err


def test_open_classifier_published_weights_are_converted_to_the_scale_of_the_settings(
    images: Path, tmp_path: Path
) -> None:
    file = published(tmp_path / "resnet.pth.tar", images)
    content = torch.load(file)
    with torch.no_grad():
        for name, tensor in content["state_dict"].items():
            if name.endswith("bn1.weight"):
                tensor[::2] *= -1  # the published norms use absolute values
    torch.save(content, file)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    outputs = []
    for scale in ("abs", "signed"):
        model = open_classifier(file, tiny_classifier(images, f"norm={{name: bn, scale: {scale}}}"), CPU)
        with torch.no_grad():
            outputs.append(model.network.logits(x.clone()))
    torch.testing.assert_close(*outputs, atol=1e-4, rtol=1e-4)
    plain = open_classifier(file, tiny_classifier(images, "norm={name: plain}"), CPU)
    assert plain.network.state_dict()["body.mod1.bn1.weight"][0] == -1


def test_test_classifier_torchvision_resnet_has_the_logits_of_torchvision(images: Path, tmp_path: Path) -> None:
    from torchvision import models

    with torch.random.fork_rng():
        torch.manual_seed(0)
        peer = models.resnet18(num_classes=7).eval()
    torch.save(peer.state_dict(), tmp_path / "resnet18.pth")
    with narrow_body(64):
        experiment = tiny_classifier(images, "norm={name: plain, activation: relu}")
        model = open_classifier(tmp_path / "resnet18.pth", experiment, CPU)
    assert (model.num_classes, model.classes) == (7, None)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model.network.logits(x), peer(x), atol=1e-4, rtol=1e-4)


def test_test_classifier_wrong_models_are_refused(
    refuses: Callable[..., str], run_dir: Path, finished: Path, tiny_yaml: Path, images: Path, tmp_path: Path
) -> None:
    file = published(tmp_path / "resnet.pth", images)
    message = refuses("test-classifier", file, images, "--config", "resnext101")
    assert "resnext101" in message
    assert "missing" in message
    assert "mod2.block1" in message
    message = refuses("test-classifier", finished, images, "--config", "densenet264")
    assert "densenet264" in message
    assert "seamseg evaluate" in refuses("test-classifier", run_dir, images)
    (tmp_path / "text.pth").write_text("no weights")
    assert "text.pth" in refuses("test-classifier", tmp_path / "text.pth", images)
    assert "nowhere" in refuses("test-classifier", tmp_path / "nowhere", images)
    torch.save({"state_dict": {"mod1.conv1.weight": torch.zeros(3)}}, tmp_path / "body.pth")
    assert "classifier.fc" in refuses("test-classifier", tmp_path / "body.pth", images, "--config", tiny_yaml)


def test_test_classifier_wrong_folders_and_numbers_are_refused(
    refuses: Callable[..., str], finished: Path, tiny_yaml: Path, images: Path, tmp_path: Path
) -> None:
    shutil.copytree(images / "val", tmp_path / "val")
    assert "nowhere" in refuses("test-classifier", finished, tmp_path / "nowhere")
    assert "class folders" in refuses("test-classifier", finished, images / "val", "--split", "red")
    shutil.copytree(images / "val" / "red", tmp_path / "val" / "emu")
    assert "emu" in refuses("test-classifier", finished, tmp_path)
    file = published(tmp_path / "resnet.pth", images)
    message = refuses("test-classifier", file, tmp_path, "--config", tiny_yaml)
    assert "3 classes" in message
    assert "4 folders" in message
    assert "--size" in refuses("test-classifier", finished, images, "--crop", 30, "--size", 20)
    assert "0 pixels" in refuses("test-classifier", finished, images, "--crop", 0)
    for path in (tmp_path / "val").rglob("*.*g"):
        path.write_bytes(b"")
    shutil.rmtree(tmp_path / "val" / "emu")
    assert "none of 15 images" in refuses("test-classifier", finished, tmp_path)
