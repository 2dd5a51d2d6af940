"""The divisors of the losses, on one rank and on several."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.ranks import on_ranks

from seamseg.algos.losses import reduce_over_ranks, reduce_per_rank
from seamseg.structures import LossSum

TOTALS, COUNTS = ([6.0, 1.0, 0.0], [2.0, 7.0, 0.0]), ([3, 1, 0], [1, 0, 0])


def sums(rank: int) -> list[LossSum]:
    """A tensor and numbers as counts; the last loss has no term on any rank."""
    totals = [torch.tensor(total, requires_grad=True) for total in TOTALS[rank]]
    first, *others = COUNTS[rank]
    return [LossSum(totals[0], torch.tensor(float(first))), *map(LossSum, totals[1:], others)]


def test_a_rank_divides_by_its_own_counts() -> None:
    assert [float(loss.detach()) for loss in reduce_per_rank(sums(0))] == [2, 1, 0]
    assert [float(loss.detach()) for loss in reduce_per_rank(sums(1))] == [2, 7, 0]


def test_one_process_has_nothing_to_share() -> None:
    values = reduce_over_ranks(sums(0))
    assert [float(loss.detach()) for loss in values] == [2, 1, 0]
    values[0].backward()


def shared_losses(rank: int) -> list[float]:
    return [float(loss.detach()) for loss in reduce_over_ranks(sums(rank))]


def test_the_average_over_the_ranks_is_the_mean_of_all_terms(tmp_path: Path) -> None:
    of_ranks = torch.tensor(on_ranks(__file__, "shared_losses", tmp_path))
    expected = [(6 + 2) / 4, (1 + 7) / 1, 0]
    assert of_ranks.mean(0).tolist() == pytest.approx(expected)
