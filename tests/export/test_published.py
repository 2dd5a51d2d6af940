"""Snapshots and metadata as the authors published them."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import msgpack
import pytest
import torch
from tiny_network import tiny_network

from seamseg.export.published import PARTS, read_metadata, read_snapshot
from seamseg.structures import Category


def published(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """A snapshot in the published layout, of a time when norms had no counters yet."""
    parts: dict[str, Any] = {part: OrderedDict() for part in PARTS}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        if not rest.endswith("num_batches_tracked"):
            parts[part][rest] = tensor
    meter = {"last": torch.zeros(1), "history": [1.0, 2.0]}
    return {
        "config": "[general]\nval_interval = 1\n",
        "state_dict": parts | {"optimizer": {"state": {}, "param_groups": []}, "loss_meter": meter},
        "training_meta": {"epoch": 84, "last_score": 0.37, "best_score": 0.38, "global_step": 191000},
    }


def test_a_snapshot_loads_strictly_by_name(tmp_path: Path) -> None:
    source, target = tiny_network(seed=1), tiny_network(seed=2)
    torch.save(published(source.state_dict()), tmp_path / "best.pth.tar")
    target.load_state_dict(read_snapshot(tmp_path / "best.pth.tar"), strict=True)
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name


def test_names_lose_their_first_part_only(tmp_path: Path) -> None:
    content = published(tiny_network().state_dict())
    assert "backbone.mod1.conv1.weight" in content["state_dict"]["body"]
    torch.save(content, tmp_path / "best.pth.tar")
    assert "body.backbone.mod1.conv1.weight" in read_snapshot(tmp_path / "best.pth.tar")


def test_counters_that_are_there_are_kept(tmp_path: Path) -> None:
    content = published(tiny_network().state_dict())
    content["state_dict"]["body"]["backbone.mod1.bn1.num_batches_tracked"] = torch.tensor(191000)
    torch.save(content, tmp_path / "best.pth.tar")
    tensors = read_snapshot(tmp_path / "best.pth.tar")
    assert int(tensors["body.backbone.mod1.bn1.num_batches_tracked"]) == 191000
    assert int(tensors["rpn_head.bn1.num_batches_tracked"]) == 0


def refused(path: Path) -> str:
    with pytest.raises(ValueError, match=path.name) as caught:
        read_snapshot(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello"])
def test_a_file_of_something_else(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "best.pth.tar").write_bytes(content)
    assert "cannot be read" in refused(tmp_path / "best.pth.tar")


def test_a_missing_file(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "best.pth.tar")


@pytest.mark.parametrize("content", [[1], {}, {"state_dict": 3}, {"state_dict": {"body": {}, "rpn_head": {}}}])
def test_a_torch_file_of_something_else(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "best.pth.tar")
    assert "no published snapshot" in refused(tmp_path / "best.pth.tar")


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


def test_a_snapshot_cannot_run_code(tmp_path: Path) -> None:
    torch.save({"state_dict": Malicious(tmp_path / "owned")}, tmp_path / "best.pth.tar")
    refused(tmp_path / "best.pth.tar")
    assert not (tmp_path / "owned").exists()


META = {
    "num_stuff": 2,
    "num_thing": 1,
    "categories": ["sky", "road", "car"],
    "palette": [[1, 2, 3], [4, 5, 6], [7, 8, 255]],
    "original_ids": [27, 13, 55],
}


def written(folder: Path, meta: Any) -> Path:
    path = folder / "metadata.bin"
    path.write_bytes(msgpack.packb({"meta": meta, "images": [{"id": "a", "cat": [255, 0], "size": [2, 3]}]}))
    return path


def test_metadata(tmp_path: Path) -> None:
    categories = read_metadata(written(tmp_path, META))
    assert (categories.num_stuff, categories.num_things) == (2, 1)
    assert categories.classes == (
        Category("sky", False, (1, 2, 3), 27),
        Category("road", False, (4, 5, 6), 13),
        Category("car", True, (7, 8, 255), 55),
    )


@pytest.mark.parametrize(
    "meta",
    [
        {},
        5,
        *({name: value for name, value in META.items() if name != key} for key in META if key != "num_thing"),
        META | {"palette": [[1, 2, 3]]},
        META | {"palette": [[1, 2], [4, 5, 6], [7, 8, 9]]},
        META | {"original_ids": [1, 1, 2]},
        META | {"num_stuff": "many"},
    ],
)
def test_metadata_of_another_kind(tmp_path: Path, meta: Any) -> None:
    with pytest.raises(ValueError, match=r"metadata\.bin cannot be read as metadata"):
        read_metadata(written(tmp_path, meta))


@pytest.mark.parametrize("content", [b"", b"hello", b"\xc1", b"\x81"])
def test_metadata_that_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metadata.bin").write_bytes(content)
    with pytest.raises(ValueError, match=r"metadata\.bin cannot be read as metadata"):
        read_metadata(tmp_path / "metadata.bin")


def test_metadata_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"metadata\.bin cannot be read as metadata"):
        read_metadata(tmp_path / "metadata.bin")
