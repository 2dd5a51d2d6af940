"""Rows of the benchmark of the semantic loss."""

from __future__ import annotations

from benchmarks.semantic_loss import QUICK_CASES, case_rows


def test_rows_have_the_time_and_the_memory_of_both_sides() -> None:
    time, memory = case_rows(*QUICK_CASES[0], rounds=1)
    assert (time.slug, memory.slug) == ("time-5", "memory-5")
    assert time.ours is not None
    assert memory.ours is not None
    assert memory.peer is not None
    assert memory.peer > 4 * 5 * 64 * 96 / 1e6  # all upsampled logits
    assert memory.ours < 0.5 * memory.peer
