"""Start and end of a run of one process or many."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import distributed as dist


@dataclass(frozen=True)
class Process:
    """This process's place in the run.

    Attributes:
        rank: 0 … world_size − 1; rank 0 logs and writes.
        world_size: number of processes.
        device: that it computes on.
    """

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0


def choose_device(name: str | None = None) -> torch.device:
    """The device to compute on.

    Args:
        name: such as ``cpu`` or ``cuda:1``; None chooses CUDA where there is one, each process of a machine its own.

    Raises:
        ValueError: there is no such device.
    """
    if name is None:
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without CUDA
        raise ValueError(f"there is no device {name}: {str(error).splitlines()[0]}") from error
    return device


@contextlib.contextmanager
def started(device: str | None = None) -> Iterator[Process]:
    """Joins the processes that ``torchrun`` started, or stands alone; leaves them at the end.

    Args:
        device: such as ``cpu`` or ``cuda:1``; None chooses CUDA where there is one, each process its own.

    Raises:
        ValueError: there is no such device.
    """
    chosen = choose_device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if "WORLD_SIZE" not in os.environ:
        yield Process(0, 1, chosen)
        return
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Process(dist.get_rank(), dist.get_world_size(), chosen)
    finally:
        dist.destroy_process_group()
