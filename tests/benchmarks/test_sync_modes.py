"""Counts of the benchmark of norm.sync."""

from __future__ import annotations

from benchmarks.sync_modes import measure, pattern_rows


def test_single_active_rank_exchanges_only_counts_and_buffers() -> None:
    found = measure([(0, 1)], quick=True)
    active, masked = (found[0, 1][sync] for sync in ("active", "masked"))
    buffers = 2 * (2 * 4 * 32 + 8) + 5 * (2 * 4 * 16 + 8)
    assert (active.collectives, active.bytes) == (4, 2 * 16 + buffers)
    sums = 2 * (4 * 32 + 1) + 5 * (4 * 16 + 1)
    assert (masked.collectives, masked.bytes) == (2 * (1 + 7 + 7), 2 * (16 + 4 * sums))
    assert active.milliseconds > 0
    assert [row.slug for row in pattern_rows((0, 1), found[0, 1])] == [
        "collectives-1-of-2",
        "bytes-1-of-2",
        "time-1-of-2",
    ]
