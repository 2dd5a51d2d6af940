"""`seamseg export-onnx` and `export-torch`: what they refuse; what they write is tested with its page."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from seamseg.cli.export_arguments import default_size, parse_size

SUBCOMMANDS = pytest.mark.parametrize("subcommand", ["export-onnx", "export-torch"])


@SUBCOMMANDS
def test_existing_files_stay(refuses: Callable[..., str], tmp_path: Path, subcommand: str) -> None:
    (tmp_path / "model").write_text("mine")
    said = refuses(subcommand, tmp_path / "run", tmp_path / "model")
    assert said == f"{tmp_path / 'model'} exists: replace it by --overwrite, or name another file"
    assert (tmp_path / "model").read_text() == "mine"


@SUBCOMMANDS
def test_places_that_cannot_be_written(refuses: Callable[..., str], tmp_path: Path, subcommand: str) -> None:
    assert refuses(subcommand, "run", tmp_path) == f"{tmp_path} is a folder: name the file to write"
    assert f"the folder {tmp_path / 'none'} does not exist" in refuses(subcommand, "run", tmp_path / "none" / "model")


@SUBCOMMANDS
def test_no_model(refuses: Callable[..., str], tmp_path: Path, subcommand: str) -> None:
    assert "there is no model" in refuses(subcommand, tmp_path / "none", tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_without_the_packages(refuses: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    said = refuses("export-onnx", tmp_path / "run", tmp_path / "model")
    assert said == "ONNX files need onnx and onnxscript: run `pip install 'seamseg[onnx]'`"


def test_sizes() -> None:
    assert parse_size("64x96") == (64, 96)
    for text in ("64", "64x", "31x64", "64x31", "axb", "64x64x3", "64x8193", "99999999x99999999"):
        with pytest.raises(argparse.ArgumentTypeError, match="is no HxW of 32 to 8192 pixels"):
            parse_size(text)
    assert default_size(1024, 2048) == (1024, 2048)
    assert default_size(1920, 2304) == (1920, 2304)
    assert default_size(256, 4096) == (256, 512)
