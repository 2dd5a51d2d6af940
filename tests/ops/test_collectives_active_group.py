"""Process groups of the active ranks, in worlds of two and four ranks."""

from __future__ import annotations

import random
import weakref
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from support.collective_log import CollectiveLog
from support.ranks import on_ranks
from torch import distributed as dist

from seamseg.ops import collectives as module
from seamseg.ops.collectives import ActiveGroup, active_group, exchange_counts, group_of, num_groups

STEPS = 20
WORLDS = (2, 4)


def subsets(num_ranks: int, seed: int) -> list[tuple[int, ...]]:
    """Return every subset of ranks once, then random ones."""
    every = [found for size in range(num_ranks + 1) for found in combinations(range(num_ranks), size)]
    generator = random.Random(seed)
    generator.shuffle(every)
    return every + generator.choices(every, k=STEPS)


def sum_of_ranks(group: ActiveGroup) -> float | None:
    """Return the sum over the members' ranks, or None on other ranks, which run no collective."""
    if not group.is_member:
        return None
    total = torch.tensor(float(dist.get_rank()))
    if len(group.ranks) > 1:
        dist.all_reduce(total, group=group.process_group)
    return total.item()


def walk(rank: int, num_ranks: int, sync: Any, max_groups: int | None) -> list[dict[str, Any]]:
    found = []
    for subset in subsets(num_ranks, seed=num_ranks):
        group = active_group(rank in subset, sync, max_groups)
        total = sum_of_ranks(group)
        kept = group_of(subset, sync, max_groups).process_group is group.process_group
        found.append({"ranks": group.ranks, "member": group.is_member, "sum": total, "kept": kept, "num": num_groups()})
    return found


def on_one_rank(rank: int) -> dict[str, Any]:
    num_ranks = dist.get_world_size()
    results: dict[str, Any] = {"counts": exchange_counts([rank, 10 * rank])}
    results["bounded"] = walk(rank, num_ranks, "active", max_groups=2)
    results["masked"] = walk(rank, num_ranks, "masked", max_groups=None)
    results["of its own"] = module._groups_of_world().bookkeeping is not None  # the world is gloo's itself
    group = weakref.ref(dist.group.WORLD)
    dist.destroy_process_group()
    results["freed"] = group() is None and not module._groups_by_world
    again = f"file://{Path.cwd()}/again"
    dist.init_process_group("gloo", init_method=again, rank=rank, world_size=num_ranks)
    results["groups of a new world"] = num_groups()
    results["unbounded"] = walk(rank, num_ranks, "active", max_groups=None)
    with CollectiveLog() as log:
        active_group(rank == 0)
    results["collectives"] = log.names
    return results


@pytest.fixture(scope="module", params=WORLDS)
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return on_ranks(__file__, "on_one_rank", tmp_path_factory.mktemp("ranks"), num_ranks=request.param)


def assert_walked(ranks: list[dict[str, Any]], what: str, max_groups: int) -> None:
    """Check that every step has the group of its subset, until the limit of groups is reached."""
    world = tuple(range(len(ranks)))
    made: set[tuple[int, ...]] = set()
    for step, subset in enumerate(subsets(len(ranks), seed=len(ranks))):
        expected: tuple[int, ...] = subset
        if 1 < len(subset) < len(world):
            if len(made) < max_groups:
                made.add(subset)
            expected = subset if subset in made else world
        for rank, result in enumerate(ranks):
            found = result[what][step]
            assert found["ranks"] == expected
            assert found["member"] == (rank in expected)
            assert found["sum"] == (sum(expected) if rank in expected else None)
            assert found["kept"]
            assert found["num"] == len(made)


def test_active_group_beyond_the_limit_of_groups_has_all_ranks(ranks: list[dict[str, Any]]) -> None:
    assert_walked(ranks, "bounded", max_groups=2)
    assert max(step["num"] for step in ranks[0]["bounded"]) == (0 if len(ranks) == 2 else 2)


def test_active_group_with_sync_masked_has_all_ranks_unless_none_is_active(ranks: list[dict[str, Any]]) -> None:
    for step, subset in enumerate(subsets(len(ranks), seed=len(ranks))):
        for result in ranks:
            found = result["masked"][step]
            assert found["ranks"] == (tuple(range(len(ranks))) if subset else ())
            assert found["member"] == bool(subset)


def test_active_group_runs_one_collective(ranks: list[dict[str, Any]]) -> None:
    for result in ranks:
        assert result["counts"] == [[rank, 10 * rank] for rank in range(len(ranks))]
        assert result["collectives"] == ["allgather_"]


def test_active_groups_are_freed_with_their_world(ranks: list[dict[str, Any]]) -> None:
    assert all(result["freed"] and not result["of its own"] for result in ranks)
    assert [result["groups of a new world"] for result in ranks] == [0] * len(ranks)
    assert_walked(ranks, "unbounded", max_groups=module.MAX_GROUPS)


def assert_alone() -> None:
    with CollectiveLog() as log:
        assert exchange_counts([3, 4]) == [[3, 4]]
        assert active_group(True) == active_group(True, "masked") == ActiveGroup((0,), is_member=True)
        assert active_group(False) == active_group(False, "masked") == ActiveGroup((), is_member=False)
    assert log.names == []
    assert num_groups() == 0


def test_active_group_without_a_process_group_has_one_rank() -> None:
    assert_alone()


@pytest.mark.usefixtures("group_of_one")
def test_active_group_in_a_world_of_one_makes_no_group() -> None:
    assert_alone()
