"""Environment of a benchmark: machine, versions, and new processes."""

from __future__ import annotations

import multiprocessing
import os
import platform
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from multiprocessing.context import BaseContext
from typing import Any, Literal, ParamSpec, TypeVar

from seamseg.cli.env import processor

P = ParamSpec("P")
R = TypeVar("R")

forks: Literal["forkserver", "fork"] = "forkserver"
"""What :func:`forking_context` copies: a server, or this process, which must then have done nothing but import."""


def describe(threads: int) -> str:
    """Return processor, cores, memory, system and threads in one line."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{processor()}, {os.cpu_count()} cores, {gib:.0f} GiB, {platform.system()} {platform.release()}, "
        f"{platform.libc_ver()[0]} {platform.libc_ver()[1]}, {threads} threads"
    )


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and of each package, or ``not installed``."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def warn_if_busy() -> None:
    """Warn on standard error if other programs keep the machine busy."""
    load = os.getloadavg()[0]
    if load > 0.7:
        print(f"the machine is busy (load {load:.1f}): do not rely on the times that follow", file=sys.stderr)


def new_process(quick: bool) -> Callable[..., Any]:
    """Return the function that calls another one in a new process: quickly, or so that its memory can be compared."""
    return in_forked_process if quick else in_fresh_process


def in_fresh_process(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call ``function`` in a new process, which inherits no setting, cache or freed memory of this one."""
    return _in_process(multiprocessing.get_context("spawn"), function, *args, **kwargs)


def in_forked_process(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Do the same, but without importing all modules again.

    The process shares the pages of its libraries with others, so its memory must not be compared.
    """
    return _in_process(forking_context(function.__module__), function, *args, **kwargs)


def forking_context(module: str) -> BaseContext:
    """Return a context whose processes are copies of one that has imported the program, and has done nothing else.

    Args:
        module: Module to import if the program is not a module.
    """
    program = sys.modules["__main__"].__spec__
    context = multiprocessing.get_context(forks)
    if forks == "fork":
        return context
    context.set_forkserver_preload([module if program is None else program.name])
    return context


def _in_process(context: BaseContext, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(function, *args, **kwargs).result()
