"""Builders of classification networks: the published recipes, initial weights, and the effect of every setting."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.described_trainer import described
from support.tiny_experiment import narrow_body
from support.tiny_image_folder import CLASSES, tiny_classifier, write_tiny_folder
from support.tiny_training import ALONE, Watcher
from torch import nn

from seamseg.builders.classifier import build_classifier, build_classifier_trainer, build_initialized_classifier
from seamseg.config import ClassifierExperiment, known_configs, load_settings
from seamseg.config.load import CLASSIFIER
from seamseg.modules.abn import InPlaceABN, InPlaceABNSync
from seamseg.modules.norm import PlainABN
from seamseg.runtime.training_progress import TrainingProgress

RECIPES = {  # name: images per step of 8 processes
    "resnet34": 512,
    "resnet50": 512,
    "resnet101": 512,
    "resnext101": 512,
    "resnext101_syncbn": 256,
    "resnext101_plain": 256,
    "resnext152": 256,
    "wide_resnet38": 256,
    "densenet264": 256,
}
LARGEST = ("resnext152", "wide_resnet38", "densenet264")
REDUCED = (
    "data.crop=32",
    "data.resize=36",
    "data.train_batch_size=4",
    "data.num_workers=0",
    "training.epochs=1",
    "training.log_every=1",
    "training.validate_every=0",
)


def recipe(name: str, *overrides: str) -> ClassifierExperiment:
    return load_settings(ClassifierExperiment, known_configs(CLASSIFIER)[name], overrides)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_folder(tmp_path_factory.mktemp("builders") / "images", num_train=2, num_val=1)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_has_the_published_values(name: str) -> None:
    experiment = recipe(name)
    assert 8 * experiment.data.train_batch_size * experiment.training.accumulate == RECIPES[name]
    assert (experiment.optimizer.lr, experiment.optimizer.lr_batch, experiment.optimizer.weight_decay) == (
        0.1,
        256,
        1e-4,
    )
    assert (experiment.optimizer.momentum, experiment.optimizer.nesterov, experiment.training.epochs) == (0.9, True, 90)
    assert experiment.optimizer.weight_decay_norm
    assert experiment.schedule.warmup.iterations == 0
    if name == "wide_resnet38":
        assert (experiment.schedule.name, experiment.schedule.power) == ("poly", 1)
    else:
        assert (experiment.schedule.milestones, experiment.schedule.unit) == ((30, 60), "epochs")
    data = experiment.data
    assert (data.crop, data.resize, data.lighting, data.random_flip, data.padding) == (224, 256, 0.1, True, None)
    assert (data.color_jitter.brightness, data.color_jitter.contrast, data.color_jitter.saturation) == (0.4, 0.4, 0.4)
    assert (experiment.norm.activation, experiment.norm.slope) == ("leaky_relu", 0.01)
    with torch.device("meta"):
        network = build_classifier(experiment, 1000)
    kinds = {"bn": InPlaceABN, "syncbn": InPlaceABNSync, "plain": PlainABN}
    norms = {type(layer) for layer in network.modules() if isinstance(layer, (InPlaceABN, PlainABN))}
    assert norms == {kinds[experiment.norm.name]}


def test_cifar_recipe_has_the_published_values() -> None:
    experiment = recipe("cifar10_densenet_bc100")
    data = experiment.data
    assert (data.crop, data.resize, data.padding, data.train_batch_size, data.random_flip) == (32, 32, 4, 64, True)
    assert (experiment.schedule.milestones, experiment.schedule.unit) == ((150, 225), "epochs")
    assert (experiment.optimizer.lr, experiment.optimizer.lr_batch, experiment.training.epochs) == (0.1, None, 300)
    with torch.device("meta"):
        network = build_classifier(experiment, 10)
    # Huang et al., CVPR 2017, table 2: 0.8M parameters.
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(0.77, abs=0.03)


def test_known_configs_are_the_recipes_and_the_measured_ones() -> None:
    others = {"cifar10_densenet_bc100", "digits_resnet18", "objects_resnet18"}
    assert set(known_configs(CLASSIFIER)) == {*RECIPES, *others}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*RECIPES, "cifar10_densenet_bc100", "digits_resnet18"} - {*LARGEST}))
def test_recipe_trains_one_step_at_reduced_size(name: str, images: Path, tmp_path: Path) -> None:
    experiment = recipe(name, *REDUCED, f"data.root={images}")
    trainer, record = build_classifier_trainer(experiment, tmp_path / "run", ALONE, None)
    record.close()
    before = {key: value.clone() for key, value in trainer.network.named_parameters()}
    watcher = Watcher(trainer)
    position = trainer.run(TrainingProgress(), watcher, watcher.stop)
    assert (position.epoch, position.iteration) == (1, 1)
    assert 0.1 < watcher.losses[1]["classification"] < 10
    changed = [key for key, value in trainer.network.named_parameters() if not torch.equal(value, before[key])]
    assert {"body.mod1.conv1.weight", "classifier.fc.weight"} <= set(changed)


@pytest.mark.parametrize("name", LARGEST)
def test_largest_recipes_compute_loss_and_gradients_on_meta_tensors(name: str) -> None:
    """Ordinary BatchNorm stands for in-place norms, which have no meta kernels."""
    with torch.device("meta"):
        network = build_classifier(recipe(name, "norm.name=plain"), 1000)
        logits = network.logits(torch.empty(2, 3, 224, 224))
        loss = nn.functional.cross_entropy(logits, torch.zeros(2, dtype=torch.int64))
    loss.backward()
    assert logits.shape == (2, 1000)
    assert all(parameter.grad.shape == parameter.shape for parameter in network.parameters())


def test_build_initialized_classifier_uses_the_published_gains(images: Path) -> None:
    experiment = tiny_classifier(images)
    network = build_initialized_classifier(experiment, 200)
    fc = network.classifier.fc
    assert fc.weight.std().item() == pytest.approx(0.1 * math.sqrt(2 / (512 + 200)), rel=0.05)
    assert fc.bias.count_nonzero() == 0
    conv = network.body.mod3.block2.convs.conv2
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2) * math.sqrt(2 / (2 * 128 * 9)), rel=0.05)
    again, other = (
        build_initialized_classifier(tiny_classifier(images, f"training.seed={seed}"), 200) for seed in (0, 1)
    )
    assert torch.equal(again.classifier.fc.weight, fc.weight)
    assert not torch.equal(other.classifier.fc.weight, fc.weight)
    assert network.body.mod1.bn1.layer_name == "body.mod1.bn1"


def test_torchvision_body_can_be_trained_as_a_classifier(images: Path, tmp_path: Path) -> None:
    overrides = ["body.name=torchvision:mobilenet_v2", "data.crop=64", "data.resize=64", "training.epochs=1"]
    experiment = tiny_classifier(images, *overrides)
    trainer, record = build_classifier_trainer(experiment, tmp_path / "run", ALONE, None)
    position = trainer.run(TrainingProgress(), record, Watcher(trainer).stop)
    record.close()
    assert position.epoch == 1
    weights = f"body.weights={tmp_path / 'run'}"
    started = build_initialized_classifier(tiny_classifier(images, *overrides, weights), len(CLASSES))
    trained = trainer.network.state_dict()
    for name, value in started.state_dict().items():
        if name.startswith("body."):
            assert torch.equal(value, trained[name])


CHANGES = {
    "data.train_split": "val",
    "data.val_split": "train",
    "data.crop": "17",
    "data.resize": "19",
    "data.random_area": "[0.1, 1]",
    "data.random_aspect": "[1, 1]",
    "data.padding": "2",
    "data.random_flip": "false",
    "data.color_jitter.brightness": "0.1",
    "data.color_jitter.contrast": "0.1",
    "data.color_jitter.saturation": "0.1",
    "data.color_jitter.hue": "0.1",
    "data.lighting": "0.2",
    "data.mean": "[0.1, 0.2, 0.3]",
    "data.std": "[0.1, 0.2, 0.3]",
    "data.train_batch_size": "3",
    "data.val_batch_size": "2",
    "data.num_workers": "1",
    "data.worker_timeout": "300",
}


def built(experiment: ClassifierExperiment, folder: Path) -> dict[str, Any]:
    with narrow_body():
        trainer, record = build_classifier_trainer(experiment, folder, ALONE, None)
    return described(trainer, record)


@pytest.fixture(scope="module")
def unchanged(images: Path) -> dict[str, Any]:
    return built(tiny_classifier(images), images.parent / "run")


@pytest.mark.parametrize("key", CHANGES)
def test_changed_data_setting_changes_the_objects(key: str, images: Path, unchanged: dict[str, Any]) -> None:
    changed = built(tiny_classifier(images, f"{key}={CHANGES[key]}"), images.parent / "run")
    assert changed != unchanged


def test_changes_cover_every_data_setting() -> None:
    def leaves(tree: dict[str, Any], prefix: str) -> Iterator[str]:
        for name, value in tree.items():
            yield from leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]

    assert set(leaves(ClassifierExperiment().data.model_dump(), "data.")) == {*CHANGES, "data.root"}


@pytest.mark.parametrize("path", known_configs(CLASSIFIER).values(), ids=known_configs(CLASSIFIER))
def test_config_starts_with_its_command_and_score_and_is_listed(path: Path) -> None:
    command, score = path.read_text().splitlines()[:2]
    assert re.search(rf"^# .*seamseg train-classifier {path.stem} data.root=[\w/]+ --run-dir runs/\w+$", command)
    assert re.search(r"^# Hardware: .+\. (Expected: |Published accuracy)", score)
    assert f"| `{path.stem}` |" in (path.parents[1] / "README.md").read_text()
