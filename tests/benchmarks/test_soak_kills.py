"""Ranks that are really killed go on by themselves."""

from __future__ import annotations

import pytest

from benchmarks.soak_kills import kill_rows


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_run_that_is_killed_in_its_start_and_in_a_write_ends_as_if_undisturbed() -> None:
    """`make soak` kills twenty times; between steps too, which a rank that writes a checkpoint is as well."""
    rows = {row.slug: row for row in kill_rows(2, seed=1)}
    for slug in ("kills-tensors", "kills-log"):
        assert rows[slug].holds, rows[slug]
        assert rows[slug].peer is not None
        assert rows[slug].peer >= 29  # seven epochs of four steps and a validation
