"""The examples in docstrings and on the front pages run, and every important public object has an example."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from support.tiny_experiment import narrow_body, tiny_experiment

from seamseg.builders import build_initialized_network
from seamseg.cli import parse
from seamseg.config import save_experiment
from seamseg.export.model_file import MODEL_FILE, ModelFile, save_model
from seamseg.structures import Categories, Category

PACKAGE = Path(__file__).resolve().parents[2] / "seamseg"
MODULES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]
PUBLIC = [
    "seamseg.ABN",
    "seamseg.InPlaceABN",
    "seamseg.InPlaceABNSync",
    "seamseg.Model.predict",
    "seamseg.PackedSequence",
    "seamseg.Result",
    "seamseg.SeamsegError",
    "seamseg.NormConversion",
    "seamseg.convert_norms",
    "seamseg.fold_norms",
    "seamseg.from_batchnorm",
    "seamseg.load_model",
    "seamseg.to_batchnorm",
    "seamseg.data.images.read_image",
    "seamseg.data.open_data_set",
    "seamseg.export.numpy_fusion.fuse",
    "seamseg.metrics.PanopticQuality",
    "seamseg.metrics.compare",
    "seamseg.modules.fold",
    "seamseg.scenes.write_scenes",
    "seamseg.structures.Categories",
    "seamseg.structures.PanopticSegmentation",
    "seamseg.structures.pad_images",
]
CATEGORIES = Categories((Category("road", False, (128, 64, 128), 7), Category("car", True, (0, 0, 142), 26)))


@pytest.fixture
def reader_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Current folder with the files that examples use: the model ``runs/demo`` and the image ``street.jpg``."""
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    cv2.imwrite("street.jpg", image)
    with narrow_body(), torch.random.fork_rng():
        torch.manual_seed(0)
        experiment = tiny_experiment()
        network = build_initialized_network(experiment, CATEGORIES)
        # Every pixel is road, and no region is a car.
        for layer, favored in ((network.sem_head.conv_sem, 0), (network.roi_head.roi_cls, 0)):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
            layer.bias.data[favored] = 100
        Path("runs/demo").mkdir(parents=True)
        model = ModelFile(save_experiment(experiment), CATEGORIES.to_list(), network.state_dict())
        save_model(Path("runs/demo") / MODEL_FILE, model)
        yield tmp_path


def public_object(path: str) -> Any:
    """The object at a dotted path."""
    parts = path.split(".")
    found: Any = importlib.import_module(parts[0])
    for position, name in enumerate(parts[1:], 2):
        if not hasattr(found, name):
            importlib.import_module(".".join(parts[:position]))
        found = getattr(found, name)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_a_module_run(module: str, reader_folder: Path) -> None:
    results = doctest.testmod(importlib.import_module(module), optionflags=doctest.REPORT_NDIFF)
    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.parametrize("path", PUBLIC)
def test_public_object_has_an_example(path: str) -> None:
    assert "Example:\n" in (inspect.getdoc(public_object(path)) or "")


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_python_example_of_a_front_page_runs(page: str, reader_folder: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", (PACKAGE.parent / page).read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, page, "exec"), names)
    assert names["result"].segments[0].class_name == "road"


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "configs/README.md"])
def test_command_of_a_front_page_is_parsed(page: str) -> None:
    blocks = re.findall(r"^```\n(.*?)^```$", (PACKAGE.parent / page).read_text(), re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    ours = [command[1:] for command in commands if command and command[0] == "seamseg"]
    assert len(ours) >= 1
    for arguments in ours:
        assert callable(parse(arguments).run)
