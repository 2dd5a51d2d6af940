"""Collectives on two ranks, in a world of one rank, and without a process group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.ranks import on_ranks
from torch import Tensor
from torch import distributed as dist

from seamseg.ops.collectives import (
    gather_objects,
    is_distributed,
    largest_over_ranks,
    mean_over_ranks,
    reduce_moments,
    sum_over_ranks,
)
from seamseg.ops.inplace_abn import batch_moments

COUNTS = [(5, 3), (1, 7), (0, 4), (4, 0), (0, 0), (0, 1)]
NUM_CHANNELS = 3


def samples(case: int, rank: int, offset: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(10 * case + rank)
    return torch.randn(COUNTS[case][rank], NUM_CHANNELS, generator=generator) * (rank + 1) + offset + rank


def on_one_rank(rank: int) -> dict[str, Any]:
    """Run all collectives, and return what the tests check."""
    results: dict[str, Any] = {"distributed": is_distributed()}
    for case in range(len(COUNTS)):
        moments = reduce_moments(batch_moments(samples(case, rank)), None)
        results[f"moments {case}"] = (moments.mean, moments.var, moments.count)
    moments = reduce_moments(batch_moments(samples(0, rank, offset=1e4)), None)
    results["far from zero"] = (moments.mean, moments.var, moments.count)
    alone = [dist.new_group([0]), dist.new_group([1])][rank]
    moments = reduce_moments(batch_moments(samples(0, rank)), alone)
    results["alone"] = (moments.mean, moments.var, moments.count)
    value = torch.tensor([1.0, 10.0]) * (rank + 1)
    results["sum"] = sum_over_ranks(value, None)
    results["sum alone"] = sum_over_ranks(value, alone)
    results["value"] = value
    results["objects"] = gather_objects({"rank": rank, "rows": [None] * rank})
    results["largest"] = largest_over_ranks([rank, 5 - rank, 0, -3], torch.device("cpu"))
    results["mean"] = mean_over_ranks({"loss": torch.tensor(float(rank)), "count": torch.tensor(4)})
    return results


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return on_ranks(__file__, "on_one_rank", tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("case", range(len(COUNTS)), ids=str)
def test_reduce_moments_equals_moments_of_all_samples(ranks: list[dict[str, Any]], case: int) -> None:
    together = torch.cat([samples(case, 0), samples(case, 1)])
    expected = batch_moments(together)
    for result in ranks:
        mean, var, count = result[f"moments {case}"]
        assert count == len(together)
        torch.testing.assert_close(mean, expected.mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(var, expected.var, rtol=1e-5, atol=1e-6)
    if len(together):
        torch.testing.assert_close(expected.var, together.var(0, correction=0), rtol=1e-5, atol=1e-6)


def test_reduce_moments_is_bit_equal_on_all_ranks(ranks: list[dict[str, Any]]) -> None:
    for case in range(len(COUNTS)):
        for first, second in zip(ranks[0][f"moments {case}"], ranks[1][f"moments {case}"], strict=True):
            assert torch.equal(first, second)


def test_reduce_moments_at_a_large_mean_is_accurate(ranks: list[dict[str, Any]]) -> None:
    together = torch.cat([samples(0, rank, offset=1e4) for rank in range(2)]).double()
    for result in ranks:
        torch.testing.assert_close(
            result["far from zero"][1].double(), together.var(0, correction=0), rtol=1e-3, atol=0
        )


def test_reduce_moments_and_sum_in_a_group_of_one_rank_use_only_that_rank(ranks: list[dict[str, Any]]) -> None:
    for rank, result in enumerate(ranks):
        own = batch_moments(samples(0, rank))
        for found, expected in zip(result["alone"], (own.mean, own.var, own.count), strict=True):
            torch.testing.assert_close(found, expected)
        assert result["sum alone"].tolist() == [rank + 1, 10 * (rank + 1)]


def test_sum_over_ranks_returns_a_new_tensor(ranks: list[dict[str, Any]]) -> None:
    for rank, result in enumerate(ranks):
        assert result["sum"].tolist() == [3, 30]
        assert result["value"].tolist() == [rank + 1, 10 * (rank + 1)]


def test_gather_objects_keeps_the_order_of_the_ranks(ranks: list[dict[str, Any]]) -> None:
    for result in ranks:
        assert result["objects"] == [{"rank": 0, "rows": []}, {"rank": 1, "rows": [None]}]


def test_largest_and_mean_over_ranks_are_equal_on_all_ranks(ranks: list[dict[str, Any]]) -> None:
    for result in ranks:
        assert result["distributed"]
        assert result["largest"] == [1, 5, 0, -3]
        assert result["mean"] == {"loss": 0.5, "count": 4}


def assert_alone() -> None:
    assert not is_distributed()
    value = object()
    assert gather_objects(value) == [value]
    assert largest_over_ranks([3, 0], torch.device("cpu")) == [3, 0]
    assert mean_over_ranks({"loss": torch.tensor(2.5)}) == {"loss": 2.5}


def test_collectives_without_a_group_return_their_input() -> None:
    assert_alone()


@pytest.mark.usefixtures("group_of_one")
def test_collectives_in_a_world_of_one_return_their_input() -> None:
    assert_alone()


def test_on_ranks_shows_the_error_of_a_rank(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="has no attribute 'no_such_function'"):
        on_ranks(__file__, "no_such_function", tmp_path, num_ranks=1)
