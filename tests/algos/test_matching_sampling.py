"""Balanced sampling: counts, determinism and uniformity."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles.sampling import sample_counts
from torch import Tensor

from seamseg.algos.matching import sample_balanced

LABELS = st.lists(st.sampled_from("+-."), max_size=40)
FRACTIONS = st.sampled_from([0.0, 0.25, 0.5, 1.0])


def sample(labels: list[str], num_samples: int, fraction: float, seed: int = 0) -> tuple[list[int], list[int]]:
    positive, negative = (torch.tensor([label == sign for label in labels], dtype=torch.bool) for sign in "+-")
    generator = torch.Generator().manual_seed(seed)
    positives, negatives = sample_balanced(positive, negative, num_samples, fraction, generator)
    return positives.tolist(), negatives.tolist()


@given(labels=LABELS, num_samples=st.integers(1, 30), fraction=FRACTIONS, seed=st.integers(0, 3))
def test_sample_balanced_returns_the_expected_counts_and_kinds(
    labels: list[str], num_samples: int, fraction: float, seed: int
) -> None:
    positives, negatives = sample(labels, num_samples, fraction, seed)
    assert all(labels[index] == "+" for index in positives)
    assert all(labels[index] == "-" for index in negatives)
    for chosen in (positives, negatives):
        assert chosen == sorted(set(chosen))
    expected = sample_counts(labels.count("+"), labels.count("-"), num_samples, fraction)
    assert (len(positives), len(negatives)) == expected


def test_sample_balanced_with_few_positives_fills_up_with_negatives() -> None:
    positives, negatives = sample(["+"] * 3 + ["-"] * 20, 10, 0.5)
    assert (len(positives), len(negatives)) == (3, 7)


def test_sample_balanced_with_few_negatives_does_not_add_positives() -> None:
    positives, negatives = sample(["+"] * 20 + ["-"] * 3, 10, 0.5)
    assert (len(positives), len(negatives)) == (5, 3)


def test_sample_balanced_with_enough_room_returns_all_candidates() -> None:
    assert sample([*"+-+-.-"], 100, 0.5) == ([0, 2], [1, 3, 5])


def test_sample_balanced_depends_only_on_the_generator() -> None:
    labels = ["+"] * 50 + ["-"] * 50
    torch.manual_seed(1)
    first = sample(labels, 20, 0.5)
    state = torch.get_rng_state()
    assert sample(labels, 20, 0.5) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert sample(labels, 20, 0.5, seed=1) != first


def test_sample_balanced_advances_the_generator() -> None:
    generator, mask = torch.Generator().manual_seed(0), torch.ones(1000, dtype=torch.bool)
    first, second = (sample_balanced(mask, ~mask, 10, 1.0, generator)[0] for _ in range(2))
    assert not torch.equal(first, second)


def test_sample_balanced_selects_candidates_uniformly() -> None:
    generator = torch.Generator().manual_seed(0)
    positive = torch.tensor([True, False] * 6)
    times = torch.zeros(12)
    for _ in range(2000):
        positives, negatives = sample_balanced(positive, ~positive, 6, 0.5, generator)
        times[torch.cat([positives, negatives])] += 1
    assert_even(times, expected=1000)


def assert_even(times: Tensor, expected: float) -> None:
    """Check that every count is within five standard deviations of a fair coin."""
    assert (times - expected).abs().max() < 5 * (expected / 2) ** 0.5
