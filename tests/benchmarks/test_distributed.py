"""Collectives of a narrow network on two ranks, those of the peer, and the cost model."""

from __future__ import annotations

from itertools import pairwise

import pytest

from benchmarks.distributed import count_rows, measure, model_rows, print_model
from benchmarks.distributed_model import NUM_GPUS, Cost, Wires, cost_of
from benchmarks.distributed_rank import PATTERNS, Found, network_of
from benchmarks.traffic import Collective, total_bytes
from seamseg.modules.abn import InPlaceABNSync

BOTH, ONE = PATTERNS


@pytest.fixture(scope="module")
def found() -> Found:
    return measure(quick=True)


@pytest.mark.slow
def test_our_norms_use_at_most_the_collectives_and_bytes_of_the_peer(found: Found) -> None:
    rows = count_rows(found)
    limited = [row for row in rows if row.must is not None]
    assert len(limited) == 2 * 2 * 2 * 2, "two patterns, two modes, two sums, collectives and bytes"
    assert [row.slug for row in limited if not row.holds] == []
    assert len({row.slug for row in rows}) == len(rows)


@pytest.mark.slow
def test_peer_computes_the_same_loss(found: Found) -> None:
    assert found.losses["peer"] == pytest.approx(found.losses["masked"], rel=1e-3)
    assert found.losses["active"] == found.losses["masked"]


@pytest.mark.slow
def test_counted_bytes_equal_those_computed_from_the_layers(found: Found) -> None:
    norms = [layer for layer in network_of("masked", quick=True).modules() if isinstance(layer, InPlaceABNSync)]
    # The norm of the RPN head runs once per level, four times in total.
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
def test_only_active_ranks_run_the_collectives_of_the_roi_head(found: Found) -> None:
    active, masked = (found.traffic[ONE, side] for side in ("active", "masked"))
    assert len(active.norms) < len(masked.norms)
    assert [one.operation for one in active.norms].count("broadcast") == 2


@pytest.mark.slow
def test_modeled_cost_grows_with_the_number_of_gpus(found: Found, capsys: pytest.CaptureFixture[str]) -> None:
    assert all(value > 0 for value in found.milliseconds.values())
    rows = model_rows(found, Wires())
    assert [row.slug for row in rows] == [f"model-{number}" for number in NUM_GPUS]
    assert all(one.ours < other.ours for one, other in pairwise(rows))
    print_model(found, Wires())
    assert "25 GB/s per GPU" in " ".join(capsys.readouterr().out.split())


def test_cost_of_rings_and_trees_follows_the_formulas() -> None:
    wires = Wires(latency=1e-3, bandwidth=1e6, launch=1e-2)
    reduce, gather, broadcast = (Collective(name, 1000, False) for name in ("all_reduce", "all_gather", "broadcast"))
    assert cost_of([reduce], 8, wires, trees=False) == Cost(pytest.approx(10 + 14), pytest.approx(2 * 7 / 8))
    assert cost_of([reduce], 8, wires, trees=True) == Cost(pytest.approx(10 + 6), pytest.approx(2 * 7 / 8))
    assert cost_of([gather], 8, wires, trees=False) == Cost(pytest.approx(10 + 7), pytest.approx(7))
    assert cost_of([broadcast], 8, wires, trees=False) == Cost(pytest.approx(10 + 3), pytest.approx(1))
    assert cost_of([reduce, gather], 8, wires, trees=False).total == pytest.approx(24 + 1.75 + 17 + 7)
