"""DDP wrapper of the network: broadcast of running statistics."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from support.ranks import on_ranks
from support.tiny_network import scenes, tiny_network
from torch import Tensor

from seamseg.engine.train import parallel
from seamseg.modules.abn import InPlaceABNSync
from seamseg.modules.norm import NormFactory, NormName, has_per_rank_stats


def on_one_rank(rank: int) -> dict[str, Tensor]:
    """Change a statistic on one rank, then run a forward pass that changes none."""
    warnings.simplefilter("error")
    found: dict[str, Tensor] = {}
    names: tuple[NormName, ...] = ("bn", "syncbn", "affine")
    for name in names:
        network = tiny_network(name)
        together = parallel(network)
        changed = network.body.backbone.mod1.bn1.running_mean
        changed += rank
        together.eval()(*scenes(["objects"], [(32, 32)]), torch.Generator())
        found[name] = changed.clone()
    return found


def test_parallel_broadcasts_running_statistics_only_of_per_rank_norms(tmp_path: Path) -> None:
    first, second = on_ranks(__file__, "on_one_rank", tmp_path)
    assert torch.equal(first["bn"], second["bn"])
    assert torch.equal(first["syncbn"] + 1, second["syncbn"])
    assert torch.equal(first["affine"] + 1, second["affine"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("bn", True), ("syncbn", False), ("gn", False), ("affine", False), ("brn", True), ("mabn", True)],
)
def test_has_per_rank_stats_is_true_only_for_unfrozen_norms_with_statistics_of_a_rank(
    name: NormName, expected: bool
) -> None:
    norm = NormFactory(name).make(16)
    assert has_per_rank_stats(torch.nn.Sequential(InPlaceABNSync(3), norm)) == expected
    for child in norm.modules():
        if hasattr(child, "freeze"):
            child.freeze()
    assert not has_per_rank_stats(norm)


def test_has_per_rank_stats_is_true_for_plain_batchnorm() -> None:
    assert has_per_rank_stats(torch.nn.Sequential(InPlaceABNSync(3), torch.nn.BatchNorm2d(3)))


def test_has_per_rank_stats_is_true_for_a_norm_with_its_own_group() -> None:
    norm = InPlaceABNSync(3)
    norm.group = object()  # type: ignore[assignment]
    assert has_per_rank_stats(norm)
