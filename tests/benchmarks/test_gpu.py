"""Rows of the GPU benchmark, measured on the CPU, and the script that runs it."""

from __future__ import annotations

import functools
import os
import pickle
import shutil
import subprocess
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks import gpu, machine
from benchmarks.gpu_parts import device_timed, norm_rows, places_of_waits, predict_rows, step_rows, wait_rows, waits
from benchmarks.network_cases import QUICK, Plan
from benchmarks.table import Row, read_rows

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]


def failing(plan: Plan, device: torch.device) -> list[Row]:
    raise RuntimeError("no kernel image\nfor this device")


def passing(plan: Plan, device: torch.device) -> list[Row]:
    return [Row("norm", str(device), 1.0, 2.0, "ms")]


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "in_fresh_process", lambda function, *given: function(*given))


def test_norm_in_place_keeps_half_of_the_bytes() -> None:
    for precision, num_layouts in (("float32", 1), ("bf16", 2)):
        rows = norm_rows(QUICK, CPU, precision, [(4, 16, 32, 32)])
        assert len(rows) == 2 * num_layouts
        for row in rows:
            assert row.ratio > 0
            assert not row.slug.endswith("memory") or row.ratio == pytest.approx(0.5, abs=0.02)


def test_norm_that_computes_something_else_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = functools.partial(nn.LeakyReLU, 0.5)
    monkeypatch.setattr(nn, "LeakyReLU", lambda slope, inplace: wrong(inplace=inplace))
    with pytest.raises(AssertionError, match="different"):
        norm_rows(QUICK, CPU, "float32", [(4, 16, 8, 8)])


def test_step_in_place_needs_less_memory_than_batch_norm() -> None:
    rows = {row.slug: row for row in step_rows(QUICK, CPU, "float32")}
    assert list(rows) == ["step-float32-time", "step-float32-memory", "step-float32-layout"]
    assert rows["step-float32-memory"].ratio < 1
    assert all(row.ours > 0 and row.peer > 0 for row in rows.values())


def test_predictions_have_a_row_for_each_precision_and_layout() -> None:
    rows = {row.slug: row for row in predict_rows(QUICK, CPU)}
    assert list(rows) == ["predict-bf16", "predict-plain", "predict-float32-layout", "predict-bf16-layout"]
    assert all(row.ours > 0 and row.peer > 0 for row in rows.values())


def test_a_cpu_has_no_waits() -> None:
    rows = wait_rows(QUICK, CPU)
    assert [(row.slug, row.ours, row.must) for row in rows] == [
        ("waits-forward", 0, None),
        ("waits-step", 0, None),
        ("waits-predict", 0, None),
    ]


def test_waits_are_counted_by_place() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            warnings.warn_explicit("called a synchronizing CUDA operation", UserWarning, "/a/matching.py", 7)
        warnings.warn_explicit("something else", UserWarning, "/a/matching.py", 7)
    assert places_of_waits(caught) == {"matching.py:7": 2}


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use")
def test_waits_and_times_on_a_gpu() -> None:
    device, x = torch.device("cuda"), torch.ones(1000, 1000, device="cuda")
    assert waits(lambda: (x @ x).sum(), device).total() == 0
    found = waits(lambda: float(x.sum()), device)
    assert found.total() == 1
    assert next(iter(found)).startswith("test_gpu.py:")
    assert torch.cuda.get_sync_debug_mode() == 0
    assert 0 < device_timed(lambda: x, lambda given: given @ given, device)() < 1000


def test_part_that_fails_leaves_the_rows_of_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_this_process: None
) -> None:
    file = tmp_path / "gpu.json"
    kinds = (gpu.Part("step", failing), gpu.Part("norm", passing))
    monkeypatch.setattr(gpu, "parts", lambda is_quick: kinds)
    with pytest.raises(SystemExit) as raised:
        gpu.main(["--device", "cpu", "--output", str(file)])
    assert raised.value.code == 1
    step, norm = read_rows(file)[2]
    assert (step.slug, step.ours, step.measure) == ("step", None, "not measured: RuntimeError: no kernel image")
    assert (norm.slug, norm.ratio) == ("norm", 0.5)


def test_rows_are_written_before_the_next_part_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_this_process: None
) -> None:
    file = tmp_path / "gpu.json"

    def stopped(plan: Plan, device: torch.device) -> list[Row]:
        raise KeyboardInterrupt  # as a time limit, which no part handles

    kinds = (gpu.Part("norm", passing), gpu.Part("step", stopped))
    monkeypatch.setattr(gpu, "parts", lambda is_quick: kinds)
    with pytest.raises(KeyboardInterrupt):
        gpu.main(["--device", "cpu", "--output", str(file)])
    assert [row.slug for row in read_rows(file)[2]] == ["norm"]


def test_part_that_starts_too_late_is_not_measured(in_this_process: None) -> None:
    part = gpu.Part("norm", passing)
    (row,), done = gpu.measured(part, QUICK, CPU, time.monotonic() - 1)
    assert (row.slug, row.ours, done) == ("norm", None, False)
    assert gpu.measured(part, QUICK, CPU, time.monotonic() + 60) == (passing(QUICK, CPU), True)


def test_parts_have_names_and_pickle() -> None:
    for is_quick in (True, False):
        found = gpu.parts(is_quick)
        assert len({part.name for part in found}) == len(found)
        pickle.dumps([part.measure for part in found])


def test_benchmark_without_a_gpu_ends_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as raised:
        gpu.main([])
    assert raised.value.code == 2
    assert "no GPU" in capsys.readouterr().err


def run_script(tmp_path: Path, python: str) -> Any:
    """Run a copy of the script with a program in place of Python."""
    scripts, programs = tmp_path / "scripts", tmp_path / "bin"
    for folder in (scripts, programs, tmp_path / "tests"):
        folder.mkdir()
    shutil.copy(ROOT / "scripts" / "gpu_check.sh", scripts)
    (tmp_path / "tests" / "test_kernels.py").write_text("@pytest.mark.cuda\n")
    (tmp_path / "tests" / "test_other.py").write_text("")
    (programs / "python").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n{python}\n')
    (programs / "python").chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    command = ["bash", str(scripts / "gpu_check.sh"), "--quick"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_script_without_a_gpu_ends_with_a_sentence_and_code_2(tmp_path: Path) -> None:
    done = run_script(tmp_path, "exit 1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no GPU" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_script_runs_all_steps_although_one_fails(tmp_path: Path) -> None:
    done = run_script(tmp_path, 'case "$*" in *pytest*) exit 3 ;; *capability*) echo 9.0 ;; esac')
    assert done.returncode == 1
    assert done.stderr.strip() == "failed: tests"
    calls = (tmp_path / "calls").read_text().splitlines()[1:]
    assert "build_ext" in calls[0]
    assert calls[1].endswith("tests/test_kernels.py")
    assert calls[2] == "-m benchmarks.gpu --quick"


def test_steps_of_the_script_take_less_than_eight_minutes() -> None:
    lines = (ROOT / "scripts" / "gpu_check.sh").read_text().splitlines()
    limits = [int(line.split('"')[2].split()[0]) for line in lines if line.strip().startswith('step "')]
    assert len(limits) == 3
    assert sum(limits) + 5 * len(limits) < 460  # the rest is for the search for a GPU
