"""Pairwise coverage of the factors of a parametrized test."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any


def pairwise(*factors: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return few combinations in which every pair of values of two different factors occurs.

    Args:
        factors: Values of each factor.

    Returns:
        One value per factor in each combination; the same combinations in every call.
    """
    combinations = list(itertools.product(*(range(len(factor)) for factor in factors)))
    pairs_of = {one: set(itertools.combinations(enumerate(one), 2)) for one in combinations}
    missing = set().union(*pairs_of.values())
    chosen = []
    while missing:
        best = max(combinations, key=lambda one: len(pairs_of[one] & missing))
        missing -= pairs_of[best]
        chosen.append(tuple(factor[index] for factor, index in zip(factors, best, strict=True)))
    return chosen
