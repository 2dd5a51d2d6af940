"""`seamseg env`: its report on this machine, and on simulated ones."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision
from torch import distributed as dist

import seamseg
from seamseg.cli import env
from seamseg.ops import native
from seamseg.runtime.allocator import SWITCH

NVCC_HINT = "built without CUDA: to use a GPU, install the wheel with CUDA"


@pytest.fixture(autouse=True)
def _allocator_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the allocator of the test process unchanged."""
    monkeypatch.setattr(env, "keep_freed_memory", lambda: os.environ.get(SWITCH) != "0")
    monkeypatch.delenv(SWITCH, raising=False)


@pytest.fixture(autouse=True)
def built_for(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the CUDA architectures that the library reports; none by default."""

    def set_architectures(*architectures: str) -> None:
        monkeypatch.setattr(native, "cuda_architectures", lambda: architectures)

    set_architectures()
    return set_architectures


def rows(text: str) -> dict[str, str]:
    """Split each line into name and value, which are at least two spaces apart."""
    return {name: value.strip() for name, value in (line.split("  ", 1) for line in text.splitlines())}


def test_env_text_describes_this_machine(command: Any) -> None:
    code, out, err = command("env")
    assert (code, err) == (0, "")
    found = rows(out)
    assert found["seamseg"] == seamseg.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["torch"].startswith(f"{torch.__version__}, ")
    assert found["torchvision"] == torchvision.__version__
    assert platform.system() in found["system"]
    assert found["processor"].endswith(f", {torch.get_num_threads()} threads")
    assert found["native library"] == str(native.load_library())
    assert found["CPU kernels"] == native.cpu_capability()
    assert "gloo" in found["distributed"].split(", ")
    assert found["freed memory"] == f"kept for reuse (set {SWITCH}=0 to disable)"


def test_env_json_describes_this_machine(command: Any) -> None:
    code, out, err = command("env", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert all(found.pop(key) for key in ("processor", "precision", "memory_format"))
    assert found == {
        "seamseg": seamseg.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "torch_cuda": torch.version.cuda,
        "system": platform.platform(),
        "threads": torch.get_num_threads(),
        "gpus": [],
        "distributed": [name for name in ("gloo", "nccl", "mpi") if getattr(dist, f"is_{name}_available")()],
        "keeps_freed_memory": True,
        "native": {
            "path": str(native.load_library()),
            "cpu_capability": native.cpu_capability(),
            "cuda_architectures": [],
        },
        "native_error": None,
    }


@pytest.mark.parametrize(("amx", "precision", "reason"), [(True, "bf16", "AMX"), (False, "float32", "neither")])
def test_env_names_automatic_choices_and_why(
    command: Any, monkeypatch: pytest.MonkeyPatch, amx: bool, precision: str, reason: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    found = rows(command("env").out)
    assert found["precision"].startswith(f"{precision}, because")
    assert reason in found["precision"]
    assert found["memory format"].startswith("channels last, because")


def test_env_cuda_architectures_of_the_library_are_listed(command: Any, built_for: Callable[..., None]) -> None:
    assert rows(command("env").out)["CUDA kernels"].startswith(NVCC_HINT)
    built_for("7.5", "8.0+PTX", "12.0")
    assert rows(command("env").out)["CUDA kernels"] == "7.5 8.0+PTX 12.0"
    assert json.loads(command("env", "--json").out)["native"]["cuda_architectures"] == ["7.5", "8.0+PTX", "12.0"]


def test_env_gpus_are_listed_with_capability_and_memory(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [
        SimpleNamespace(name="NVIDIA H200", major=9, minor=0, total_memory=150 * 2**30),
        SimpleNamespace(name="NVIDIA T4", major=7, minor=5, total_memory=15.6 * 2**30),
    ]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert rows(command("env").out)["GPUs"] == "none"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", gpus.__getitem__)
    assert rows(command("env").out)["GPUs"] == "NVIDIA H200, 9.0, 150 GiB; NVIDIA T4, 7.5, 16 GiB"


def test_env_missing_library_is_reported_after_the_other_facts(
    command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    load = native.load_library
    monkeypatch.setattr(native, "load_library", lambda: load(tmp_path))
    code, out, err = command("env")
    assert code == 1
    assert rows(out)["native library"] == "missing"
    assert rows(out)["torch"].startswith(torch.__version__)
    assert err.startswith("seamseg: the native library of seamseg is missing (no _native*.so in")
    assert "install a wheel for this platform" in err
    code, out, err = command("env", "--json")
    assert (code, json.loads(out)["native"]) == (1, None)
    assert err == f"seamseg: {json.loads(out)['native_error']}\n"


def test_env_allocator_switch_changes_freed_memory(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "0")
    assert rows(command("env").out)["freed memory"] == f"returned to the system ({SWITCH}=0)"
    assert json.loads(command("env", "--json").out)["keeps_freed_memory"] is False
    monkeypatch.delenv(SWITCH)
    monkeypatch.setattr(env, "keep_freed_memory", lambda: False)
    assert rows(command("env").out)["freed memory"] == "returned to the system (keeping it requires glibc)"


def test_env_torch_without_distributed_and_cuda_is_described(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    found = rows(command("env").out)
    assert found["distributed"] == "none"
    assert found["torch"] == f"{torch.__version__}, without CUDA"


def test_env_processor_name_is_read_from_cpuinfo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    information = tmp_path / "cpuinfo"
    monkeypatch.setattr(env, "CPU_INFO", information)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert env.environment().processor == "riscv64"
    information.write_text("processor : 0\nhart : 1\n")
    assert env.environment().processor == "riscv64"
    information.write_text("processor : 0\nmodel name\t: Fast CPU: 3 GHz\nprocessor : 1\nmodel name\t: other\n")
    assert env.environment().processor == "Fast CPU: 3 GHz"


def test_env_in_a_new_process_reads_environment_variables() -> None:
    variables = {
        "PYTHONPATH": str(Path(seamseg.__file__).parents[1]),
        "SEAMSEG_CPU_CAPABILITY": "baseline",
        SWITCH: "0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "seamseg", "env", "--json"],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["native"]["cpu_capability"] == "baseline"
    assert found["keeps_freed_memory"] is False
