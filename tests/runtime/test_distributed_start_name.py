"""The name of one start of all ranks, in a store that still holds the entries of ended ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from torch.distributed import HashStore, Store  # type: ignore[attr-defined]

from seamseg.runtime.distributed import agreed_name


def start(store: Store, world_size: int) -> list[str]:
    with ThreadPoolExecutor(world_size) as ranks:
        return list(ranks.map(lambda rank: agreed_name(store, rank, world_size, 30), range(world_size)))


@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_each_start_has_a_name_of_its_own(world_size: int) -> None:
    store, names = HashStore(), []
    for _ in range(5):
        (name,) = set(start(store, world_size))
        names.append(name)
    assert len(set(names)) == 5


def test_ranks_that_were_killed_while_they_started_leave_no_trace() -> None:
    store = HashStore()
    with pytest.raises(ConnectionError, match="rank 1 heard nothing of rank 0 within 0 seconds"):
        agreed_name(store, 1, 3, 0.1)
    with pytest.raises(ConnectionError, match="rank 0 heard nothing of rank 1 within 0 seconds"):
        agreed_name(store, 0, 3, 0.1)  # it has answered the ended rank 1
    assert len(set(start(store, 3))) == 1
    assert len(set(start(store, 2))) == 1, "and with another number of ranks"
