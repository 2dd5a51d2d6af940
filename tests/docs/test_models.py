"""The commands of docs/models.md run in order, on a tiny run and a synthetic archive."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch
from support.published_archive import SMALL, metadata, small_network, write_archive
from support.tiny_experiment import narrow_body, write_tiny_config, write_tiny_splits

import seamseg.cli
from seamseg.export.model_folder import ALL_FILES, is_model_folder
from seamseg.export.published_archive import LIMITS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "models.md"
TEXT = PAGE.read_text()
BLOCKS = re.findall(r"^```(sh|bash)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def ran(page_folder: Path) -> Path:
    """Folder in which the commands were run."""
    with narrow_body(), torch.random.fork_rng():
        prepare(page_folder)
        for kind, code in BLOCKS:
            for line in code.splitlines():
                run(kind, line)
    return page_folder


def prepare(folder: Path) -> None:
    """Write the files that the page assumes: a data set, a run, images and an archive."""
    write_tiny_splits(folder / "DATASET")
    (folder / "IMAGES").symlink_to(next((folder / "DATASET" / "images").iterdir()))
    config = write_tiny_config(folder / "tiny.yaml", folder / "DATASET", "training={epochs: 1, num_pictures: 0}")
    assert seamseg.cli.main(["train", str(config), "--run-dir", "runs/street", "--device", "cpu"]) == 0
    write_archive(Path("seamseg_r50_vistas.zip"), small_network().state_dict(), SMALL.format(mode="bn"), metadata(2, 1))


def run(kind: str, line: str) -> None:
    if kind == "bash":
        subprocess.run(line, shell=True, check=True)
        return
    name, subcommand, *arguments = shlex.split(line)
    assert name == "seamseg"
    device = [] if subcommand.endswith("-model") else ["--device", "cpu"]
    assert seamseg.cli.main([subcommand, *arguments, *device]) == 0, line


def test_commands_of_the_page_run(ran: Path) -> None:
    assert len(BLOCKS) == 4
    assert (ran / "runs" / "again" / "model.safetensors").is_file()
    assert {path.name for path in (ran / "street-r18").iterdir()} == set(ALL_FILES) - {"example.jpg"}
    assert is_model_folder(ran / "vistas-published")
    for out in ("OUT", "OUT_IMPORTED", "OUT_ARCHIVE"):
        assert (ran / out / "panoptic.json").is_file()


def test_page_lists_every_file_of_a_model_folder() -> None:
    assert set(ALL_FILES) <= set(re.findall(r"^\| `([\w.]+)` \|", TEXT, re.MULTILINE))


def test_limits_of_the_page_match_the_code() -> None:
    limits = re.search(r"up to (\d+) GiB, settings (\d+) MiB, classes (\d+) MiB", " ".join(TEXT.split()))
    assert limits
    snapshot, config, classes = (int(number) for number in limits.groups())
    assert {"snapshot": snapshot << 30, "config": config << 20, "metadata": classes << 20} == LIMITS
