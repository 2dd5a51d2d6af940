"""Names and shapes of the published network's weights, and files that contain them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.golden_network import Golden
from torch import Tensor

from seamseg.export.published import read_snapshot

PARTS = ("body", "rpn_head", "roi_head", "sem_head")


@pytest.fixture(scope="module")
def golden(shared: Path) -> Golden:
    return Golden(shared)


def test_state_dict_has_the_published_names_and_shapes(golden: Golden) -> None:
    found = {name: tuple(tensor.shape) for name, tensor in golden.network().state_dict().items()}
    assert found == golden.shapes


def write_snapshot(golden: Golden, path: Path, with_counters: bool) -> dict[str, Tensor]:
    """Write a published file with one dict per part and other data; entry i is i/8 everywhere, stored as one number."""
    tensors = {
        name: torch.full((), index).expand(shape) if name.endswith("tracked") else torch.tensor(index / 8).expand(shape)
        for index, (name, shape) in enumerate(golden.shapes.items())
        if with_counters or not name.endswith("num_batches_tracked")
    }
    state: dict[str, Any] = {
        part: {name.removeprefix(f"{part}."): tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")}
        for part in PARTS
    }
    state |= {"optimizer": {"state": {}, "param_groups": [{"lr": 0.01, "params": [0]}]}, "loss_meter": {"sum": 0.5}}
    torch.save({"config": "[general]\n", "state_dict": state, "training_meta": {"epoch": 3, "best_score": 0.4}}, path)
    return tensors


@pytest.mark.parametrize("with_counters", [True, False])
def test_published_snapshot_loads_strictly(golden: Golden, tmp_path: Path, with_counters: bool) -> None:
    path = tmp_path / "snapshot.pth.tar"
    written = write_snapshot(golden, path, with_counters)
    network = golden.network()
    network.load_state_dict(read_snapshot(path).tensors, strict=True)
    for name, tensor in network.state_dict().items():
        expected = written.get(name, torch.zeros((), dtype=torch.int64))
        assert torch.equal(tensor, expected), name
