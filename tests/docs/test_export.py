"""The commands and examples of docs/export.md run on a small network."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from support.tiny_experiment import narrow_body, tiny_experiment

from seamseg.builders import build_initialized_network
from seamseg.cli import main
from seamseg.cli.export_onnx import add_parser
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


def commands(*left_out: str) -> list[list[str]]:
    """Return the arguments of the commands of the page, for a smaller size."""
    lines = [line for block in blocks("sh") for line in block.splitlines() if not set(left_out) & set(line.split())]
    return [shlex.split(line.replace("256x512", "64x96")) for line in lines]


def test_commands_and_examples_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = tiny_experiment(None, "fusion.score_threshold=0.1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    images = tmp_path / "data" / "scenes" / "images" / "train"
    images.mkdir(parents=True)
    street = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    for path in (images / "1.jpg", tmp_path / "street.jpg"):
        cv2.imwrite(str(path), street)
    with narrow_body():
        network = build_initialized_network(experiment, CATEGORIES)
        model = ModelFile(
            yaml.safe_dump(experiment.model_dump(mode="json")), CATEGORIES.to_list(), network.state_dict()
        )
        save_model(Path("runs/demo/model.safetensors"), model)
        for name, *arguments in commands("pip", "dynamic"):  # a dynamic size takes long; tests/export has it
            assert name == "seamseg"
            assert main(arguments) == 0, arguments
            written, fusion = capsys.readouterr().out.splitlines()
            assert f"{Path(arguments[2]).stat().st_size / 1e6:.1f} MB" in written
    shutil.copy(fusion.split(": ")[1], tmp_path)
    without_torch = run_without(("torch", "seamseg", "cv2"), python("PIL"), tmp_path)
    assert re.search(r"^(sky|road|car) \d", without_torch, re.MULTILINE)
    ids = cv2.imread("panoptic.png")[..., ::-1].astype(int) @ [1, 256, 65536]
    assert ids.shape == (90, 120)
    assert set(np.unique(ids)) <= set(range(without_torch.count("\n") + 1))
    colors = {tuple(color) for color in cv2.imread("classes.png")[..., ::-1].reshape(-1, 3).tolist()}
    assert colors <= {(10, 20, 30), (0, 0, 0)}
    run_without((), python("torch.export.load"), ROOT)
    if find_spec("openvino"):
        run_without(("torch",), python("openvino"), ROOT)


def python(word: str) -> str:
    """Return the Python example with a word, for a smaller size."""
    (code,) = (code for code in blocks("python") if word in code)
    return code.replace("256, 512", "64, 96")


def run_without(packages: tuple[str, ...], code: str, path: Path) -> str:
    """Run code in a process that cannot import some packages, and return what it prints."""
    blocked = f"import sys; sys.modules.update(dict.fromkeys({packages}))\n"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", blocked + code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_dynamic_command_of_the_page_is_parsed() -> None:
    subcommands = argparse.ArgumentParser().add_subparsers()
    add_parser(subcommands)
    (arguments,) = [line[2:] for line in commands() if "dynamic" in line]
    options = subcommands.choices["export-onnx"].parse_args(arguments)
    assert (options.size, options.batch) == ("dynamic", None)


def test_page_explains_the_outputs_in_their_order() -> None:
    assert tuple(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)) == OUTPUTS
