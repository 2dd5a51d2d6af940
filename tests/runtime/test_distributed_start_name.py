"""The name of one start of all ranks, in a store that contains entries of earlier processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from torch.distributed import HashStore, Store  # type: ignore[attr-defined]

from seamseg.runtime.distributed import agreed_name


def start(store: Store, world_size: int) -> list[str]:
    with ThreadPoolExecutor(world_size) as ranks:
        return list(ranks.map(lambda rank: agreed_name(store, rank, world_size, 30), range(world_size)))


@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_agreed_name_is_equal_on_all_ranks_and_unique_per_start(world_size: int) -> None:
    store, names = HashStore(), []
    for _ in range(5):
        (name,) = set(start(store, world_size))
        names.append(name)
    assert len(set(names)) == 5


def test_agreed_name_is_unaffected_by_ranks_killed_during_an_earlier_start() -> None:
    store = HashStore()
    with pytest.raises(ConnectionError, match="rank 1 heard nothing from rank 0 for 0 seconds"):
        agreed_name(store, 1, 3, 0.1)
    with pytest.raises(ConnectionError, match="rank 0 heard nothing from rank 1 for 0 seconds"):
        agreed_name(store, 0, 3, 0.1)  # it has answered the earlier rank 1
    assert len(set(start(store, 3))) == 1
    assert len(set(start(store, 2))) == 1, "another number of ranks must work, too"
