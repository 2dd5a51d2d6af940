"""Reduction of loss sums on one rank and on several ranks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.ranks import on_ranks

from seamseg.algos.losses import reduce_over_ranks, reduce_per_rank
from seamseg.structures import LossSum

TOTALS, COUNTS = ([6.0, 1.0, 0.0], [2.0, 7.0, 0.0]), ([3, 1, 0], [1, 0, 0])


def sums(rank: int) -> list[LossSum]:
    """Return loss sums with a tensor and numbers as counts; the last loss has no term on any rank."""
    totals = [torch.tensor(total, requires_grad=True) for total in TOTALS[rank]]
    first, *others = COUNTS[rank]
    return [LossSum(totals[0], torch.tensor(float(first))), *map(LossSum, totals[1:], others)]


def test_reduce_per_rank_divides_by_the_counts_of_the_rank() -> None:
    assert [float(loss.detach()) for loss in reduce_per_rank(sums(0))] == [2, 1, 0]
    assert [float(loss.detach()) for loss in reduce_per_rank(sums(1))] == [2, 7, 0]


def test_reduce_over_ranks_in_one_process_divides_by_its_counts() -> None:
    values = reduce_over_ranks(sums(0))
    assert [float(loss.detach()) for loss in values] == [2, 1, 0]
    values[0].backward()


def reduced_losses(rank: int) -> list[float]:
    return [float(loss.detach()) for loss in reduce_over_ranks(sums(rank))]


def test_reduce_over_ranks_averages_to_the_mean_of_all_terms(tmp_path: Path) -> None:
    per_rank = torch.tensor(on_ranks(__file__, "reduced_losses", tmp_path))
    expected = [(6 + 2) / 4, (1 + 7) / 1, 0]
    assert per_rank.mean(0).tolist() == pytest.approx(expected)
