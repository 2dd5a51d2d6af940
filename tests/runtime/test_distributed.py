"""Devices and process groups, with one process and with several."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys

import pytest
import torch
from torch import distributed as dist

from seamseg.runtime.distributed import Process, choose_device, started


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_started_without_launcher_is_a_single_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with started("cpu") as process:
        assert process == Process(0, 1, torch.device("cpu"))
        assert process.is_first
        assert not dist.is_initialized()


def test_started_under_launcher_joins_and_leaves_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": 1, "RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}.items():
        monkeypatch.setenv(name, str(value))
    with contextlib.suppress(ZeroDivisionError), started("cpu") as process:
        assert process == Process(0, 1, torch.device("cpu"))
        assert dist.get_backend() == "gloo"
        raise ZeroDivisionError
    assert not dist.is_initialized()


_CONNECTING = """
import os, sys, time
os.environ |= {"RANK": sys.argv[1], "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[2]}
from seamseg.ops import collectives
from seamseg.runtime import distributed
if sys.argv[1] == "1":
    distributed.connect = lambda: time.sleep(60)
collectives.CONNECT_SECONDS = 2
with distributed.started("cpu"):
    pass
"""


def test_ranks_that_cannot_connect_exit_with_an_error() -> None:
    command, port = [sys.executable, "-c", _CONNECTING], str(free_port())
    with subprocess.Popen([*command, "1", port]) as silent:
        waiting = subprocess.run([*command, "0", port], capture_output=True, text=True, timeout=50)
        silent.kill()
    assert waiting.returncode == 1
    message = waiting.stderr.splitlines()[-1]
    assert "ConnectionError: rank 0 cannot connect to the others within 2 seconds (" in message
    assert "--max-restarts" in message


def test_rank_1_is_not_first() -> None:
    assert not Process(1, 2, torch.device("cpu")).is_first


@pytest.mark.parametrize("name", ["mps", "abacus", "cpu:x", "", "CUDA", "cuda:", "cuda:-1", "1", "meta", "cuda:99"])
def test_choose_device_rejects_missing_devices_naming_them(name: str) -> None:
    with pytest.raises(ValueError, match=f"there is no device {name}") as caught:
        choose_device(name)
    assert len(str(caught.value)) < 200


@pytest.mark.filterwarnings("ignore:'mkldnn' is no longer used")
@pytest.mark.parametrize("name", ["xpu", "hpu", "privateuseone", "mtia:0", "vulkan", "opengl", "xla", "mkldnn"])
def test_choose_device_rejects_devices_of_other_torch_builds_in_one_line(name: str) -> None:
    with pytest.raises(ValueError, match=f"there is no device {name}") as caught:
        choose_device(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["cpu", "cpu:0"])
@pytest.mark.parametrize("local_rank", [None, "1"])
def test_choose_device_returns_the_same_cpu_for_every_spelling(
    monkeypatch: pytest.MonkeyPatch, name: str, local_rank: str | None
) -> None:
    in_launcher(monkeypatch, local_rank)
    assert choose_device(name) == torch.device("cpu")


def in_launcher(monkeypatch: pytest.MonkeyPatch, local_rank: str | None, num_processes: int = 1) -> None:
    """Set the variables of torchrun, except those through which the processes find each other."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    for name, value in {"LOCAL_RANK": local_rank, "LOCAL_WORLD_SIZE": local_rank and str(num_processes)}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)


@pytest.fixture
def current(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Simulate a machine with two GPUs and record the numbers that are made the current device."""
    made: list[int] = []
    empty = torch.empty

    def allocate(size: int, device: torch.device) -> torch.Tensor:
        if device.index is not None and device.index >= 2:
            raise RuntimeError("CUDA error: invalid device ordinal\nCompile with ...")
        return empty(size)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "empty", allocate)
    monkeypatch.setattr(torch._C, "_cuda_setDevice", made.append, raising=False)
    return made


@pytest.mark.parametrize(
    ("name", "local_rank", "expected"),
    [
        (None, None, 0),
        (None, "0", 0),
        (None, "1", 1),
        ("cuda", None, 0),
        ("cuda", "0", 0),
        ("cuda", "1", 1),
        ("cuda:0", None, 0),
        ("cuda:1", None, 1),
        ("cuda:1", "0", 1),
    ],
)
def test_started_makes_its_gpu_the_current_device(
    monkeypatch: pytest.MonkeyPatch, current: list[int], name: str | None, local_rank: str | None, expected: int
) -> None:
    in_launcher(monkeypatch, local_rank)
    with started(name) as process:
        assert process == Process(0, 1, torch.device("cuda", expected))
    assert current == [expected]


def test_choose_device_without_number_returns_the_current_gpu(
    monkeypatch: pytest.MonkeyPatch, current: list[int]
) -> None:
    in_launcher(monkeypatch, None)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert choose_device() == choose_device("cuda") == torch.device("cuda:1")
    assert choose_device("cuda:0") == torch.device("cuda:0")
    in_launcher(monkeypatch, "0")
    assert choose_device("cuda") == torch.device("cuda:0")


def test_choose_device_beyond_the_last_gpu_raises_error_with_their_number(
    monkeypatch: pytest.MonkeyPatch, current: list[int]
) -> None:
    in_launcher(monkeypatch, "2", 3)
    for name, message in ((None, "cuda:2"), ("cuda", "cuda:2"), ("cuda:7", "cuda:7")):
        with pytest.raises(ValueError, match=rf"there is no device {message} \(torch finds 2 GPUs.*ordinal$"):
            choose_device(name)


def test_started_rejects_one_gpu_for_several_processes(monkeypatch: pytest.MonkeyPatch, current: list[int]) -> None:
    in_launcher(monkeypatch, "1", 2)
    with pytest.raises(ValueError, match=r"cuda:0 cannot be shared by 2 processes: .*--device cuda"), started("cuda:0"):
        pass
    assert current == []
    with started("cuda:1"):
        assert current == [1]


def test_choose_device_without_gpu_returns_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == torch.device("cpu")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_choose_device_returns_the_gpu_of_the_local_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert choose_device() == torch.device("cuda:0")
