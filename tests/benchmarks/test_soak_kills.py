"""Training runs whose ranks are killed."""

from __future__ import annotations

import pytest

from benchmarks.soak_kills import kill_rows


@pytest.mark.manual  # `make soak` runs it with twenty kills
@pytest.mark.timeout(1200)
def test_run_killed_during_its_start_and_a_write_ends_like_an_undisturbed_run() -> None:
    """Two of the twenty kills of `make soak`."""
    rows = {row.slug: row for row in kill_rows(2, seed=1)}
    for slug in ("kills-tensors", "kills-log"):
        assert rows[slug].holds, rows[slug]
        assert rows[slug].peer is not None
        assert rows[slug].peer >= 29  # seven epochs of four steps and a validation
