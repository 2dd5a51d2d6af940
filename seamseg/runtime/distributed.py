"""Processes that train together: devices, process groups, and a unique name for each start.

``torchrun`` keeps its store when it restarts processes, and torch (2.14) leaves it to the processes to tell their own
entries from those of earlier ones. Otherwise new processes would use the addresses of dead ones. No environment
variable identifies a start on all machines: ``TORCHELASTIC_RESTART_COUNT`` is counted by each machine on its own.
Rank 0 therefore makes up a name and hands it to the processes that are running now: each of them requests it with a
random token that no earlier process has used.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from textwrap import shorten
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import distributed as dist

from seamseg.errors import SettingsError
from seamseg.ops.collectives import connect

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

SECONDS = 1800.0
"""Timeout for ranks that wait for each other, equal to torch's default: another machine may be slow to start."""
_POLL_SECONDS = 0.05


def agreed_name(store: Store, rank: int, world_size: int, seconds: float = SECONDS) -> str:
    """Return a name that is the same on all ranks of one start and different on the next start.

    All ranks must call this.

    Args:
        store: Store that all ranks can reach; it may contain entries of earlier starts.
        rank: Rank of this process.
        world_size: Number of ranks.
        seconds: Timeout for waiting for the other ranks, in seconds.

    Raises:
        ConnectionError: The other ranks did not respond in time.
    """
    token = uuid.uuid4().hex
    if rank == 0:
        _hand_out(store, token, world_size, seconds)
        return token
    store.set(f"asks/{rank}", token)
    try:
        store.wait([f"name for/{token}"], timedelta(seconds=seconds))
    except RuntimeError as error:
        raise ConnectionError(f"rank {rank} heard nothing from rank 0 for {seconds:.0f} seconds ({error})") from error
    name = store.get(f"name for/{token}").decode()
    store.set(f"knows/{name}/{rank}", "")
    return name


def _hand_out(store: Store, name: str, world_size: int, seconds: float) -> None:
    """Answer all requests, including those of ended processes, until all ranks know the name."""
    waiting, end = set(range(1, world_size)), time.monotonic() + seconds
    while waiting:
        for rank in sorted(waiting):
            if store.check([f"knows/{name}/{rank}"]):
                waiting.remove(rank)
            elif store.check([f"asks/{rank}"]):
                store.set(f"name for/{store.get(f'asks/{rank}').decode()}", name)
        if waiting and time.monotonic() > end:
            raise ConnectionError(f"rank 0 heard nothing from rank {min(waiting)} for {seconds:.0f} seconds")
        if waiting:
            time.sleep(_POLL_SECONDS)


if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

Made = TypeVar("Made")


@dataclass(frozen=True)
class Process:
    """Rank and device of this process.

    Attributes:
        rank: Rank, from 0 to world_size − 1; rank 0 logs and writes files.
        world_size: Number of processes.
        device: Device that this process computes on.
    """

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process is rank 0."""
        return self.rank == 0


def choose_device(name: str | None = None) -> torch.device:
    """Return the device to compute on.

    Args:
        name: Device in torch's notation, such as ``cpu``, ``cuda`` or ``cuda:1``. None means ``cuda`` if there is a GPU
            and ``cpu`` otherwise. With ``cuda`` and no number, each process of a machine gets its own GPU: number
            ``LOCAL_RANK``, which ``torchrun`` sets, or without it torch's current device, which is initially 0.

    Returns:
        The device. A GPU always has a number, as the devices of tensors do.

    Raises:
        SeamsegError: There is no such device.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cpu":
            return torch.device("cpu")  # without a number
        if device.type == "cuda" and device.index is None:
            current = torch.cuda.current_device() if torch.cuda.is_initialized() else 0
            name = f"cuda:{_local_number('RANK', current)}"
            device = torch.device(name)
        torch.empty(1, device=device).tolist()  # fails for "meta", which holds no values
    except (RuntimeError, AssertionError, ImportError) as error:  # not in this build of torch, or a package is missing
        reason = shorten(str(error).partition("\n")[0].partition(". ")[0], 120)
        raise SettingsError(f"there is no device {name}{_gpu_count_text()}: {reason}") from error
    return device


def _local_number(what: str, otherwise: int) -> int:
    """Return the environment variable ``LOCAL_<what>`` that ``torchrun`` sets for the processes of a machine."""
    return int(os.environ.get(f"LOCAL_{what}") or otherwise)


def _gpu_count_text() -> str:
    number = torch.cuda.device_count()
    return f" (torch finds {number} GPU{'s' if number != 1 else ''}, numbered from 0)" if number else ""


def _check_own_gpu(device: torch.device) -> None:
    """Reject one GPU for several processes of a machine, which nccl does not support."""
    number = _local_number("WORLD_SIZE", 1)
    if device.type == "cuda" and number > 1 and device.index != _local_number("RANK", 0):
        raise SettingsError(
            f"the device {device} cannot be shared by {number} processes: pass --device cuda or omit --device, so that "
            "each process gets its own GPU"
        )


@contextlib.contextmanager
def started(device: str | None = None, patience: timedelta | None = None) -> Iterator[Process]:
    """Join the processes that ``torchrun`` started, or run as a single process; leave the group at the end.

    Args:
        device: Device as in :func:`choose_device`.
        patience: Timeout for waiting for another process during the run. None is torch's default: ten minutes with nccl
            and thirty with gloo.

    Raises:
        SeamsegError: There is no such device, or it belongs to another process.
        ConnectionError: The processes do not find each other, or the connection to one is lost.
    """
    chosen = choose_device(device)
    _check_own_gpu(chosen)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if "WORLD_SIZE" not in os.environ:
        yield Process(0, 1, chosen)
        return
    # When gloo connects all ranks at once, they sometimes wait for a connection that no rank makes (torch 2.14: one in
    # ten starts on a busy machine). Connecting on first use fails far less often.
    os.environ.setdefault("TORCH_GLOO_LAZY_INIT", "1")
    store, rank, world_size = _store_of_this_start()
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=patience)
    connect()  # outside of the try block: destroying a group that is not connected would wait as well
    try:
        yield Process(dist.get_rank(), dist.get_world_size(), chosen)
    except RuntimeError as error:
        if _is_lost_connection(error):
            raise ConnectionError(
                f"rank {dist.get_rank()} lost the connection to another rank, which has ended; "
                "its own message states why"
            ) from error
        raise
    finally:
        dist.destroy_process_group()


def _store_of_this_start() -> tuple[Store, int, int]:
    """Return the store through which the processes exchange addresses, the rank of this process and the world size."""
    # Imported here because torch can be built without it.
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, rank, world_size = next(rendezvous("env://"))
    return PrefixStore(agreed_name(store, rank, world_size), store), rank, world_size


def from_first(process: Process, make: Callable[[], Made]) -> Made:
    """Call ``make`` on rank 0 and return its result on every rank.

    Args:
        process: Rank of this process.
        make: Function with a picklable result.

    Raises:
        ValueError, OSError: The error that ``make`` raised on rank 0, on every rank.
    """
    box: list[Made | ValueError | OSError | None] = [None]
    if process.is_first:
        try:
            box[0] = make()
        except (ValueError, OSError) as error:
            box[0] = error
    if process.world_size > 1:
        dist.broadcast_object_list(box, src=0)
    if isinstance(box[0], (ValueError, OSError)):
        raise box[0]
    return box[0]  # type: ignore[return-value]  # None only if make returned it


def _is_lost_connection(error: RuntimeError) -> bool:
    # gloo has no error class of its own; its messages name its source files.
    return isinstance(error, dist.DistError) or "/gloo/" in str(error)
