"""Rows of benchmarks, their JSON file, and their table."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.command import benchmark_parser, publish
from benchmarks.table import Row, print_rows, read_rows, write_rows


def row(ours: float | None = 3.0, peer: float | None = 12.0, must: float | None = None) -> Row:
    return Row("time-x", "what; peer", ours, peer, "ms", must=must)


def written(path: Path, *rows: Row) -> dict:
    write_rows(path, "two cores", {"torch": "2"}, rows)
    return json.loads(path.read_text())


def printed(*rows: Row) -> str:
    text = io.StringIO()
    print_rows("two cores", {"torch": "2.14"}, rows, Console(file=text, width=150))
    return text.getvalue()


@pytest.mark.parametrize(
    ("ours", "must", "holds"), [(5, 0.5, True), (5.01, 0.5, False), (4, 0.5, True), (99, None, None)]
)
def test_target_is_met_up_to_its_limit(ours: float, must: float | None, holds: bool | None) -> None:
    assert row(ours, 10, must).holds is holds


@pytest.mark.parametrize(("ours", "holds"), [(11, True), (10.99, False), (30, True), (None, False)])
def test_target_of_more_is_met_from_its_limit(ours: float | None, holds: bool) -> None:
    assert Row("ap", "what; peer", ours, 10, "%", must=1.1, at_least=True).holds is holds


@pytest.mark.parametrize(("ours", "peer"), [(1.0, None), (None, 1.0), (1.0, 0.0)])
def test_target_without_a_ratio_is_not_met(ours: float | None, peer: float | None) -> None:
    assert row(ours, peer, must=0.5).ratio is None
    assert row(ours, peer, must=0.5).holds is False
    assert row(ours, peer).holds is None


def test_written_file_has_machine_versions_and_rows(tmp_path: Path) -> None:
    rows = (Row("a", "first", 1.0, 4.0, "ms", 0.6, 0.4), Row("b", "second", None, None, "MB"))
    assert written(tmp_path / "new" / "x.json", *rows) == {
        "machine": "two cores",
        "versions": {"torch": "2"},
        "rows": [
            {
                "slug": "a",
                "measure": "first",
                "ours": 1.0,
                "peer": 4.0,
                "unit": "ms",
                "ratio": 0.25,
                "must": 0.6,
                "aim": 0.4,
                "holds": True,
            },
            {
                "slug": "b",
                "measure": "second",
                "ours": None,
                "peer": None,
                "unit": "MB",
                "ratio": None,
                "must": None,
                "aim": None,
                "holds": None,
            },
        ],
    }


def test_write_rows_with_one_slug_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x\.json share the slug time-x"):
        written(tmp_path / "x.json", row(), row())


def test_printed_table_shows_limits_goals_and_met_targets() -> None:
    text = printed(
        Row("fast", "m", 1, 4, "ms", 0.6, 0.4), Row("slow", "m", 3, 4, "ms", 0.6), Row("free", "m", 1, 2, "MB")
    )
    lines = {
        name: line.split("│") for line in text.splitlines() for name in ("fast", "slow", "free") if f" {name} " in line
    }
    cells = {name: [cell.strip() for cell in line][1:-1] for name, line in lines.items() if len(line) > 3}
    assert cells == {
        "fast": ["fast", "m", "1.0 ms", "4.0 ms", "0.250×", "≤ 0.60", "≤ 0.40", "yes"],
        "slow": ["slow", "m", "3.0 ms", "4.0 ms", "0.750×", "≤ 0.60", "", "NO"],
        "free": ["free", "m", "1.0 MB", "2.0 MB", "0.500×", "", "", ""],
    }
    assert "1 of 2 targets met" in text
    assert text.rstrip().endswith("missed: slow")
    assert [name in text for name in ("limit", "goal", "met")] == [True] * 3
    assert "two cores" in text
    assert "torch 2.14" in text


def test_printed_table_shows_the_limit_of_more_as_a_lower_bound() -> None:
    line = next(
        line for line in printed(Row("ap", "m", 4, 2, "%", 1.1, 1.25, at_least=True)).splitlines() if " ap " in line
    )
    assert [cell.strip() for cell in line.split("│")][5:9] == ["2.000×", "≥ 1.10", "≥ 1.25", "yes"]


def test_read_rows_returns_the_rows_of_both_directions_as_written(tmp_path: Path) -> None:
    path, rows = tmp_path / "x.json", [row(), Row("ap", "m", 4, 2, "%", at_least=True)]
    content = written(path, *rows)
    assert [one.get("at_least") for one in content["rows"]] == [None, True]
    assert read_rows(path) == ("two cores", {"torch": "2"}, rows)


def test_printed_table_shows_a_dash_for_a_side_that_could_not_run() -> None:
    line = next(line for line in printed(row(2, None, 0.5)).splitlines() if "time-x" in line)
    assert [cell.strip() for cell in line.split("│")][3:6] == ["2.0 ms", "-", "-"]


def test_publish_of_a_quick_run_writes_only_to_a_named_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.command.RESULTS", tmp_path)
    parser = benchmark_parser("x", "Title.\n\nDescription.", "two rounds")
    for arguments in (["--quick"], ["--quick", f"--output={tmp_path / 'y.json'}"], []):
        before = {path.name for path in tmp_path.iterdir()}
        publish("x", parser.parse_args(arguments), 1, ["torch", "no-such-package"], [row()])
        new = {path.name for path in tmp_path.iterdir()} - before
        assert new == ({"y.json"} if len(arguments) == 2 else set() if arguments else {"x.json"})
    versions = json.loads((tmp_path / "x.json").read_text())["versions"]
    assert set(versions) == {"python", "torch", "no-such-package"}
    assert versions["no-such-package"] == "not installed"
