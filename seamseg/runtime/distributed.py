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


@contextlib.contextmanager
def started(device: str | None = None) -> Iterator[Process]:
    """Joins the processes that ``torchrun`` started, or stands alone; leaves them at the end.

    Args:
        device: such as ``cpu`` or ``cuda:1``; None chooses CUDA where there is one, each process its own.
    """
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if device is None:
        device = f"cuda:{local_rank}" if torch.cuda.is_available() else "cpu"
    chosen = torch.device(device)
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
