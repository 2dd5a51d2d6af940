from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.table import Row, print_rows, write_rows


def row(ours: float | None = 3.0, peer: float | None = 12.0, must: float | None = None) -> Row:
    return Row("time-x", "what, against whom", ours, peer, "ms", must=must)


def written(path: Path, *rows: Row) -> dict:
    write_rows(path, "two cores", {"torch": "2"}, rows)
    return json.loads(path.read_text())


def printed(*rows: Row) -> str:
    text = io.StringIO()
    print_rows("two cores", {"torch": "2.14"}, rows, Console(file=text, width=150))
    return text.getvalue()


def test_the_ratio_is_ours_in_parts_of_the_peers() -> None:
    assert row(3, 12).ratio == 0.25
    assert row(12, 3).ratio == 4


@pytest.mark.parametrize(
    ("ours", "must", "holds"), [(5, 0.5, True), (5.01, 0.5, False), (4, 0.5, True), (99, None, None)]
)
def test_a_demand_holds_up_to_its_limit(ours: float, must: float | None, holds: bool | None) -> None:
    assert row(ours, 10, must).holds is holds


@pytest.mark.parametrize(("ours", "peer"), [(1.0, None), (None, 1.0), (None, None), (1.0, 0.0)])
def test_a_demand_without_a_ratio_is_not_met(ours: float | None, peer: float | None) -> None:
    assert row(ours, peer, must=0.5).ratio is None
    assert row(ours, peer, must=0.5).holds is False
    assert row(ours, peer).holds is None


def test_the_file_has_the_agreed_form(tmp_path: Path) -> None:
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


def test_the_written_ratio_is_not_rounded(tmp_path: Path) -> None:
    (line,) = written(tmp_path / "x.json", row(1, 3))["rows"]
    assert line["ratio"] == line["ours"] / line["peer"]


def test_a_slug_names_one_row(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x\.json share the slug time-x"):
        written(tmp_path / "x.json", row(), row())


def test_a_failure_leaves_the_old_results(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    before = written(path, row())
    with pytest.raises(ValueError, match="JSON compliant"):
        written(path, row(float("nan")))
    assert json.loads(path.read_text()) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_the_table_shows_limits_and_verdicts() -> None:
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
    assert "1 of 2 demands hold" in text
    assert text.rstrip().endswith("not: slow")
    assert "two cores" in text
    assert "torch 2.14" in text


def test_a_side_that_could_not_run_is_a_dash() -> None:
    line = next(line for line in printed(row(2, None, 0.5)).splitlines() if "time-x" in line)
    assert [cell.strip() for cell in line.split("│")][3:6] == ["2.0 ms", "-", "-"]
