"""Rows of a benchmark: measurements of both sides, limits, and the JSON file and table that show them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from seamseg.io.files import write_text

RESULTS = Path(__file__).resolve().parent / "results"
_WIDTH = 150  # columns of a table that is written to a file or a pipe


@dataclass(frozen=True)
class Row:
    """One measure of both sides; less is better unless ``at_least`` is set.

    Attributes:
        slug: Short name that stays the same from run to run.
        measure: What is measured and against what, or why it could not be measured.
        ours, peer: Medians in ``unit``; None where a side cannot run on this machine.
        unit: Unit, such as ``ms`` or ``MB``.
        must: Limit of the ratio, or None.
        aim: Goal for the ratio, stricter than the limit, or None.
        at_least: Whether more is better: limit and goal are then the least ratio instead of the largest.
    """

    slug: str
    measure: str
    ours: float | None
    peer: float | None
    unit: str
    must: float | None = None
    aim: float | None = None
    at_least: bool = False

    @property
    def ratio(self) -> float | None:
        """Our value divided by the peer's; None if there is no such ratio."""
        return None if self.ours is None or not self.peer else self.ours / self.peer

    @property
    def holds(self) -> bool | None:
        """Whether the ratio is within its limit; False without a ratio, None without a limit."""
        if self.must is None:
            return None
        if self.ratio is None:
            return False
        return self.ratio >= self.must if self.at_least else self.ratio <= self.must

    def as_json(self) -> dict[str, Any]:
        """Return the row as it is written to JSON; ``at_least`` only where it is set."""
        return {
            "slug": self.slug,
            "measure": self.measure,
            "ours": self.ours,
            "peer": self.peer,
            "unit": self.unit,
            "ratio": self.ratio,
            "must": self.must,
            "aim": self.aim,
            "holds": self.holds,
            **({"at_least": True} if self.at_least else {}),
        }


def read_rows(path: Path) -> tuple[str, dict[str, str], list[Row]]:
    """Return the machine, the versions and the rows of a file of :func:`write_rows`."""
    whole = json.loads(path.read_text())
    names = {field.name for field in fields(Row)}
    rows = [Row(**{name: value for name, value in row.items() if name in names}) for row in whole["rows"]]
    return whole["machine"], whole["versions"], rows


def replace_rows(rows: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    """Return ``rows`` with those of the same slugs replaced by ``others``, and the rest of them at the end."""
    new = {row.slug: row for row in others}
    return [new.pop(row.slug, row) for row in rows] + list(new.values())


def write_rows(path: Path, machine: str, versions: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Write ``{"machine", "versions", "rows"}`` as JSON, atomically.

    Args:
        path: File to write; its folder is created.
        machine: Processor, cores, system and threads.
        versions: Versions by package.
        rows: Rows in the order of the table.

    Raises:
        ValueError: Two rows have the same slug.
    """
    slugs = [row.slug for row in rows]
    twice = sorted({slug for slug in slugs if slugs.count(slug) > 1})
    if twice:
        raise ValueError(f"rows of {path.name} share the slug {', '.join(twice)}; give each its own")
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {"machine": machine, "versions": dict(versions), "rows": [row.as_json() for row in rows]}
    write_text(path, json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def print_rows(machine: str, versions: Mapping[str, str], rows: Sequence[Row], console: Console | None = None) -> None:
    """Print a table of the rows, and how many targets are met."""
    if console is None:
        console = Console()
        console = console if console.is_terminal else Console(width=_WIDTH)
    table = Table(title=machine, caption=", ".join(f"{name} {version}" for name, version in versions.items()))
    table.add_column("slug", no_wrap=True)
    table.add_column("measure")
    for title in ("ours", "peer", "ratio", "limit", "goal", "met"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        sides = (_amount(row.ours, row.unit), _amount(row.peer, row.unit), _number(row.ratio, "×"))
        limits = (_limit(limit, row.at_least) for limit in (row.must, row.aim))
        table.add_row(row.slug, row.measure, *sides, *limits, _verdict(row.holds))
    console.print(table)
    targets = [row for row in rows if row.holds is not None]
    missed = [row.slug for row in targets if not row.holds]
    console.print(
        f"{len(targets) - len(missed)} of {len(targets)} targets met" + "".join(f"\n  missed: {s}" for s in missed)
    )


def _amount(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.1f} {unit}"


def _number(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:.3f}{unit}"


def _limit(value: float | None, at_least: bool) -> str:
    """Format a limit with two decimals, or with as many as it has."""
    return "" if value is None else f"{'≥' if at_least else '≤'} " + max(f"{value:.2f}", f"{value:g}", key=len)


def _verdict(holds: bool | None) -> str:
    return {None: "", True: "yes", False: "NO"}[holds]
