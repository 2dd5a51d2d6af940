"""The script that trains detectors of people beside torchvision's."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.script_module import load_script
from support.tiny_dataset import write_tiny_panoptic
from torchvision.models import mobilenet_v2

from benchmarks.accuracy_peer import CPU
from seamseg.builders.data import build_training_loader, open_training_split
from seamseg.runtime.training_progress import TrainingProgress


@pytest.fixture(scope="module")
def people() -> Any:
    """The script as a module."""
    return load_script("people")


def test_network_of_torchvision_trains_all_but_the_body(people: Any, tmp_path: Path) -> None:
    write_tiny_panoptic(tmp_path, split="train", num_images=1, stuff=("background",), things=("person",))
    torch.save(mobilenet_v2().state_dict(), tmp_path / "weights.pt")
    options = Namespace(side="torchvision", data=tmp_path, weights=tmp_path / "weights.pt", seed=0, epochs=1)
    experiment = people.read_experiment(options)
    peer = people.build_torchvision(experiment, 16, 32).train()
    body = peer.network.backbone.body
    assert not any(module.training for module in body.modules())
    loader = build_training_loader(experiment, open_training_split(experiment), CPU, TrainingProgress())
    (batch,) = loader.epoch(0)
    losses = dict(peer(batch.images, batch.ground_truth, torch.Generator()).items())
    torch.stack(list(losses.values())).sum().backward()
    assert {name for name, value in peer.named_parameters() if value.grad is None} == {
        f"network.backbone.body.{name}" for name, _ in body.named_parameters()
    }


def test_num_epochs_fit_into_the_budget_and_are_measured_once(
    people: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []

    def train(side: str, options: Namespace, run: Path, epochs: int, seed: int) -> float:
        trained.append(epochs)
        return 10.0 + 20.0 * epochs

    monkeypatch.setattr(people, "train", train)
    options = Namespace(runs=tmp_path, budget=1800.0)
    assert [people.num_epochs(options, "seamseg") for _ in range(2)] == [89, 89]
    assert trained == list(people.TIMED_EPOCHS)


def test_table_has_means_and_ratios(people: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side, ap50 in (("seamseg", 0.3), ("torchvision", 0.2)):
        for seed in (0, 1):
            figures = {"ap": 0.1, "ap50": ap50 + 0.02 * seed}
            (tmp_path / f"{side}-{seed}.scores.json").write_text(json.dumps({"box": figures, "mask": figures}))
            (tmp_path / f"{side}-{seed}.trained.json").write_text(json.dumps({"cpu_seconds": 1800.0, "epochs": 90}))
    people.print_table(tmp_path)
    out = capsys.readouterr().out
    assert "| seamseg | 2 | 90 | 30.0 ± 0.0 | 10.0 ± 0.0 | 31.0 ± 1.4 |" in out
    assert "1.48 (goal: 1.1, met)" in out
