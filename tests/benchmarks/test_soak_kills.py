"""Ranks that are really killed go on by themselves."""

from __future__ import annotations

import pytest

from benchmarks.soak_kills import MOMENTS, kill_rows


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_run_that_is_killed_at_each_kind_of_moment_ends_as_if_undisturbed() -> None:
    rows = {row.slug: row for row in kill_rows(len(MOMENTS), seed=1)}
    for slug in ("kills-tensors", "kills-log"):
        assert rows[slug].holds, rows[slug]
        assert rows[slug].peer is not None
        assert rows[slug].peer > 30
