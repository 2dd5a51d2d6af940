"""Saving and loading checkpoints, intact and damaged."""

from __future__ import annotations

import math
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.full_disk import file_size_limit
from support.malicious import Malicious

from seamseg.runtime.checkpoint import Checkpoint, _seal, check_seal, load_checkpoint, save_checkpoint, why_unusable
from seamseg.runtime.training_progress import CompletedSpan, TrainingProgress

CHECKPOINT = Checkpoint(
    settings="training: {epochs: 3}\n# dätä",
    categories=[{"id": 7, "name": "sky", "isthing": 0, "color": [1, 2, 3]}],
    num_ranks=2,
    position=TrainingProgress(2, 1, 17, 0.25, 12, 8, (CompletedSpan(4, 3), CompletedSpan(16, 1))),
    network={"weight": torch.randn(50, 40), "counter": torch.tensor(3)},
    optimizer={"state": {0: {"momentum_buffer": torch.randn(50)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}]},
    scaler={"scale": 1024.0, "_growth_tracker": 3},
    average={"weight": torch.randn(50, 40)},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "checkpoint.pt", CHECKPOINT)
    return tmp_path / "checkpoint.pt"


def rejection(path: Path) -> str:
    with pytest.raises(ValueError, match=r"checkpoint\.pt") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def is_same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(is_same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(is_same, first, second))
    return bool(first == second)


@pytest.mark.parametrize("average", [CHECKPOINT.average, None])
def test_saved_checkpoint_loads_equal(tmp_path: Path, average: Any) -> None:
    saved = replace(CHECKPOINT, average=average)
    save_checkpoint(tmp_path / "checkpoint.pt", saved)
    assert is_same(vars(load_checkpoint(tmp_path / "checkpoint.pt")), vars(saved))


def test_failed_save_leaves_the_previous_checkpoint(path: Path) -> None:
    unsavable = replace(CHECKPOINT, optimizer={"state": lambda: None})
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        save_checkpoint(path, unsavable)
    assert load_checkpoint(path).position == CHECKPOINT.position
    assert list(path.parent.iterdir()) == [path]


def test_missing_checkpoint_raises_error(tmp_path: Path) -> None:
    assert rejection(tmp_path / "checkpoint.pt").startswith("there is no checkpoint")


@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.7, 0.99])
def test_truncated_checkpoint_raises_error(path: Path, part: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    assert "is damaged" in rejection(path)


def test_checkpoint_with_a_flipped_bit_in_the_weights_raises_error(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(CHECKPOINT.network["weight"].numpy().tobytes()) + 1000] ^= 1
    path.write_bytes(data)
    assert "is damaged" in rejection(path)


def test_checkpoint_with_a_flipped_bit_anywhere_fails_the_seal_check(path: Path) -> None:
    """This includes padding, dates and names in the archive, which torch ignores."""
    data = bytearray(path.read_bytes())
    assert len(data) < 40_000
    for place in range(0, len(data), 11):
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        with pytest.raises(ValueError, match="is damaged"):
            check_seal(path)
        data[place] ^= 1 << place % 8
    path.write_bytes(data)
    check_seal(path)


def test_checkpoint_with_appended_bytes_raises_error(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")
    assert "is damaged" in rejection(path)


def test_sealed_file_is_readable_by_torch_and_zipfile(path: Path) -> None:
    assert torch.equal(torch.load(path, weights_only=True)["network"]["weight"], CHECKPOINT.network["weight"])
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"sha256:")


def save_sealed(path: Path, content: Any) -> None:
    """Write any content to a file with a valid checksum."""
    torch.save(content, path)
    _seal(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04N.", bytes(1000)])
def test_loading_a_file_of_another_format_raises_error(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert "is damaged" in rejection(path)


def test_loading_another_zip_archive_raises_error(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")
    assert "is damaged" in rejection(path)


@pytest.mark.parametrize("content", [{"weight": torch.ones(2)}, torch.ones(3), [1, 2], {"format": 99}, {}])
def test_loading_a_torch_file_with_other_content_raises_error(path: Path, content: Any) -> None:
    save_sealed(path, content)
    assert "is not a checkpoint of this version" in rejection(path)


@pytest.mark.parametrize(
    "part", ["settings", "categories", "num_ranks", "position", "network", "optimizer", "scaler", "average"]
)
def test_checkpoint_without_an_entry_raises_error_naming_it(path: Path, part: str) -> None:
    content = torch.load(path, weights_only=True)
    del content[part]
    save_sealed(path, content)
    assert part in rejection(path)


def test_checkpoint_with_unknown_progress_entry_raises_error_naming_it(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["position"]["page"] = 3
    save_sealed(path, content)
    assert "page" in rejection(path)


def test_loading_a_checkpoint_cannot_run_code(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "owned"
    save_sealed(path, {"format": 3, "settings": Malicious(target)})
    assert "cannot be read" in rejection(path)
    assert not target.exists()
    torch.load(path, weights_only=False)  # shows that the file is dangerous
    assert target.exists()


def test_loading_a_bare_pickle_cannot_run_code(path: Path, tmp_path: Path) -> None:
    path.write_bytes(pickle.dumps(Malicious(tmp_path / "owned")))
    rejection(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ({"network": {"weight": torch.tensor([1.0, math.nan])}}, "network.weight"),
        ({"average": {"weight": torch.tensor(math.inf)}}, "average.weight"),
        ({"optimizer": {"state": {0: {"momentum_buffer": torch.tensor([-math.inf])}}}}, "optimizer.state.0.momentum_b"),
    ],
)
def test_saving_a_nonfinite_state_raises_error_naming_the_tensor(path: Path, part: Any, name: str) -> None:
    with pytest.raises(FloatingPointError, match=rf"checkpoint\.pt is not written: .* {name}"):
        save_checkpoint(path, replace(CHECKPOINT, **part))
    assert load_checkpoint(path).position == CHECKPOINT.position
    assert list(path.parent.iterdir()) == [path]


def test_why_unusable_names_a_nonfinite_tensor(path: Path) -> None:
    assert why_unusable(path) == ""
    content = torch.load(path, weights_only=True)
    content["network"] |= {"weight": torch.tensor([math.inf]), "other": torch.tensor([math.nan])}
    save_sealed(path, content)
    assert why_unusable(path) == f"the checkpoint {path} has infinities or NaNs in network.weight and 1 more"


@pytest.mark.parametrize("part", [0.0, 0.2, 0.9, 0.999])
def test_save_on_a_full_disk_leaves_the_previous_checkpoint(path: Path, part: float) -> None:
    size = path.stat().st_size
    with pytest.raises(OSError, match="File too large"), file_size_limit(int(part * size)):
        save_checkpoint(path, CHECKPOINT)
    assert load_checkpoint(path).position == CHECKPOINT.position
    assert list(path.parent.iterdir()) == [path]
