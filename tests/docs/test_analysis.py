"""The commands of docs/analysis.md are valid, and the page explains every number of an analysis."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from seamseg.cli import parse
from seamseg.metrics.analysis import Analysis, ClassOutcomes

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "analysis.md").read_text()
COMMANDS = [
    line for block in re.findall(r"^```\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]


@pytest.mark.parametrize("line", COMMANDS)
def test_command_of_the_page_is_parsed(line: str) -> None:
    program, *arguments = shlex.split(line)
    assert program == "seamseg"
    assert parse(arguments).analysis == Path("out/analysis")


def test_page_explains_every_field_of_the_analysis() -> None:
    assert len(COMMANDS) == 2
    for kind in (Analysis, ClassOutcomes):
        assert all(f"`{field.name}`" in PAGE for field in fields(kind) if field.name != "outcomes")
