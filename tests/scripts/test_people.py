"""The script that trains detectors of people beside torchvision's."""

from __future__ import annotations

import json
from argparse import Namespace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch

from seamseg.structures import GroundTruth, PackedSequence

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "people.py"


@pytest.fixture(scope="module")
def people() -> Any:
    """The script as a module."""
    spec = spec_from_file_location("people", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_target_has_people_without_crowd_in_the_form_of_torchvision(people: Any) -> None:
    ids = torch.tensor([[1, 1, 1, 3], [1, 2, 1, 3]])
    truth = GroundTruth(
        PackedSequence([ids[None]]),
        PackedSequence([torch.tensor([255, 0, 1, 1])]),
        PackedSequence([torch.tensor([False, False, False, True])]),
        PackedSequence([torch.tensor([[-1.0, -1, -1, -1], [0, 0, 2, 3], [1, 1, 2, 2], [0, 3, 2, 4]])]),
    )
    target = people.target(truth, 0, num_stuff=1)
    assert target["boxes"].tolist() == [[1, 1, 2, 2]]  # x0, y0, x1, y1
    assert target["labels"].tolist() == [1]
    assert target["masks"].tolist() == [[[0, 0, 0, 0], [0, 1, 0, 0]]]


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
