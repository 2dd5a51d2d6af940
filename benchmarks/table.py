"""The rows of a benchmark: what was measured on both sides, what it must be, and the files that say so."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from seamseg.io.files import write_text

RESULTS = Path(__file__).resolve().parent / "results"
_WIDTH = 150  # of a table that goes into a file or a pipe


@dataclass(frozen=True)
class Row:
    """One measure on both sides; less is better.

    Attributes:
        slug: short name that stays the same from run to run.
        measure: what is measured, against whom; or why it could not be.
        ours, peer: medians in ``unit``; None where a side cannot run on this machine.
        unit: ``ms`` or ``MB``.
        must, aim: largest ratio that is demanded, and the one that is hoped for.
    """

    slug: str
    measure: str
    ours: float | None
    peer: float | None
    unit: str
    must: float | None = None
    aim: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours in parts of the peer's."""
        return None if self.ours is None or not self.peer else self.ours / self.peer

    @property
    def holds(self) -> bool | None:
        """Whether the ratio is what it must be; without a ratio a demand is not met, without a demand there is None."""
        if self.must is None:
            return None
        return self.ratio is not None and self.ratio <= self.must

    def as_json(self) -> dict[str, Any]:
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
        }


def write_rows(path: Path, machine: str, versions: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Writes ``{"machine", "versions", "rows"}`` as JSON, whole or not at all.

    Args:
        path: of the file; its folder is made.
        machine: processor, cores, system, threads.
        versions: of both sides and what they stand on.
        rows: in the order they are printed.

    Raises:
        ValueError: two rows have the same slug.
    """
    slugs = [row.slug for row in rows]
    twice = sorted({slug for slug in slugs if slugs.count(slug) > 1})
    if twice:
        raise ValueError(f"rows of {path.name} share the slug {', '.join(twice)}; give each its own")
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {"machine": machine, "versions": dict(versions), "rows": [row.as_json() for row in rows]}
    write_text(path, json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def print_rows(machine: str, versions: Mapping[str, str], rows: Sequence[Row], console: Console | None = None) -> None:
    """A table of the rows, and how many demands are met."""
    if console is None:
        console = Console()
        console = console if console.is_terminal else Console(width=_WIDTH)
    table = Table(title=machine, caption=", ".join(f"{name} {version}" for name, version in versions.items()))
    table.add_column("slug", no_wrap=True)
    table.add_column("measure")
    for title in ("ours", "peer", "ratio", "must", "aim", "holds"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        sides = (_amount(row.ours, row.unit), _amount(row.peer, row.unit), _number(row.ratio, "×"))
        table.add_row(row.slug, row.measure, *sides, _limit(row.must), _limit(row.aim), _verdict(row.holds))
    console.print(table)
    demands = [row for row in rows if row.holds is not None]
    missed = [row.slug for row in demands if not row.holds]
    console.print(
        f"{len(demands) - len(missed)} of {len(demands)} demands hold" + "".join(f"\n  not: {s}" for s in missed)
    )


def _amount(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.1f} {unit}"


def _number(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:.3f}{unit}"


def _limit(value: float | None) -> str:
    """With two digits behind the point, or as many as it has."""
    return "" if value is None else "≤ " + max(f"{value:.2f}", f"{value:g}", key=len)


def _verdict(holds: bool | None) -> str:
    return {None: "", True: "yes", False: "NO"}[holds]
