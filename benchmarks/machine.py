"""Where a benchmark ran: the machine, the versions, a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import platform
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from typing import ParamSpec, TypeVar

from seamseg.cli.env import processor

P = ParamSpec("P")
R = TypeVar("R")


def describe(threads: int) -> str:
    """Processor, cores, memory, system, threads, in one line."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{processor()}, {os.cpu_count()} cores, {gib:.0f} GiB, {platform.system()} {platform.release()}, "
        f"{platform.libc_ver()[0]} {platform.libc_ver()[1]}, {threads} threads"
    )


def versions(*packages: str) -> dict[str, str]:
    """Of Python and of each package that is installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def warn_if_busy() -> None:
    """Times taken while others work are worth little; says so on standard error."""
    load = os.getloadavg()[0]
    if load > 0.7:
        print(f"the machine is busy (load {load:.1f}): don't rely on the times that follow", file=sys.stderr)


def in_fresh_process(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Calls ``function`` in a new process, so that no setting, cache or freed memory of this one reaches it."""
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()
