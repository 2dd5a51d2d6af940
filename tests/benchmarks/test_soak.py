"""A short soak, and soaks that fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import soak
from benchmarks.soak import Outcome, soak_rows
from benchmarks.soak_rank import MAX_GROUPS, Report, Soak, batch_of, kinds_of


def ignore(done: int, remark: str) -> None: ...


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_short_soak_of_two_ranks_meets_its_limits() -> None:
    steps = 12
    rows = {row.slug: row for row in soak_rows(2, "active", steps, ignore)}
    assert [row.slug for row in rows.values() if row.holds is False and not row.slug.startswith("memory")] == []
    assert (rows["unfinished-2-active"].ours, rows["unfinished-2-active"].peer) == (0, steps)
    assert rows["unequal-2-active"].peer > 100
    assert 0 < rows["empty-2-active"].ours < rows["empty-2-active"].peer < steps


@pytest.mark.slow
def test_soak_with_a_failing_rank_reports_its_error() -> None:
    # The unknown value of norm.sync is refused.
    (row,) = soak_rows(2, "never", 3, ignore)
    assert row.holds is False
    assert row.ours == 3
    assert "SettingsError: " in row.measure


def report(**changes: object) -> Report:
    usual = {"digests": {"a": "1", "b": "2"}, "most_groups": 1, "memory": [100.0] * 10, "empty": (3, 1)}
    return Report(**{**usual, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("slug", "other"),
    [
        ("unequal", report(digests={"a": "1", "b": "3"})),
        ("groups", report(most_groups=MAX_GROUPS + 1)),
        ("memory", report(memory=[100.0] * 5 + [111.0] * 5)),
    ],
)
def test_soak_beyond_a_limit_misses_that_target(slug: str, other: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = [Outcome(5, "", [report(), report()], 1.0), Outcome(5, "", [report(), other], 1.0)]
    monkeypatch.setattr(soak, "run", lambda soak, advance: outcomes.pop(0))
    assert [row.slug for row in soak_rows(2, "masked", 5, ignore) if row.holds is False] == []
    assert [row.slug for row in soak_rows(2, "masked", 5, ignore) if row.holds is False] == [f"{slug}-2-masked"]


def test_soak_steps_have_objects_on_all_some_and_no_ranks() -> None:
    one = Soak(3, "active", 0, Path())
    steps = [[("objects" in kinds) for kinds in kinds_of(one, step)] for step in range(60)]
    assert {sum(has) for has in steps} == {0, 1, 2, 3}
    kinds = {kind for step in range(60) for rank in kinds_of(one, step) for kind in rank}
    assert kinds == {"objects", "no objects", "crowd", "void"}
    batch = batch_of(one, 5, 1)
    assert len(batch) == len(kinds_of(one, 5)[1])
    assert len({batch_of(one, step, 0).original_sizes[0] for step in range(20)}) > 5
