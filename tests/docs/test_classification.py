"""The commands of docs/classification.md run in order, on tiny images and narrow networks."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from support.tiny_experiment import NARROW, narrow_body, write_tiny_splits
from support.tiny_image_folder import write_tiny_folder

from seamseg.builders.classifier import build_initialized_classifier
from seamseg.cli import main
from seamseg.config import ClassifierExperiment, known_configs, load_settings
from seamseg.config.load import CLASSIFIER
from seamseg.export.model_file import read_model

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "classification.md").read_text()
LINES = "".join(re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)).splitlines()
REDUCED = {
    "train-classifier": ("data.crop=32", "data.resize=36", "data.train_batch_size=4", "data.num_workers=0"),
    "train": (*(override for override in NARROW if "body" not in override), "body.frozen=[]", "norm.name=bn"),
}


def run(line: str, *more: str) -> None:
    name, subcommand, *arguments = shlex.split(line)
    assert name == "seamseg"
    reduced = REDUCED.get(subcommand, ())
    epochs = ("training.epochs=1", "training.validate_every=0") if reduced else ()
    assert main([subcommand, *arguments, *reduced, *epochs, *more, "--device", "cpu"]) == 0, line


@pytest.mark.slow
def test_commands_of_the_page_run(page_folder: Path) -> None:
    write_tiny_folder(page_folder / "IMAGES", num_val=2)
    write_tiny_splits(page_folder / "DATASET")
    experiment = load_settings(ClassifierExperiment, known_configs(CLASSIFIER)["resnet50"])
    with narrow_body():
        network = build_initialized_classifier(experiment, 3)
        tensors = {f"module.{name.removeprefix('body.')}": value for name, value in network.state_dict().items()}
        torch.save({"state_dict": tensors}, "resnet50.pth.tar")
        first, *others = LINES
        assert first.startswith("seamseg train-classifier")
        run(first)
        run(first.replace("runs/classifier", "runs/relu"), "norm={name: plain, activation: relu}")
        for line in others:
            run(line)
    assert len(LINES) == 7
    assert json.loads(Path("accuracy.json").read_text())["images"] == 6
    assert read_model(page_folder / "runs" / "street" / "model.safetensors").tensors
