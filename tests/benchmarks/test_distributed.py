"""Counts of a narrow network on two ranks, the peer's numbers, and the model."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks import distributed
from benchmarks.distributed import count_rows, measure, model_rows, print_model
from benchmarks.distributed_model import NUM_GPUS, Cost, Wires, binding, cost_of
from benchmarks.distributed_rank import PATTERNS, Found, Traffic, network_of
from benchmarks.traffic import Collective, total_bytes
from seamseg.modules.abn import InPlaceABNSync

BOTH, ONE = PATTERNS


@pytest.fixture(scope="module")
def found() -> Found:
    return measure(quick=True)


@pytest.mark.slow
def test_we_have_at_most_as_many_collectives_and_bytes(found: Found) -> None:
    rows = count_rows(found)
    demands = [row for row in rows if row.must is not None]
    assert len(demands) == 2 * 2 * 2 * 2, "two patterns, two modes, two sums, collectives and bytes"
    assert [row.slug for row in demands if not row.holds] == []
    assert len({row.slug for row in rows}) == len(rows)


@pytest.mark.slow
def test_the_peer_computes_the_same(found: Found) -> None:
    """Else its collectives would be those of another network."""
    assert found.losses["peer"] == pytest.approx(found.losses["masked"], rel=1e-3)
    assert found.losses["active"] == found.losses["masked"]


@pytest.mark.slow
def test_the_counts_are_those_of_the_layers(found: Found) -> None:
    norms = [layer for layer in network_of("masked", quick=True).modules() if isinstance(layer, InPlaceABNSync)]
    # The norm of the proposal head runs once per level, four times in all.
    uses = [layer.num_channels for layer in norms] + 3 * [16]
    for side in ("masked", "peer"):
        traffic = found.traffic[BOTH, side]
        assert len(traffic.norms) == 2 * 2 * len(uses), "two ranks, forward and backward"
        assert total_bytes(traffic.norms) == 2 * sum(4 * (2 * width + 1) + 4 * 2 * width for width in uses)
    ours = found.traffic[BOTH, "masked"]
    assert [(one.operation, one.bytes) for one in ours.exchange] == [("all_gather", 2 * 8)] * 2
    assert [one.operation for one in ours.agreement] == ["all_reduce"] * 2
    parameters = sum(parameter.numel() for parameter in network_of("masked", quick=True).parameters())
    assert total_bytes(ours.gradients) == 2 * 4 * parameters
    assert ours.buffers == []
    assert found.traffic[BOTH, "peer"].buffers != []


@pytest.mark.slow
def test_active_ranks_alone_run_the_collectives_of_the_head(found: Found) -> None:
    active, masked = (found.traffic[ONE, side] for side in ("active", "masked"))
    assert len(active.norms) < len(masked.norms)
    assert [one.operation for one in active.norms].count("broadcast") == 2


@pytest.mark.slow
def test_times_and_model(found: Found, capsys: pytest.CaptureFixture[str]) -> None:
    assert all(value > 0 for value in found.milliseconds.values())
    rows = model_rows(found, Wires())
    assert [row.slug for row in rows] == [f"model-{number}" for number in NUM_GPUS]
    assert all(one.ours < other.ours for one, other in pairwise(rows))
    print_model(found, Wires())
    assert "25 GB/s per GPU" in " ".join(capsys.readouterr().out.split())


def test_a_ring_and_a_tree() -> None:
    wires = Wires(latency=1e-3, bandwidth=1e6, launch=1e-2)
    reduce, gather, broadcast = (Collective(name, 1000, False) for name in ("all_reduce", "all_gather", "broadcast"))
    assert cost_of([reduce], 8, wires, trees=False) == Cost(pytest.approx(10 + 14), pytest.approx(2 * 7 / 8))
    assert cost_of([reduce], 8, wires, trees=True) == Cost(pytest.approx(10 + 6), pytest.approx(2 * 7 / 8))
    assert cost_of([gather], 8, wires, trees=False) == Cost(pytest.approx(10 + 7), pytest.approx(7))
    assert cost_of([broadcast], 8, wires, trees=False) == Cost(pytest.approx(10 + 3), pytest.approx(1))
    assert cost_of([reduce, gather], 8, wires, trees=False).total == pytest.approx(24 + 1.75 + 17 + 7)


def test_what_binds() -> None:
    assert binding(Cost(3, 1), Cost(2, 1)) == "latency of the norms"
    assert binding(Cost(3, 1), Cost(2, 9)) == "bandwidth of the gradients"


def test_a_quick_run_does_not_replace_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = [Collective("all_reduce", 8, False)]
    traffic = Traffic(norms=one * 2, gradients=one * 2)
    sides = {(pattern, side): traffic for pattern in PATTERNS for side in ("active", "masked", "peer")}
    known = Found(sides, {}, {"together": 2.0, "apart": 1.5, "alone": 1.0})
    monkeypatch.setattr(distributed, "measure", lambda quick: known)
    monkeypatch.setattr(distributed, "RESULTS", tmp_path)
    distributed.main(["--quick"])
    assert list(tmp_path.iterdir()) == []
    distributed.main([])
    rows = json.loads((tmp_path / "distributed.json").read_text())["rows"]
    assert {"collectives-all-masked-2-of-2", "step-beside-one", "model-1024"} <= {row["slug"] for row in rows}
