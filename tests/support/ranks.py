"""Runs a function of a test file on several ranks, in processes of their own, as torchrun would."""

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
"""Longest wait of a rank for the others."""


def on_ranks(file: str, function: str, folder: Path, num_ranks: int = 2, seconds: int = SECONDS) -> list[Any]:
    """What ``function(rank)`` of the Python file returns on each rank of a gloo group, in the order of the ranks.

    The processes part from a server that has imported torch once, which takes longer than most of these tests.

    Args:
        file: usually the caller's ``__file__``.
        function: its name; it returns tensors, numbers, strings and lists, tuples or dicts of these.
        folder: an empty one, for this call alone; the ranks work in it.
        seconds: longest wait of a rank for the others; all of it may take twice as long.
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
