"""Where a process computes, alone or among others."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys

import pytest
import torch
from torch import distributed as dist

from seamseg.runtime.distributed import Process, choose_device, started


def a_free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with started("cpu") as process:
        assert process == Process(0, 1, torch.device("cpu"))
        assert process.is_first
        assert not dist.is_initialized()


def test_a_process_among_others_joins_and_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": 1, "RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": a_free_port()}.items():
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


def test_ranks_that_cannot_connect_say_so_and_end() -> None:
    command, port = [sys.executable, "-c", _CONNECTING], str(a_free_port())
    with subprocess.Popen([*command, "1", port]) as silent:
        waiting = subprocess.run([*command, "0", port], capture_output=True, text=True, timeout=50)
        silent.kill()
    assert waiting.returncode == 1
    said = waiting.stderr.splitlines()[-1]
    assert "ConnectionError: rank 0 cannot connect to the others within 2 seconds (" in said
    assert "--max-restarts" in said


def test_others_than_the_first() -> None:
    assert not Process(1, 2, torch.device("cpu")).is_first


@pytest.mark.parametrize("name", ["mps", "abacus", "cpu:x", "", "CUDA", "cuda:", "cuda:-1", "1", "meta", "cuda:99"])
def test_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"there is no device {name}") as caught:
        choose_device(name)
    assert len(str(caught.value)) < 200


@pytest.mark.filterwarnings("ignore:'mkldnn' is no longer used")
@pytest.mark.parametrize("name", ["xpu", "hpu", "privateuseone", "mtia:0", "vulkan", "opengl", "xla", "mkldnn"])
def test_device_of_another_build_or_package_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ValueError, match=f"there is no device {name}") as caught:
        choose_device(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["cpu", "cpu:0"])
@pytest.mark.parametrize("local_rank", [None, "1"])
def test_cpu_is_one_device_in_every_spelling(
    monkeypatch: pytest.MonkeyPatch, name: str, local_rank: str | None
) -> None:
    in_launcher(monkeypatch, local_rank)
    assert choose_device(name) == torch.device("cpu")


def in_launcher(monkeypatch: pytest.MonkeyPatch, local_rank: str | None, num_processes: int = 1) -> None:
    """Sets the variables of torchrun, but for those by which the processes find each other."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    for name, value in {"LOCAL_RANK": local_rank, "LOCAL_WORLD_SIZE": local_rank and str(num_processes)}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)


@pytest.fixture
def current(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A machine with two GPUs, simulated; the numbers that are made the current one."""
    made: list[int] = []
    empty = torch.empty

    def some(size: int, device: torch.device) -> torch.Tensor:
        if device.index is not None and device.index >= 2:
            raise RuntimeError("CUDA error: invalid device ordinal\nCompile with ...")
        return empty(size)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "empty", some)
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
def test_every_spelling_of_a_gpu_is_made_the_current_one(
    monkeypatch: pytest.MonkeyPatch, current: list[int], name: str | None, local_rank: str | None, expected: int
) -> None:
    in_launcher(monkeypatch, local_rank)
    with started(name) as process:
        assert process == Process(0, 1, torch.device("cuda", expected))
    assert current == [expected]


def test_gpu_without_a_number_is_the_one_that_a_library_user_made_current(
    monkeypatch: pytest.MonkeyPatch, current: list[int]
) -> None:
    in_launcher(monkeypatch, None)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert choose_device() == choose_device("cuda") == torch.device("cuda:1")
    assert choose_device("cuda:0") == torch.device("cuda:0")
    in_launcher(monkeypatch, "0")
    assert choose_device("cuda") == torch.device("cuda:0")


def test_gpu_beyond_the_last_is_refused_with_the_number_there_are(
    monkeypatch: pytest.MonkeyPatch, current: list[int]
) -> None:
    in_launcher(monkeypatch, "2", 3)
    for name, said in ((None, "cuda:2"), ("cuda", "cuda:2"), ("cuda:7", "cuda:7")):
        with pytest.raises(ValueError, match=rf"there is no device {said} \(torch finds 2 GPUs.*ordinal$"):
            choose_device(name)


def test_one_gpu_for_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch, current: list[int]) -> None:
    in_launcher(monkeypatch, "1", 2)
    with pytest.raises(ValueError, match=r"cuda:0 cannot serve 2 processes: with --device cuda"), started("cuda:0"):
        pass
    assert current == []
    with started("cuda:1"):
        assert current == [1]


def test_the_device_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == torch.device("cpu")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_each_process_of_a_machine_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert choose_device() == torch.device("cuda:0")
