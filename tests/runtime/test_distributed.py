"""Where a process computes, alone or among others."""

from __future__ import annotations

import contextlib
import socket

import pytest
import torch
from torch import distributed as dist

from seamseg.runtime.distributed import Process, choose_device, started


def test_a_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with started("cpu") as process:
        assert process == Process(0, 1, torch.device("cpu"))
        assert process.is_first
        assert not dist.is_initialized()


def test_a_process_among_others_joins_and_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {"WORLD_SIZE": 1, "RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, str(value))
    with contextlib.suppress(ZeroDivisionError), started("cpu") as process:
        assert process == Process(0, 1, torch.device("cpu"))
        assert dist.get_backend() == "gloo"
        raise ZeroDivisionError
    assert not dist.is_initialized()


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
