"""Error messages for failing worker processes: one sentence per cause, with a remedy."""

from __future__ import annotations

import errno
import os
import shutil

SHARED_MEMORY = "/dev/shm"


def shared_memory_full() -> str:
    """Return the message for full shared memory, with its size and how to get more."""
    size = f" of {shutil.disk_usage(SHARED_MEMORY).total / 2**20:.0f} MB" if os.path.isdir(SHARED_MEMORY) else ""
    return (
        f"the shared memory{size} ({SHARED_MEMORY}), through which worker processes pass the images they read, is "
        "full: give the Docker container more (--shm-size=8g or --ipc=host), or set a lower data.num_workers "
        "(0 needs none)"
    )


def too_many_files() -> str:
    """Return the message for too many open files."""
    return (
        "too many open files: raise the limit in the shell that starts the command (`ulimit -n 65536`), or set a lower "
        "data.num_workers"
    )


def start_fault(error: OSError) -> OSError:
    """Return the error to raise when worker processes cannot be started, with a remedy if the cause is known."""
    sentences = {errno.ENOSPC: shared_memory_full, errno.EMFILE: too_many_files}
    return OSError(sentences[error.errno]()) if error.errno in sentences else error


def memory_ran_out(error: MemoryError) -> str:
    """Return the message for an image that did not fit into memory."""
    return f"out of memory while reading an image ({str(error) or 'MemoryError'}); set a lower data.num_workers"


def stalled(seconds: float) -> str:
    """Return the message for images that have not arrived for this many seconds."""
    return (
        f"the worker processes that read images have delivered nothing for {seconds:g} seconds: the disk with the data "
        "set may have stopped responding, or the shared memory may be too small (in Docker: --shm-size=8g). "
        "data.num_workers=0 reads without worker processes; data.worker_timeout sets how long to wait"
    )


def worker_fault(error: RuntimeError) -> str | None:
    """Return the message for an error that torch raises about worker processes; None for other errors.

    Torch raises it wherever the main process happens to be.
    """
    # While torch waits for data, its error only states that a worker has ended; the cause states the signal.
    errors = [error] if error.__cause__ is None else [error.__cause__, error]
    lines = [str(item).partition("\n")[0].rstrip(".") for item in errors]
    first_line = next((line for line in lines if line.startswith("DataLoader worker")), lines[-1])
    if f"({errno.ENOSPC})" in first_line and "shared memory" in first_line:
        return shared_memory_full()
    if "Too many open files" in first_line or "items of ancdata" in first_line:
        return too_many_files()
    if not first_line.startswith("DataLoader worker"):
        return None
    if "Bus error" in first_line:
        return f"a worker process that reads images was killed ({first_line}): {shared_memory_full()}"
    return (
        f"a worker process that reads images was killed ({first_line}), most likely because memory ran out: set a "
        "lower data.num_workers"
    )
