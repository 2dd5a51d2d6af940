"""Pictures: writing files, checking arrays, and conversion from tensors."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from seamseg.visualization.images import check_picture, denormalize, write_image


def _picture(height: int = 20, width: int = 30) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _read(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def test_write_image_as_png_is_lossless(tmp_path: Path) -> None:
    picture = _picture()
    write_image(tmp_path / "a.png", picture)
    assert np.array_equal(_read(tmp_path / "a.png"), picture)


@pytest.mark.parametrize("name", ["a.jpg", "b.JPEG", "ü ö.jpg"])
def test_write_image_as_jpeg_keeps_the_order_of_channels(tmp_path: Path, name: str) -> None:
    write_image(tmp_path / name, np.full((16, 16, 3), (200, 40, 20), np.uint8))
    data = cv2.imdecode(np.fromfile(tmp_path / name, np.uint8), cv2.IMREAD_COLOR)
    assert (tmp_path / name).read_bytes()[:2] == b"\xff\xd8"
    assert np.abs(data[8, 8].astype(int) - (20, 40, 200)).max() < 8


def test_write_image_of_a_non_contiguous_view_works(tmp_path: Path) -> None:
    picture = _picture()[::2, ::-1]
    write_image(str(tmp_path / "a.png"), picture)
    assert np.array_equal(_read(tmp_path / "a.png"), picture)


def test_write_image_replaces_a_file_and_leaves_no_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    write_image(tmp_path / "a.png", _picture())
    assert os.listdir(tmp_path) == ["a.png"]
    assert _read(tmp_path / "a.png").shape == (20, 30, 3)


def test_write_image_gives_the_usual_file_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_image(tmp_path / "a.png", _picture())
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_write_image_that_fails_at_the_end_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"old")

    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ValueError, match=r"a\.png cannot be written: No space left on device"):
        write_image(tmp_path / "a.png", _picture())
    assert os.listdir(tmp_path) == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"old"


def test_write_image_into_a_missing_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing/a\.png cannot be written: No such file or directory"):
        write_image(tmp_path / "missing" / "a.png", _picture())


def test_write_image_onto_a_folder_raises(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(ValueError, match="cannot be written"):
        write_image(tmp_path / "a.png", _picture())
    assert os.listdir(tmp_path) == ["a.png"]


def test_write_image_below_a_file_raises(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be written"):
        write_image(tmp_path / "a" / "b.png", _picture())


@pytest.mark.parametrize("name", ["a.gif", "a", "a.tif"])
def test_write_image_with_another_suffix_raises(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} must end in one of \.png, \.jpg, \.jpeg"):
        write_image(tmp_path / name, _picture())
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_check_picture_of_an_invalid_array_raises(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="H×W×3 array of type uint8"):
        check_picture(array)
    with pytest.raises(ValueError, match="H×W×3 array of type uint8"):
        write_image(tmp_path / "a.png", array)
    assert not os.listdir(tmp_path)


def test_write_image_too_wide_for_jpeg_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.jpg of shape \(1, 70000, 3\)"):
        write_image(tmp_path / "a.jpg", np.zeros((1, 70000, 3), np.uint8))
    assert not os.listdir(tmp_path)


def test_denormalize_of_a_normalized_image_restores_the_picture() -> None:
    picture = _picture()
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    tensor = torch.from_numpy(picture).permute(2, 0, 1) / 255
    tensor = (tensor - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert np.array_equal(denormalize(tensor, mean, std), picture)
    assert np.array_equal(denormalize(tensor.double().requires_grad_(), list(mean), list(std)), picture)


def test_denormalize_of_extreme_values_clips_them_and_makes_nan_black() -> None:
    tensor = torch.tensor([-9.0, 9.0, float("nan"), float("inf"), float("-inf")]).repeat(3, 1)[:, None]
    result = denormalize(tensor, (0.5, 0.5, 0.5), (1, 1, 1))
    assert result.shape == (1, 5, 3)
    assert result[0, :, 0].tolist() == [0, 255, 0, 255, 0]


@pytest.mark.parametrize(("shape", "mean"), [((1, 4, 4), (0.5,) * 3), ((4, 4), (0.5,) * 3), ((3, 4, 4), (0.5,))])
def test_denormalize_without_three_channels_or_means_raises(shape: tuple[int, ...], mean: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="three means and three standard deviations"):
        denormalize(torch.zeros(shape), mean, (1, 1, 1))
