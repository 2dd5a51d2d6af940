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


@pytest.mark.parametrize("name", ["abacus", "cpu:x", "", "cuda:99"])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(ValueError, match=f"there is no device {name}"):
        choose_device(name)


def test_the_device_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == torch.device("cpu")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_each_process_of_a_machine_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert choose_device() == torch.device("cuda:0")
