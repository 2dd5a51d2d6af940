"""Forms of the networks of the memory benchmark: same function, fewer bytes; rows and picture."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import pytest
import torch
from torch import Tensor, nn

from benchmarks import machine, memory_forms, memory_picture
from benchmarks.memory import peak_bytes, saved_bytes
from benchmarks.memory_forms import CASES, batch_in, case_rows
from benchmarks.memory_networks import FORMS, Form, Loss, find_callable, started, unet_in, user_network_in
from benchmarks.table import Row, write_rows

EXACT: tuple[Form, ...] = ("inplace", "converted", "checkpoint", "inplace-checkpoint")


def images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def unet(form: Form) -> Loss:
    return started(unet_in(form, width=4, depth=3))


def gradients(network: nn.Module) -> list[Tensor]:
    network(images()).backward()
    return [parameter.grad for parameter in network.parameters()]


def test_forms_of_the_unet_compute_the_same_and_keep_less() -> None:
    expected, kept = gradients(unet("leaky")), {"leaky": saved_bytes(unet("leaky"), images())}
    for form in EXACT:
        for found, wanted in zip(gradients(unet(form)), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)
        kept[form] = saved_bytes(unet(form), images())
    assert kept["inplace"] < 0.53 * kept["leaky"] < 0.6 * kept["leaky"] < kept["converted"] < 0.65 * kept["leaky"]
    assert kept["inplace-checkpoint"] < kept["checkpoint"] < kept["inplace"]


def test_lean_unet_convolves_each_map_once_per_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[nn.Module] = []
    network = unet("inplace")
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda layer, *_: calls.append(layer))
    network(images()).backward()
    assert len(calls) == len(set(calls))  # the recomputation ends before the convolution


def test_rows_of_a_network_have_their_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_forms, "THREADS", torch.get_num_threads())
    monkeypatch.setattr(memory_forms, "keep_freed_memory", lambda: True)
    monkeypatch.setattr(memory_forms, "batch_in", lambda _, form: 6 if form == "inplace" else 3)
    (real,) = (case for case in CASES if case.name == "unet")
    case = replace(real, make=partial(unet_in, width=4))
    rows = {row.slug: row for row in case_rows(case, compiles=False, quick=True)}
    assert rows["saved-unet-inplace"].ratio < 0.53  # 0.514 at the full width
    assert {slug: row.must for slug, row in rows.items() if row.must} == {
        "saved-unet-inplace": 0.52,
        "time-unet-inplace": 1.0,
    }
    assert rows["saved-unet-compile"].ratio is None
    assert "not measured" in rows["saved-unet-compile"].measure
    assert (rows["batch-unet-inplace"].ratio, rows["batch-unet-converted"].ratio) == (2, 1)
    assert {slug.partition("-")[0] for slug in rows} == {"saved", "peak", "time", "batch"}
    assert all("U-Net" in row.measure for row in rows.values() if row.ratio)


def test_cases_have_the_limits_of_their_kind() -> None:
    limits = {case.name: dict(case.limits) for case in CASES}
    assert limits["densenet264"] == {"inplace": 0.52, "checkpoint": 0.56, "inplace-checkpoint": 0.56}
    assert limits["unet"] == {"inplace": 0.52}
    assert limits["resnet50"] == limits["resnext101"] == limits["wrn38"] == {"inplace": 0.58}


def test_largest_batch_of_a_form_fills_the_memory() -> None:
    (real,) = (case for case in CASES if case.name == "unet")
    case = replace(real, make=partial(unet_in, width=4, depth=3), side=64)
    step = 1e6 * case_peak(unet("leaky"), 8, 64)
    # The profiler also sees workspaces inside of convolutions, whose size depends on the processor.
    assert batch_in(case, "leaky", 1.1 * step) in (8, 9, 10)
    assert batch_in(case, "leaky", 1000) == 0


def case_peak(network: nn.Module, num_images: int, side: int) -> float:
    """Return the peak of a real forward and backward pass in MB, with parameters, momentum and images."""
    x = torch.randn(num_images, 3, side, side)
    constant = 2 * sum(value.nbytes for value in network.parameters()) + x.nbytes
    return (constant + peak_bytes(lambda: network(x).backward())) / 1e6


def resnet() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3))


def test_network_of_the_user_is_converted(capsys: pytest.CaptureFixture[str]) -> None:
    converted = user_network_in("converted", resnet)
    assert "1 norms converted" in capsys.readouterr().err
    assert saved_bytes(converted, images()) < saved_bytes(user_network_in("leaky", resnet), images())
    assert find_callable("torch.nn:ReLU") is nn.ReLU
    for name in ("torch.nn", "no_such_module:f", "torch.nn:Nothing"):
        with pytest.raises(SystemExit, match="module:callable"):
            find_callable(name)


def test_rows_of_the_picture_are_those_of_the_benchmark(tmp_path: Path) -> None:
    assert set(memory_picture.NETWORKS) == {case.name for case in CASES}
    assert set(memory_picture.FORMS) <= set(FORMS)
    rows = [
        Row(f"{kind}-unet-{form}", "", value, 1.0, "MB")
        for kind, value in (("saved", 0.5), ("time", 1.3))
        for form in memory_picture.FORMS
        if form != "compile"
    ]
    results, output = tmp_path / "memory.json", tmp_path / "memory.png"
    write_rows(results, "machine", {}, rows)
    memory_picture.main(output, results)
    picture = cv2.cvtColor(cv2.imread(str(output)), cv2.COLOR_BGR2RGB)
    lengths = [int((picture == color).all(axis=2).sum(axis=1).max()) for _, color in memory_picture.FORMS.values()]
    assert lengths[0] == lengths[1] == lengths[3] > 0  # both bars of a form share rows
    assert lengths[2] == 0  # not measured
    assert math.isclose(lengths[0], 1.8 / 1.3 * 300, abs_tol=3)
    assert json.loads(results.read_text())["machine"] == "machine"


def test_half_of_the_rows_without_options_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of some networks prints its rows but does not overwrite the recorded ones."""
    published: list[bool] = []
    monkeypatch.setattr(machine, "in_fresh_process", lambda *_: [])
    monkeypatch.setattr(memory_forms, "publish", lambda name, options, *_: published.append(options.quick))
    memory_forms.main(["--only", "unet"])
    memory_forms.main([])
    assert published == [True, False]
