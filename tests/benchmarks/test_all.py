"""All benchmarks in one command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import all as everything

MAKEFILE = Path(__file__).resolve().parents[2] / "Makefile"


def test_every_benchmark_of_the_makefile_is_run() -> None:
    modules = re.findall(r"python -m benchmarks\.(?!all )(\w+) \$\(ARGS\)", MAKEFILE.read_text())
    assert len(modules) > 10
    assert sorted(modules) == sorted(everything.NAMES)


def test_quick_run_prints_all_tables_and_names_what_failed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(everything, "NAMES", ("semantic_loss", "no_such_benchmark"))
    with pytest.raises(SystemExit, match="these benchmarks failed, see their output above: no_such_benchmark"):
        everything.main(["--quick"])
    output = capfd.readouterr().out
    assert "peak memory; upsampling first" in output
    assert "No module named 'benchmarks.no_such_benchmark'" in output
