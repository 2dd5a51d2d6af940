"""Rows of the norm's benchmark on small inputs."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from benchmarks import abn, abn_layers, abn_steps
from benchmarks.abn_layers import peak_row, time_rows
from benchmarks.table import Row
from seamseg.runtime.allocator import SWITCH

SMALL = (2, 8, 6, 5)


class Published(nn.Sequential):
    """Replacement for the layer of inplace-abn."""

    def __init__(self, channels: int, activation: str, activation_param: float) -> None:
        assert activation == "leaky_relu"
        super().__init__(nn.BatchNorm2d(channels), nn.LeakyReLU(activation_param))


def limits(rows: list[Row]) -> dict[str, tuple[float | None, float | None]]:
    return {row.slug: (row.must, row.aim) for row in rows}


def test_time_rows_have_a_row_per_layout_type_and_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inplace_abn", SimpleNamespace(InPlaceABN=Published))
    rows = time_rows("-end", rounds=1, shapes=[SMALL])
    assert limits(rows) == {
        "time-bn-2x8x6x5-nchw-end": (0.6, 0.4),
        "time-bn-2x8x6x5-channels_last-end": (0.6, 0.4),
        "time-iabn-2x8x6x5-end": (0.25, 0.12),
        "time-bf16-2x8x6x5-end": (0.6, None),
    }
    assert all(row.ratio > 0 and row.unit == "ms" for row in rows)


def test_time_row_without_the_published_package_says_why_it_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inplace_abn", None)
    row = abn_layers._row_beside_inplace_abn("time-iabn", SMALL, rounds=1)
    assert (row.ours, row.peer, row.ratio, row.holds) == (None, None, None, False)
    assert row.measure.startswith("not measured: inplace-abn 1.1.0 cannot be used here (")


def test_time_rows_of_sides_with_different_results_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abn_layers, "_batch_norm", lambda channels: nn.BatchNorm2d(channels))
    with pytest.raises(AssertionError, match="different things"):
        time_rows("", rounds=1, shapes=[SMALL])


@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
def test_both_sides_get_their_own_tensor_in_the_layout(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            assert not x.is_leaf
            assert x.requires_grad
            return x * 2

    values = abn_layers._values(SMALL, layout)
    abn_layers._race(Spy(), Spy(), values, rounds=1)
    assert {x.stride() for x in seen} == {values.stride()}
    assert all(x.data_ptr() != values.data_ptr() for x in seen)
    assert values.is_contiguous(memory_format=torch.channels_last) == (layout == "channels_last")


def test_peak_row_counts_at_least_the_gradient_of_the_input() -> None:
    row = peak_row((2, 8, 64, 64))
    assert row.slug == "peak-backward"
    assert row.must == 1.05
    assert row.peer == 2 * 8 * 64 * 64 * 4 / 1e6
    assert row.ratio >= 1


def test_saved_rows_count_the_bytes_that_the_peers_keep() -> None:
    rows = abn_steps.saved_rows()
    assert limits(rows) == {
        "saved-chain": (0.52, None),
        "saved-bottlenecks": (0.52, 0.5),
        "saved-resnet50": (0.58, 0.52),
    }
    chain, bottlenecks, _ = rows
    size = 4 * 64 * 64 * 64 * 4
    moments = 8 * 2 * 64 * 4
    assert chain.peer == (16 * size + moments) / 1e6, "an input and an output for each of eight norms"
    size = 4 * 64 * 32 * 32 * 4
    assert bottlenecks.peer == (4 * 12 * size + 4 * 2 * (64 + 64 + 256) * 4) / 1e6


def test_step_rows_have_three_peers_and_memory_only_without_a_suffix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abn_steps, "_compiled", lambda network: network)  # compiling takes minutes
    monkeypatch.setattr(abn_steps, "_WARM_UP", 0)
    rows = abn_steps.step_rows("", rounds=1, images=(2, 3, 64, 64))
    assert limits(rows) == {
        "step-resnet50": (1.0, None),
        "step-resnet50-checkpoint": (None, None),
        "step-resnet50-compile": (None, None),
        "memory-resnet50": (None, None),
        "memory-resnet50-checkpoint": (None, None),
        "memory-resnet50-compile": (None, None),
    }
    assert all(row.ratio > 0 for row in rows)
    without_memory = abn_steps.step_rows("-end", rounds=1, images=(2, 3, 64, 64))
    assert [row.slug for row in without_memory] == [f"step-resnet50{peer}-end" for peer in abn_steps.PEERS]


def test_timed_rows_without_control_of_the_allocator_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "0")
    with pytest.raises(SystemExit, match=f"glibc, and {SWITCH} not 0"):
        abn.timed_rows(keep_memory=True, quick=True)
