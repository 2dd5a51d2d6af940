"""Runs a function of a test file on several ranks, in processes of their own, as torchrun would."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist

SECONDS = 60
"""Longest wait of a rank for the others."""


def on_ranks(file: str, function: str, folder: Path, num_ranks: int = 2, seconds: int = SECONDS) -> list[Any]:
    """What ``function(rank)`` of the Python file returns on each rank of a gloo group, in the order of the ranks.

    Args:
        file: usually the caller's ``__file__``.
        function: its name; it returns tensors, numbers, strings and lists, tuples or dicts of these.
        folder: an empty one, for this call alone.
        seconds: longest wait of a rank for the others; all of it may take twice as long.
    """
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = os.environ | {
        "PYTHONPATH": paths,
        "GLOO_SOCKET_IFNAME": "lo",
        "TORCH_GLOO_LAZY_INIT": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, __file__, file, function, str(folder), str(seconds), str(num_ranks)]
    logs = [folder / f"rank{rank}.log" for rank in range(num_ranks)]
    processes = []
    for rank, log in enumerate(logs):
        with log.open("w") as output:
            processes.append(
                subprocess.Popen([*command, str(rank)], env=environment, stdout=output, stderr=subprocess.STDOUT)
            )
    try:
        codes = [process.wait(timeout=2 * seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert not any(codes), "\n".join(log.read_text() for log in logs)
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(num_ranks)]


def _run_rank(file: str, function: str, folder: str, seconds: str, num_ranks: str, rank: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=int(rank),
        world_size=int(num_ranks),
        timeout=timedelta(seconds=int(seconds)),
    )
    spec = importlib.util.spec_from_file_location("ranked", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["ranked"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.save(getattr(module, function)(int(rank)), f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    _run_rank(*sys.argv[1:])
