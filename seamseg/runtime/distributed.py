"""Processes that train together: devices, process groups, and a name for each start.

``torchrun`` keeps its store when it starts processes again, and torch (2.14) leaves it to them to tell their entries
from those of the ended ones, whose addresses would be taken for the new ones. No variable of the environment names a
start on all machines: ``TORCHELASTIC_RESTART_COUNT`` counts on each for itself. So rank 0 makes a name up and hands it
to those that are there now: each asks with a word of its own, which no ended process has.
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
"""How long ranks wait for each other, as torch does by default: another machine may be slow to begin."""
_PAUSE = 0.05


def agreed_name(store: Store, rank: int, world_size: int, seconds: float = SECONDS) -> str:
    """The same on all ranks of one start, and another one on the next.

    Args:
        store: that all ranks reach, with whatever earlier starts left in it.
        rank: this process's.
        world_size: number of ranks; all call this.
        seconds: to wait for the others.

    Raises:
        ConnectionError: they do not come.
    """
    word = uuid.uuid4().hex
    if rank == 0:
        _hand_out(store, word, world_size, seconds)
        return word
    store.set(f"asks/{rank}", word)
    try:
        store.wait([f"name for/{word}"], timedelta(seconds=seconds))
    except RuntimeError as error:
        raise ConnectionError(f"rank {rank} heard nothing of rank 0 within {seconds:.0f} seconds ({error})") from error
    name = store.get(f"name for/{word}").decode()
    store.set(f"knows/{name}/{rank}", "")
    return name


def _hand_out(store: Store, name: str, world_size: int, seconds: float) -> None:
    """Answers whoever asks, ended processes included, until all ranks know the name."""
    waiting, end = set(range(1, world_size)), time.monotonic() + seconds
    while waiting:
        for rank in sorted(waiting):
            if store.check([f"knows/{name}/{rank}"]):
                waiting.remove(rank)
            elif store.check([f"asks/{rank}"]):
                store.set(f"name for/{store.get(f'asks/{rank}').decode()}", name)
        if waiting and time.monotonic() > end:
            raise ConnectionError(f"rank 0 heard nothing of rank {min(waiting)} within {seconds:.0f} seconds")
        if waiting:
            time.sleep(_PAUSE)


if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

Made = TypeVar("Made")


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
        name: Device as torch spells it, such as ``cpu``, ``cuda`` or ``cuda:1``; None means ``cuda`` where there is a
            GPU, ``cpu`` otherwise. Of ``cuda`` without a number, each process of a machine gets its own: number
            ``LOCAL_RANK``, which ``torchrun`` sets; without it, torch's current device, at first 0.

    Returns:
        The device; a GPU always has its number, as the devices of tensors have.

    Raises:
        SeamsegError: there is no such device.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cpu":
            return torch.device("cpu")  # whatever its number
        if device.type == "cuda" and device.index is None:
            current = torch.cuda.current_device() if torch.cuda.is_initialized() else 0
            name = f"cuda:{_local('RANK', current)}"
            device = torch.device(name)
        torch.empty(1, device=device).tolist()  # that of "meta" holds nothing
    except (RuntimeError, AssertionError, ImportError) as error:  # not in this torch, or left to another package
        reason = shorten(str(error).partition("\n")[0].partition(". ")[0], 120)
        raise SettingsError(f"there is no device {name}{_number_of_gpus()}: {reason}") from error
    return device


def _local(what: str, otherwise: int) -> int:
    """A number that ``torchrun`` gives the processes of a machine, such as ``LOCAL_RANK``."""
    return int(os.environ.get(f"LOCAL_{what}") or otherwise)


def _number_of_gpus() -> str:
    number = torch.cuda.device_count()
    return f" (torch finds {number} GPU{'s' if number != 1 else ''}, numbered from 0)" if number else ""


def _check_own_gpu(device: torch.device) -> None:
    """Refuses one GPU for several processes of a machine, which nccl does not serve."""
    number = _local("WORLD_SIZE", 1)
    if device.type == "cuda" and number > 1 and device.index != _local("RANK", 0):
        raise SettingsError(
            f"the device {device} cannot serve {number} processes: with --device cuda, or without --device, each gets "
            "its own GPU"
        )


@contextlib.contextmanager
def started(device: str | None = None, patience: timedelta | None = None) -> Iterator[Process]:
    """Joins the processes that ``torchrun`` started, or stands alone; leaves them at the end.

    Args:
        device: As in :func:`choose_device`.
        patience: how long one may wait for another in the middle; None is torch's default, ten minutes with nccl and
            thirty with gloo.

    Raises:
        SeamsegError: there is no such device, or it is that of another process.
        ConnectionError: the processes don't find each other, or another one is lost.
    """
    chosen = choose_device(device)
    _check_own_gpu(chosen)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if "WORLD_SIZE" not in os.environ:
        yield Process(0, 1, chosen)
        return
    # Connecting all at once, gloo's ranks now and then wait for a connection that nobody makes (torch 2.14, on a busy
    # machine: one start of ten); those that are made when they are first used come about far more often.
    os.environ.setdefault("TORCH_GLOO_LAZY_INIT", "1")
    store, rank, world_size = _store_of_this_start()
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=patience)
    connect()  # a group that has not come about cannot be destroyed: that would wait, too
    try:
        yield Process(dist.get_rank(), dist.get_world_size(), chosen)
    except RuntimeError as error:
        if _lost_another(error):
            raise ConnectionError(
                f"rank {dist.get_rank()} lost the connection to another rank, which has ended; its own message says why"
            ) from error
        raise
    finally:
        dist.destroy_process_group()


def _store_of_this_start() -> tuple[Store, int, int]:
    """Where the processes leave their addresses for each other, and this one's rank among how many."""
    # Only here: a torch may have been built without.
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, rank, world_size = next(rendezvous("env://"))
    return PrefixStore(agreed_name(store, rank, world_size), store), rank, world_size


def from_first(process: Process, make: Callable[[], Made]) -> Made:
    """What rank 0 makes, on every rank; it can be pickled.

    Raises:
        ValueError, OSError: on every rank, what rank 0 met with.
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
    return box[0]  # type: ignore[return-value]  # None only if that was made


def _lost_another(error: RuntimeError) -> bool:
    # gloo has no error of its own; its messages name its source files.
    return isinstance(error, dist.DistError) or "/gloo/" in str(error)
