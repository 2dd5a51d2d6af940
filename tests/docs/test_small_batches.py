"""The examples of docs/small-batches.md run, its commands are valid, and its settings exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

from seamseg.cli import parse
from seamseg.config import parse_experiment
from seamseg.modules.abn import ABN, InPlaceABN
from seamseg.modules.eval_norm import EvalNorm
from seamseg.modules.mabn import MABN

PAGE = Path(__file__).resolve().parents[2] / "docs" / "small-batches.md"
TEXT = PAGE.read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, code in BLOCKS if kind == "sh" for line in code.splitlines()]


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """Variables that the examples define."""
    defined: dict[str, Any] = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for kind, code in BLOCKS:
            if kind == "python":
                exec(compile(code, PAGE, "exec"), defined)
    return defined


def test_examples_of_the_page_run(names: dict[str, Any]) -> None:
    assert not any(isinstance(module, ABN) for module in names["folded"].modules())
    assert [type(layer) for layer in names["block"]("mabn")][1::2] == [MABN, MABN]
    assert isinstance(names["network"][1], InPlaceABN)
    assert isinstance(names["corrected"][1], EvalNorm)


@pytest.mark.parametrize("line", COMMANDS)
def test_command_of_the_page_is_parsed(line: str) -> None:
    program, *arguments = shlex.split(line)
    assert program == "seamseg"
    assert parse(arguments).eval_norm == 0.5


def test_settings_of_the_page_exist() -> None:
    values = set(re.findall(r"`(norm\.[\w.]+=\w+(?: norm\.\w+=\w+)*)`", TEXT))
    assert len(values) >= 6
    for value in values:
        parse_experiment("", "page", value.split())
    settings = parse_experiment("", "page").norm.model_dump()
    for key in set(re.findall(r"`norm\.(\w+\.\w+)`", TEXT)):
        group, name = key.split(".")
        assert name in settings[group]
