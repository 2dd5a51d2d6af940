"""The script that prints the scores of an evaluation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "print_scores.py"


def test_null_scores_are_printed_as_dashes(tmp_path: Path) -> None:
    nothing = {"pq": None, "sq": None, "rq": None, "n": 0}
    half = {"pq": 0.5}
    scores = {"all": half, "things": nothing, "stuff": half, "miou": 0.25, "box_ap": None, "mask_ap": None}
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "scores.json")], capture_output=True, text=True, check=True
    )
    lines = dict(line.split(": ") for line in done.stdout.strip().splitlines())
    assert {name.strip(): value for name, value in lines.items()} == {
        "PQ": "50.0", "PQ things": "-", "PQ stuff": "50.0", "mIoU": "25.0", "box AP": "-", "mask AP": "-",
    }  # fmt: skip
