"""`seamseg export-onnx` and `export-torch`: invalid arguments. `tests/docs` tests the files they write."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from seamseg.cli.export_arguments import default_size, parse_size

SUBCOMMANDS = pytest.mark.parametrize("subcommand", ["export-onnx", "export-torch"])


@SUBCOMMANDS
def test_export_existing_file_is_not_overwritten(refuses: Callable[..., str], tmp_path: Path, subcommand: str) -> None:
    (tmp_path / "model").write_text("mine")
    message = refuses(subcommand, tmp_path / "run", tmp_path / "model")
    assert f"{tmp_path / 'model'} already exists" in message
    assert "--overwrite" in message
    assert (tmp_path / "model").read_text() == "mine"


@SUBCOMMANDS
def test_export_output_that_is_a_folder_or_in_no_folder_is_refused(
    refuses: Callable[..., str], tmp_path: Path, subcommand: str
) -> None:
    assert f"{tmp_path} is a folder" in refuses(subcommand, "run", tmp_path)
    assert f"the folder {tmp_path / 'none'} does not exist" in refuses(subcommand, "run", tmp_path / "none" / "model")


@SUBCOMMANDS
def test_export_missing_model_is_refused(refuses: Callable[..., str], tmp_path: Path, subcommand: str) -> None:
    assert "there is no model" in refuses(subcommand, tmp_path / "none", tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_export_onnx_without_the_packages_names_the_install_command(
    refuses: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = refuses("export-onnx", tmp_path / "run", tmp_path / "model")
    assert "onnx and onnxscript" in message
    assert "pip install 'seamseg[onnx]'" in message


def test_export_size_is_parsed_and_has_a_default() -> None:
    assert parse_size("64x96") == (64, 96)
    for text in ("64", "64x", "31x64", "64x31", "axb", "64x64x3", "64x8193", "99999999x99999999"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not HxW with 32 to 8192 pixels"):
            parse_size(text)
    assert default_size(1024, 2048) == (1024, 2048)
    assert default_size(1920, 2304) == (1920, 2304)
    assert default_size(256, 4096) == (256, 512)
