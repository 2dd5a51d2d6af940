"""Rows of the network benchmark, its floor, and the peers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import machine, network
from benchmarks.network_cases import FULL, QUICK, Plan, annotation, made_up_step
from benchmarks.network_compiled import compiled_rows
from benchmarks.network_floor import OperatorLog, Product, TensorShape, measure_floor, record_operators
from benchmarks.network_memory import CASES, MemoryCase, describe
from benchmarks.network_peers import SemanticFPNHead, WholeSemanticLoss
from benchmarks.network_times import plainly_built, predictor, targets_row
from benchmarks.table import Row, read_rows, write_rows
from seamseg.algos.losses import SemanticLoss
from seamseg.builders.memory import MadeUpStep
from seamseg.engine.step_memory import StepMemory
from seamseg.modules import compilation
from seamseg.modules.abn import ABN
from seamseg.modules.norm import PlainABN
from seamseg.predict import Predictor
from seamseg.structures import pad_images


def layers() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 5))


def test_log_has_the_products_of_both_passes() -> None:
    network, x = layers(), torch.randn(2, 3, 8, 8)
    log = record_operators(lambda: network(x).sum().backward())
    with FlopCounterMode(display=False) as counter:
        network(x).sum().backward()
    assert sum(count * product.flops for product, count in log.products.items()) == counter.get_total_flops()
    names = [str(product.operator) for product in log.products.elements()]
    assert names.count("aten.convolution.default") == names.count("aten.convolution_backward.default") == 2
    assert names.count("aten.addmm.default") == 1
    assert names.count("aten.mm.default") == 2


def test_log_counts_the_bytes_of_other_operators() -> None:
    x, y = torch.ones(1000), torch.ones(1000)
    assert record_operators(lambda: x + y).other_bytes == 3 * 4000
    assert record_operators(lambda: y.add_(x)).other_bytes == 3 * 4000
    assert record_operators(lambda: x.view(10, 100)).other_bytes == 0


def test_floor_adds_up_equal_products() -> None:
    network, x = layers(), torch.randn(2, 3, 8, 8)

    def twice() -> None:
        for _ in range(2):
            network(x).sum().backward()

    once, log = record_operators(lambda: network(x).sum().backward()), record_operators(twice)
    assert log.products == {product: 2 * count for product, count in once.products.items()}
    floor = measure_floor(log, rounds=1)
    assert floor.milliseconds > 0
    assert floor.gflop == pytest.approx(2 * sum(p.flops * n for p, n in once.products.items()) / 1e9)
    assert "GFLOP" in floor.describe(2 * floor.milliseconds)


def test_shape_makes_tensors_of_its_layout() -> None:
    transposed = TensorShape((4, 6), torch.bfloat16, True).make(torch.channels_last)
    assert (tuple(transposed.shape), transposed.stride(), transposed.dtype) == ((4, 6), (1, 4), torch.bfloat16)
    maps = TensorShape((2, 3, 4, 5), torch.float32, False)
    assert maps.make(torch.channels_last).is_contiguous(memory_format=torch.channels_last)
    assert maps.make(torch.contiguous_format).is_contiguous()


def test_product_without_maps_is_measured_in_one_format(monkeypatch: pytest.MonkeyPatch) -> None:
    with OperatorLog() as log:
        torch.ones(3, 4) @ torch.ones(4, 5)
    (product,) = log.products
    assert isinstance(product, Product)
    calls: list[object] = []
    monkeypatch.setattr(Product, "_work", lambda self, memory_format: lambda: calls.append(memory_format))
    product.shortest(rounds=2)
    assert calls == [torch.contiguous_format] * 3  # one of them is not timed


def small_step() -> MadeUpStep:
    return made_up_step(QUICK.experiment("training.precision=float32"), QUICK.workload)


def test_targets_take_a_share_of_a_step() -> None:
    row = targets_row(small_step(), "step")
    assert (row.slug, row.must, row.aim) == ("targets-share", 0.06, 0.03)
    assert row.ratio is not None
    assert 0 < row.ratio < 1


def norms(one: Predictor) -> list[ABN]:
    return [module for module in one.network.modules() if isinstance(module, ABN)]


def test_plainly_built_network_predicts_the_same_without_what_makes_ours_fast() -> None:
    plain, ours = plainly_built(QUICK), predictor(QUICK, "float32")
    assert len(norms(plain)) > 20
    assert {type(norm) for norm in norms(plain)} == {PlainABN}
    assert norms(ours) == []
    maps = [weight for weight in plain.network.parameters() if weight.ndim == 4 and weight[0, 0].numel() > 1]
    assert all(weight.is_contiguous() and weight.dtype == torch.float32 for weight in maps)
    assert not any(weight.is_contiguous(memory_format=torch.channels_last) for weight in maps if weight.shape[1] > 1)
    pixels = np.random.default_rng(0).integers(0, 256, (*QUICK.size, 3), dtype=np.uint8)
    (one,), (other,) = (kind.predict([kind.prepare(pixels)]) for kind in (plain, ours))
    assert len(one.detections) == QUICK.num_detections
    torch.testing.assert_close(one.semantics.logits, other.semantics.logits, rtol=1e-3, atol=1e-4)


def test_whole_loss_equals_the_loss_of_the_network() -> None:
    step = small_step()
    images = pad_images(step.images)
    logits = torch.randn(2, 19, 16, 32, generator=torch.Generator().manual_seed(0))
    whole, ours = (kind(0.25)(logits, images, annotation(step)).mean for kind in (WholeSemanticLoss, SemanticLoss))
    torch.testing.assert_close(whole, ours)


def test_semantic_head_of_panoptic_fpn_has_the_size_of_the_finest_level() -> None:
    levels = [torch.randn(1, 8, 32 // 2**level, 64 // 2**level) for level in range(4)]
    assert SemanticFPNHead(5, in_channels=8)(levels).shape == (1, 5, 32, 64)


def test_memory_row_compares_the_process_with_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryCase, "_train", lambda *_: None)
    monkeypatch.setattr("benchmarks.network_memory.high_water_mark", lambda: 4e9 / 2**20)
    monkeypatch.setattr(type(QUICK), "start", lambda _: None)
    memory = StepMemory(1, 0, 1, 1, 1, {"body": int(2e9) - 4}, int(3e9), "backward pass", {}, None)
    monkeypatch.setattr("benchmarks.network_memory.measure_training", lambda *_: memory)
    (row,) = CASES[0].rows(QUICK)
    assert (row.slug, row.peer, row.must, row.aim) == ("step-memory", 5.0, 1.0, 0.8)
    assert row.ours == pytest.approx(4)
    assert "2.0 GB, 50 %" in describe(memory, 4.0, 0.7)


def test_parts_in_bf16_are_left_out_without_its_instructions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plans: list[Plan] = []

    def no_rows(measure: object, plan: Plan) -> list[Row]:
        plans.append(plan)
        return []

    monkeypatch.setattr(network, "FULL", replace(FULL, in_process=no_rows))
    monkeypatch.setattr(network, "automatic_precision", lambda device: ("float32", "old"))
    network.main(["--only", "vistas-memory-bf16", "--only", "predict"])
    assert "--slow-bf16" in capsys.readouterr().out
    assert [plan.has_bf16 for plan in plans] == [False]
    network.main(["--only", "vistas-memory-bf16", "--slow-bf16"])
    assert [plan.has_bf16 for plan in plans] == [False, True]


def test_update_replaces_the_rows_of_a_part_and_keeps_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "network.json"
    versions = machine.versions(*network.PACKAGES)
    old = [Row("demo-step", "", 9.0, 1.0, "ms"), Row("predict", "", 8.0, 1.0, "ms")]
    write_rows(file, machine.describe(2), versions, old)
    new = [Row("demo-step", "", 3.0, 1.0, "ms"), Row("demo-new", "", 2.0, 1.0, "ms")]
    monkeypatch.setattr(network, "FULL", replace(FULL, in_process=lambda measure, plan: new))
    network.main(["--only", "demo", "--update", "--output", str(file)])
    assert [(row.slug, row.ours) for row in read_rows(file)[2]] == [("demo-step", 3), ("predict", 8), ("demo-new", 2)]
    write_rows(file, "another machine", versions, old)
    in_vain = replace(FULL, in_process=lambda measure, plan: pytest.fail("measured in vain"))
    monkeypatch.setattr(network, "FULL", in_vain)
    with pytest.raises(SystemExit, match="another machine"):
        network.main(["--only", "demo", "--update", "--output", str(file)])
    assert read_rows(file)[2] == old


def test_compiled_network_is_compared_with_itself_and_states_the_time_of_the_compilation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    methods: set[str] = set()

    def uncompiled(method: Callable[..., Any]) -> Callable[..., Any]:
        methods.add(method.__qualname__)
        return method

    monkeypatch.setattr(compilation, "_compiled", uncompiled)
    monkeypatch.setattr(type(QUICK), "start", lambda _: None)
    assert [(row.ours, row.peer) for row in compiled_rows(QUICK)] == [(None, None)] * 2
    assert not methods
    rows = compiled_rows(replace(QUICK, compiles=True, has_bf16=False))
    assert [row.slug for row in rows] == ["predict-compiled", "step-compiled"]
    assert all("first call took" in row.measure and row.ratio for row in rows)
    assert "SemanticHead.forward" in methods


def test_slugs_of_the_targets_have_limits() -> None:
    assert {case.slug: case.limit for case in CASES if case.limit} == {
        "step-memory": 5.0,
        "step-positives-memory": 3.3,
        "step-bf16-memory": 3.6,
        "vistas-memory": 9.5,
        "vistas-memory-bf16": 6.0,
    }
