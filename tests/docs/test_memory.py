"""The examples of docs/memory.md run, and its commands and settings exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import torch

from benchmarks.memory import saved_bytes
from benchmarks.memory_networks import started, unet_in
from seamseg.cli import parse
from seamseg.config import parse_experiment

PAGE = Path(__file__).resolve().parents[2] / "docs" / "memory.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_examples_of_the_page_run() -> None:
    defined: dict[str, Any] = {}
    blocks = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    with torch.random.fork_rng():
        for code in blocks:
            exec(compile(code, PAGE, "exec"), defined)
    assert defined["upsampled"].grad is not None


def test_commands_of_the_page_are_valid() -> None:
    lines = re.findall(r"^```sh\n(.*)\n```$", TEXT, re.MULTILINE)
    memory, train = (parse(shlex.split(line)[1:]) for line in lines)
    assert (memory.fits, memory.size) == (11 * 10**9, (1024, 2048))
    assert train.profile


def test_settings_of_the_table_are_accepted() -> None:
    rows = re.findall(r"^\| `([a-z_.]+=\S+?)`", TEXT, re.MULTILINE)
    rows += re.findall(r"^\| `(data\.\S+ \S+)=N` ", TEXT, re.MULTILINE)
    assert len(rows) >= 5
    for row in rows:
        overrides = [word.replace("accumulate", "accumulate=2") for word in row.split()]
        parse_experiment("norm: {name: bn}", "page", overrides)


def test_fractions_of_the_unet_are_those_of_the_page() -> None:
    converted, lean = re.findall(r"(0\.\d\d) of its bytes|leaves (0\.\d\d)", TEXT)
    x = torch.randn(2, 3, 64, 64)
    leaky, *others = (saved_bytes(started(unet_in(form)), x) for form in ("leaky", "converted", "inplace"))
    assert [f"{kept / leaky:.2f}" for kept in others] == [converted[0], lean[1]]
