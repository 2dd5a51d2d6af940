"""Function calls on several ranks in separate processes, as with torchrun."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist

from seamseg.io.workers import PRELOADED

SECONDS = 60
"""Maximum time in seconds that a rank waits for the other ranks."""


def on_ranks(file: str, function: str, folder: Path, num_ranks: int = 2, seconds: int = SECONDS) -> list[Any]:
    """Call ``function(rank)`` of a Python file on each rank of a gloo group, and return the results in rank order.

    The processes are forked from a server that has already imported torch, because importing it takes longer than most
    of these tests.

    Args:
        file: Path of the Python file, usually the caller's ``__file__``.
        function: Name of the function. It returns tensors, numbers, strings, or lists, tuples or dicts of these.
        folder: Empty folder that is used only for this call; the ranks run in it.
        num_ranks: Number of ranks.
        seconds: Maximum time that a rank waits for the others. The whole call may take twice as long.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, "seamseg.builders", "torch._dynamo"])
    given = (file, function, str(folder), seconds, num_ranks)
    processes = [context.Process(target=_run_rank, args=(*given, rank)) for rank in range(num_ranks)]
    end = time.monotonic() + 2 * seconds
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(max(0, end - time.monotonic()))
    finally:
        codes = [process.exitcode for process in processes]
        for process in processes:
            process.kill()
    assert not any(code != 0 for code in codes), "\n".join(_log(folder, rank).read_text() for rank in range(num_ranks))
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(num_ranks)]


def _log(folder: Path, rank: int) -> Path:
    return folder / f"rank{rank}.log"


def _run_rank(file: str, function: str, folder: str, seconds: int, num_ranks: int, rank: int) -> None:
    with _log(Path(folder), rank).open("w") as log:
        for channel in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), channel.fileno())
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "TORCH_GLOO_LAZY_INIT": "1"}
    os.chdir(folder)
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=num_ranks,
        timeout=timedelta(seconds=seconds),
    )
    spec = importlib.util.spec_from_file_location("ranked", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["ranked"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.save(getattr(module, function)(rank), f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()
