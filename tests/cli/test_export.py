"""`seamseg export-onnx` and `export-torch`: invalid arguments. `tests/docs` tests the files they write."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from seamseg.cli.export_arguments import default_size, parse_batch, parse_size
from seamseg.cli.export_onnx import calibration_images

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
    assert parse_size("dynamic") == "dynamic"
    for text in ("64", "64x", "31x64", "64x31", "axb", "64x64x3", "64x8193", "99999999x99999999"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not HxW with 32 to 8192 pixels"):
            parse_size(text)
    assert default_size(1024, 2048) == (1024, 2048)
    assert default_size(1920, 2304) == (1920, 2304)
    assert default_size(256, 4096) == (256, 512)


def test_export_batch_is_parsed() -> None:
    assert [parse_batch(text) for text in ("1", "8", "1024", "dynamic")] == [1, 8, 1024, None]
    for text in ("0", "-1", "1025", "1.5", "any", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="is not an integer from 1 to 1024"):
            parse_batch(text)


@pytest.mark.parametrize("arguments", [("--int8",), ("--calibration", "images")])
def test_export_onnx_int8_and_calibration_belong_together(
    refuses: Callable[..., str], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    message = refuses("export-onnx", tmp_path / "run", tmp_path / "model", *arguments)
    assert "--int8" in message
    assert "--calibration" in message


def test_export_onnx_calibration_without_images_is_refused(refuses: Callable[..., str], tmp_path: Path) -> None:
    given = ("export-onnx", tmp_path / "run", tmp_path / "model", "--int8", "--calibration")
    assert f"{tmp_path} contains no images" in refuses(*given, tmp_path)
    assert str(tmp_path / "none") in refuses(*given, tmp_path / "none")
    assert "--num-calibration must be at least 1" in refuses(*given, tmp_path, "--num-calibration", "0")


def test_export_onnx_calibration_file_that_is_missing_or_no_image_is_refused_before_the_export(
    refuses: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "images.txt").write_text("empty.jpg")
    given = ("export-onnx", tmp_path / "none", tmp_path / "model", "--int8", "--calibration")
    assert f"{tmp_path / 'empty.jpg'} is an empty file" in refuses(*given, tmp_path / "images.txt")
    (tmp_path / "images.txt").write_text("missing.jpg")
    assert f"{tmp_path / 'missing.jpg'} cannot be opened" in refuses(*given, tmp_path / "images.txt")


def test_export_onnx_number_of_calibration_images_without_int8_is_refused(
    refuses: Callable[..., str], tmp_path: Path
) -> None:
    message = refuses("export-onnx", tmp_path / "none", tmp_path / "model", "--num-calibration", "8")
    assert "--num-calibration requires --int8" in message


def test_calibration_images_are_taken_at_equal_intervals(tmp_path: Path) -> None:
    for number in range(10):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((2, 3), np.uint8))
    options = argparse.Namespace(int8=True, calibration=tmp_path, num_calibration=4)
    assert [path.stem for path in calibration_images(options)] == ["0", "2", "5", "7"]
    options.num_calibration = None
    assert len(calibration_images(options)) == 10
