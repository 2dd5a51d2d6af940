"""Checkpoints, whole and damaged."""

from __future__ import annotations

import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from seamseg.runtime.checkpoint import Checkpoint, Position, load_checkpoint, save_checkpoint

CHECKPOINT = Checkpoint(
    settings="training: {epochs: 3}\n# dätä",
    categories=[{"id": 7, "name": "sky", "isthing": 0, "color": [1, 2, 3]}],
    position=Position(epoch=2, batch=1, iteration=17, best_pq=0.25),
    network={"weight": torch.randn(50, 40), "counter": torch.tensor(3)},
    optimizer={"state": {0: {"momentum_buffer": torch.randn(50)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}]},
    scaler={"scale": 1024.0, "_growth_tracker": 3},
    average={"weight": torch.randn(50, 40)},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "checkpoint.pt", CHECKPOINT)
    return tmp_path / "checkpoint.pt"


def refused(path: Path) -> str:
    with pytest.raises(ValueError, match=r"checkpoint\.pt") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


@pytest.mark.parametrize("average", [CHECKPOINT.average, None])
def test_a_checkpoint_reads_back_equal(tmp_path: Path, average: Any) -> None:
    saved = replace(CHECKPOINT, average=average)
    save_checkpoint(tmp_path / "checkpoint.pt", saved)
    assert same(vars(load_checkpoint(tmp_path / "checkpoint.pt")), vars(saved))


def test_a_new_run_begins_at_zero() -> None:
    assert Position() == Position(epoch=0, batch=0, iteration=0, best_pq=-1)


def test_a_failure_leaves_the_previous_one(path: Path) -> None:
    unsavable = replace(CHECKPOINT, optimizer={"state": lambda: None})
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        save_checkpoint(path, unsavable)
    assert load_checkpoint(path).position == CHECKPOINT.position
    assert list(path.parent.iterdir()) == [path]


def test_a_missing_one(tmp_path: Path) -> None:
    assert refused(tmp_path / "checkpoint.pt").startswith("there is no checkpoint")


@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.7, 0.99])
def test_a_truncated_one(path: Path, part: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    assert "damaged or foreign" in refused(path)


def test_one_flipped_bit_in_the_weights(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(CHECKPOINT.network["weight"].numpy().tobytes()) + 1000] ^= 1
    path.write_bytes(data)
    assert "damaged or foreign" in refused(path)


@pytest.mark.parametrize("seed", range(10))
def test_flipped_bits_anywhere(path: Path, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    data = bytearray(path.read_bytes())
    for place in torch.randint(len(data), (40,), generator=generator).tolist():
        data[place] ^= 1 << place % 8
    path.write_bytes(data)
    refused(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04N.", bytes(1000)])
def test_a_foreign_file(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert "damaged or foreign" in refused(path)


def test_a_foreign_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")
    assert "damaged or foreign" in refused(path)


@pytest.mark.parametrize("content", [{"weight": torch.ones(2)}, torch.ones(3), [1, 2], {"format": 99}, {}])
def test_a_torch_file_of_something_else(path: Path, content: Any) -> None:
    torch.save(content, path)
    assert "is not a checkpoint of this program" in refused(path)


@pytest.mark.parametrize("part", ["settings", "categories", "position", "network", "optimizer", "average"])
def test_one_that_lacks_a_part(path: Path, part: str) -> None:
    content = torch.load(path, weights_only=True)
    del content[part]
    torch.save(content, path)
    assert part in refused(path)


def test_one_with_an_unknown_position(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["position"]["page"] = 3
    torch.save(content, path)
    assert "page" in refused(path)


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


def test_a_checkpoint_cannot_run_code(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "owned"
    torch.save({"format": 1, "settings": Malicious(target)}, path)
    assert "damaged or foreign" in refused(path)
    assert not target.exists()
    torch.load(path, weights_only=False)  # the file does what it says …
    assert target.exists()


def test_a_bare_pickle_cannot_run_code(path: Path, tmp_path: Path) -> None:
    path.write_bytes(pickle.dumps(Malicious(tmp_path / "owned")))
    refused(path)
    assert not (tmp_path / "owned").exists()
