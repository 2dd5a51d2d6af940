"""Rows, slugs and demands of the norm's benchmark, on inputs that take no time."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from benchmarks import abn, abn_layers, abn_steps
from benchmarks.abn_layers import SHAPES, peak_row, time_rows
from benchmarks.table import Row
from seamseg.runtime.allocator import SWITCH

SMALL = (2, 8, 6, 5)


class Published(nn.Sequential):
    """Stands for the layer of inplace-abn."""

    def __init__(self, channels: int, activation: str, activation_param: float) -> None:
        assert activation == "leaky_relu"
        super().__init__(nn.BatchNorm2d(channels), nn.LeakyReLU(activation_param))


def limits(rows: list[Row]) -> dict[str, tuple[float | None, float | None]]:
    return {row.slug: (row.must, row.aim) for row in rows}


def test_a_layer_has_a_row_per_layout_type_and_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inplace_abn", SimpleNamespace(InPlaceABN=Published))
    rows = time_rows("-end", rounds=1, shapes=[SMALL])
    assert limits(rows) == {
        "time-bn-2x8x6x5-nchw-end": (0.6, 0.4),
        "time-bn-2x8x6x5-channels_last-end": (0.6, 0.4),
        "time-iabn-2x8x6x5-end": (0.25, 0.12),
        "time-bf16-2x8x6x5-end": (0.6, None),
    }
    assert all(row.ratio > 0 and row.unit == "ms" for row in rows)


def test_the_shapes_are_the_agreed_ones() -> None:
    assert SHAPES == ((2, 256, 128, 128), (4, 64, 256, 256), (8, 512, 32, 32))


def test_without_the_published_package_its_row_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inplace_abn", None)
    (row,) = (row for row in time_rows("", rounds=1, shapes=[SMALL]) if "iabn" in row.slug)
    assert (row.ours, row.peer, row.ratio, row.holds) == (None, None, None, False)
    assert row.measure.startswith("not measured: inplace-abn 1.1.0 cannot be used here (")


def test_sides_that_compute_different_things_are_no_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abn_layers, "_batch_norm", lambda channels: nn.BatchNorm2d(channels))
    with pytest.raises(AssertionError, match="different things"):
        time_rows("", rounds=1, shapes=[SMALL])


@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
def test_both_sides_get_the_layout_and_a_tensor_of_their_own(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_backward_pass_takes_at_least_its_result() -> None:
    row = peak_row((2, 8, 64, 64))
    assert row.slug == "peak-backward"
    assert row.must == 1.05
    assert row.peer == 2 * 8 * 64 * 64 * 4 / 1e6
    assert row.ratio >= 1


def test_what_is_kept_has_three_rows() -> None:
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


def test_a_step_has_three_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abn_steps, "_compiled", lambda network: network)  # compiling takes minutes
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


@pytest.fixture
def fake_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows at once instead of measurements in processes of their own."""

    def rows(function: object, keep_memory: bool | None = None, quick: bool | None = None) -> list[Row]:
        if function is abn.memory_rows:
            return [Row("saved", "m", 1, 2, "MB", 0.6)]
        end = "" if keep_memory else abn.OFF
        return [Row(f"time{end}", "m", 1, 2, "ms"), Row(f"step{end}", "m", 1, 2, "ms")]

    monkeypatch.setattr("benchmarks.machine.in_fresh_process", rows)


@pytest.mark.usefixtures("fake_processes")
def test_both_settings_of_the_allocator_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    abn.main(["--output", str(tmp_path / "abn.json")])
    written = json.loads((tmp_path / "abn.json").read_text())
    assert [row["slug"] for row in written["rows"]] == ["saved", "time", "step", "time-malloc-off", "step-malloc-off"]
    assert set(written["versions"]) == {"python", "torch", "seamseg", "inplace-abn"}
    assert "1 of 1 demands hold" in capsys.readouterr().out


@pytest.mark.usefixtures("fake_processes")
def test_a_quick_run_does_not_replace_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abn, "RESULTS", tmp_path)
    abn.main(["--quick"])
    assert list(tmp_path.iterdir()) == []
    abn.main([])
    assert [path.name for path in tmp_path.iterdir()] == ["abn.json"]
    assert abn.ROUNDS >= 20


def test_an_allocator_that_cannot_be_set_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "0")
    with pytest.raises(SystemExit, match=f"glibc, and {SWITCH} not 0"):
        abn.timed_rows(keep_memory=True, quick=True)
