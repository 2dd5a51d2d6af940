"""The commands and examples of docs/migrating.md run in order, on synthetic data in the layouts of the page."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest
import torch
from support.legacy_folder import write_legacy
from support.published_archive import VISTAS, metadata, write_archive
from support.tiny_experiment import NARROW, narrow_body
from support.vistas_folder import write_vistas

import seamseg.cli
from seamseg.builders import build_network, open_split
from seamseg.config import Experiment, load_experiment, settings_file
from seamseg.config.load import known_keys
from seamseg.data.formats.annotated_dataset import PANOPTIC
from seamseg.data.formats.open import FORMATS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "migrating.md"
TEXT = PAGE.read_text()
BLOCKS = [(match[1], match[2]) for match in re.finditer(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)]
SMALL = [
    *(override for override in NARROW if not override.startswith("body")),
    "body={name: resnet18}",
    "norm.name=bn",
    "fpn.extra_levels=0",
    "training={epochs: 1, validate_every: 0, num_pictures: 1}",
]
"""Overrides for training commands, which would otherwise take days on 8 GPUs."""


def prepare(folder: Path) -> None:
    """Write the files that the page assumes."""
    write_vistas(folder / "VISTAS", versions=["v1.2", "v2.0"])
    write_legacy(folder / "CONVERTED")
    (folder / "IMAGES").symlink_to(folder / "VISTAS" / "validation" / "images")
    classes = open_split(str(folder / "VISTAS"), "validation", None, "vistas_v1.2").categories
    config = VISTAS
    for key, value in (("size = 1920", 64), ("size = 2304", 96), ("val = 1000", 20), ("predictions = 256", 5)):
        config = config.replace(key, f"{key.partition('=')[0]}= {value}")
    network = build_network(load_experiment(settings_file("vistas_r50")), classes.num_stuff, classes.num_things)
    meta = metadata(classes.num_stuff, classes.num_things) | {"categories": list(classes.names)}
    write_archive(folder / "seamseg_r50_vistas.zip", network.state_dict(), config, meta)


@pytest.fixture(scope="module")
def ran(page_folder: Path) -> Path:
    """Folder in which the commands and examples were run."""
    with narrow_body(), torch.random.fork_rng():
        prepare(page_folder)
        for kind, code in BLOCKS:
            run_python(code) if kind == "python" else run_commands(code)
    return page_folder


def run_python(code: str) -> None:
    exec(compile(code, PAGE, "exec"), {})


def run_commands(code: str) -> None:
    for line in code.splitlines():
        name, subcommand, *arguments = shlex.split(line)
        assert name == "seamseg"
        if subcommand == "train":
            arguments[1:1] = SMALL
        device = [] if subcommand.endswith("-model") else ["--device", "cpu"]
        assert seamseg.cli.main([subcommand, *arguments, *device]) == 0, line


@pytest.mark.slow
def test_commands_and_examples_of_the_page_run(ran: Path) -> None:
    assert [kind for kind, _ in BLOCKS] == ["sh", "sh", "sh", "python"]
    for run in ("vistas_r50", "converted"):
        assert (ran / "runs" / run / "model.safetensors").is_file()
    for out in ("OUT", "OUT_PUBLISHED"):
        assert (ran / out / "panoptic.json").is_file()
    assert (ran / "published" / "SHA256SUMS").is_file()


def test_settings_of_the_page_exist() -> None:
    groups = "|".join(name for name in Experiment.model_fields)
    named = set(re.findall(rf"`((?:{groups})\.\w+(?:\.\w+)*)", TEXT))
    assert len(named) > 50
    assert named - set(known_keys(Experiment)) == {"training.txt"}, "the name of a list file"


def test_library_names_of_the_page_exist() -> None:
    named = set(re.findall(r"\| `?(?:[^|`]*`)?[^|]*\| `(seamseg(?:\.\w+)+)`", TEXT))
    assert len(named) >= 9
    for name in named:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def test_page_lists_every_format_of_panoptic_data() -> None:
    panoptic = [name for name, kind in FORMATS.items() if kind.content == PANOPTIC]
    assert re.findall(r"^\| `([\w.]+)` \| `(?:annotations|config|metadata)", TEXT, re.MULTILINE) == panoptic


def test_subcommands_of_the_page_exist() -> None:
    assert set(re.findall(r"`seamseg (\w[\w-]*)", TEXT)) <= seamseg.cli.SUBCOMMANDS.keys()
