"""Memory allocator settings that keep freed memory in the process."""

from __future__ import annotations

import ctypes
import os
import sys

SWITCH = "SEAMSEG_KEEP_MEMORY"
"""Environment variable; 0 leaves the allocator unchanged, and ``all`` keeps large freed blocks, too."""

_LARGE = 2**31
"""Memory of a process in bytes from which :func:`release_gaps` has an effect."""
LARGE_BLOCK = 2**25
"""Bytes from which training returns freed blocks. They hardly fit into the gaps that others leave."""
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4
_DEFAULT_MMAP_MAX = 65536
_NEVER = 2**31 - 1


def keep_freed_memory(below: int | None = None) -> bool:
    """Make glibc reuse large freed blocks instead of returning them to the system.

    By default, every large tensor is mapped anew, and the first write to it causes a page fault per 4 KiB. This takes
    about half the time of a training step on the CPU. In exchange, the process keeps its peak memory until it ends,
    except for :func:`release_gaps`.

    Args:
        below: Size in bytes from which blocks are returned nevertheless; None keeps all. With :data:`LARGE_BLOCK`, a
            training step of large images needs less memory and takes longer. ``SEAMSEG_KEEP_MEMORY=all`` overrides it.

    Returns:
        Whether the setting was applied: only on Linux with glibc, and not with ``SEAMSEG_KEEP_MEMORY=0``.
    """
    if os.environ.get(SWITCH) == "0" or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    if below is None or os.environ.get(SWITCH) == "all":
        is_set = mallopt(_M_MMAP_MAX, 0) == 1
    else:
        is_set = mallopt(_M_MMAP_MAX, _DEFAULT_MMAP_MAX) == 1 and mallopt(_M_MMAP_THRESHOLD, below) == 1
    return bool(is_set and mallopt(_M_TRIM_THRESHOLD, _NEVER) == 1)


def release_gaps() -> None:
    """Return the free memory between blocks in use to the system if the process is large.

    Called between the forward and the backward pass, whose blocks have other sizes and hardly fit into the gaps, it
    lowers the peak of a training step. Small processes, whose steps would notice the page faults, keep everything. With
    ``SEAMSEG_KEEP_MEMORY=0``, glibc decides.
    """
    if os.environ.get(SWITCH) == "0" or not sys.platform.startswith("linux"):
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None and _resident_bytes() > _LARGE:
        trim(0)


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
