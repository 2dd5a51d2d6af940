"""The commands and examples of docs/export.md run on a small network."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from support.tiny_experiment import narrow_body, tiny_experiment

from seamseg.builders import build_initialized_network
from seamseg.cli import main
from seamseg.export.model_file import ModelFile, save_model
from seamseg.export.numpy_fusion import OUTPUTS
from seamseg.structures import Categories, Category

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "export.md").read_text()
CATEGORIES = Categories(
    tuple(Category(name, name == "car", (10, 20, 30), number) for number, name in enumerate(("sky", "road", "car")))
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_commands_and_examples_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = tiny_experiment(None, "fusion.score_threshold=0.1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    with narrow_body():
        network = build_initialized_network(experiment, CATEGORIES)
        model = ModelFile(
            yaml.safe_dump(experiment.model_dump(mode="json")), CATEGORIES.to_list(), network.state_dict()
        )
        save_model(Path("runs/demo/model.safetensors"), model)
        (commands,) = blocks("sh")
        for line in commands.splitlines():
            name, *arguments = shlex.split(line.replace("256x512", "64x96"))
            assert name == "seamseg"
            assert main(arguments) == 0, line
            fusion = Path(capsys.readouterr().out.splitlines()[1].split(": ")[1])
            assert "def fuse(" in fusion.read_text()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    outputs = []
    for code in blocks("python"):
        command = [sys.executable, "-c", code.replace("256, 512", "64, 96")]
        outputs.append(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert re.search(r"^(sky|road|car) \d", outputs[0], re.MULTILINE)
    extra = {"seamseg": ""}
    torch.export.load("model.pt2", extra_files=extra)
    assert '"names": ["sky", "road", "car"]' in extra["seamseg"]


def test_page_explains_the_outputs_in_their_order() -> None:
    assert tuple(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)) == OUTPUTS
