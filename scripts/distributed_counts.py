"""Update the tables in docs/distributed.md from the results of `make bench-distributed`.

Usage: python scripts/distributed_counts.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "distributed.json"
TARGET = ROOT / "docs" / "distributed.md"
BEGIN, END = "<!-- counts: scripts/distributed_counts.py -->", "<!-- end of counts -->"
PARTS = {
    "norms": "synchronized norms",
    "exchange": "number of regions",
    "buffers": "running statistics",
    "gradients": "gradients",
    "agreement": "stop signals and finite checks",
    "all": "total",
}


def counts(results: dict[str, Any]) -> str:
    """Text between the two marks: collectives and bytes per rank, averaged over the ranks."""
    rows = {row["slug"]: row for row in results["rows"]}
    lines = [
        "| collectives and bytes per step and rank "
        "| `masked` | `active`, one of two ranks without objects | SyncBatchNorm |",
        "|---|---|---|---|",
    ]
    for part, words in PARTS.items():
        cells = [
            _cell(rows, part, "masked-2-of-2", "ours"),
            _cell(rows, part, "active-1-of-2", "ours"),
            _cell(rows, part, "masked-2-of-2", "peer"),
        ]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join([BEGIN, *lines, "", _time(rows), "", *_model(rows), END])


def _cell(rows: dict[str, Any], part: str, case: str, side: str) -> str:
    """Format the number of collectives and bytes of one of the two ranks."""
    collectives, kilobytes = (rows.get(f"{what}-{part}-{case}") for what in ("collectives", "bytes"))
    if collectives is None or kilobytes is None:
        return "–"
    size = 1000 * kilobytes[side] / 2
    amount = f"{size:.0f} B" if size < 1000 else f"{size / 1e3:,.1f} kB"
    return f"{collectives[side] / 2:g}; {amount}" if collectives[side] else "–"


def _time(rows: dict[str, Any]) -> str:
    one, apart = (rows[f"step-beside-{other}"]["ratio"] for other in ("one", "apart"))
    return (
        f"A step of two ranks on two CPU cores takes {one:.2f} times as long as a step of one rank on an idle "
        f"machine, and {apart:.2f} times as long as a step of two independent processes."
    )


def _model(rows: dict[str, Any]) -> list[str]:
    slugs = [slug for slug in rows if slug.startswith("model-")]
    assumptions = rows[slugs[0]]["measure"].split("(")[1].split(")")[0]
    return [
        f"Estimated cost of these collectives; a model, not a measurement ({assumptions}):",
        "",
        "| GPUs | " + " | ".join(slug.removeprefix("model-") for slug in slugs) + " |",
        "|---|" + "---|" * len(slugs),
        "| ms per step | " + " | ".join(f"{rows[slug]['ours']:.1f}" for slug in slugs) + " |",
        "| bound by | "
        + " | ".join(rows[slug]["measure"].split("bound by ")[1].split(";")[0] for slug in slugs)
        + " |",
    ]


def page(text: str, results: dict[str, Any]) -> str:
    """Text of the page with an updated block."""
    before, rest = text.split(BEGIN)
    return before + counts(results) + rest.split(END)[1]


if __name__ == "__main__":
    TARGET.write_text(page(TARGET.read_text(), json.loads(RESULTS.read_text())))
