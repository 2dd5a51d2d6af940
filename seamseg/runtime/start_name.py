"""A name for one start of all ranks, under which they leave their addresses for each other.

``torchrun`` keeps its store when it starts processes again, and torch (2.14) leaves it to them to tell their entries
from those of the ended ones, whose addresses would be taken for the new ones. No variable of the environment names a
start on all machines: ``TORCHELASTIC_RESTART_COUNT`` counts on each for itself. So rank 0 makes a name up and hands it
to those that are there now: each asks with a word of its own, which no ended process has.
"""

from __future__ import annotations

import time
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

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
