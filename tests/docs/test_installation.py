"""The commands, targets and variables of docs/installation.md and of the release section of CONTRIBUTING.md exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from seamseg.cli import parse

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
RELEASE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Release")[2].partition("## Writing")[0]
README = (ROOT / "README.md").read_text(encoding="utf-8")
STAGES = set(re.findall(r"^FROM \S+ AS (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("text", [PAGE, RELEASE, README], ids=["page", "release", "readme"])
def test_targets_of_make_and_docker_exist(text: str) -> None:
    docker = set(re.findall(r"docker build --target ([\w-]+)", text))
    assert docker
    assert docker <= STAGES
    named = {name for words in re.findall(r"`make ([a-z -]+)`", text) for name in words.split()}
    assert named
    assert named <= TARGETS


def test_variables_of_the_build_are_read_by_it() -> None:
    setup = (ROOT / "setup.py").read_text()
    variables = set(re.findall(r"^\| `([A-Z_]+)` \|", PAGE, re.MULTILINE))
    assert "SEAMSEG_CUDA" in variables
    # torch reads MAX_JOBS.
    assert {name for name in variables if f'"{name}"' not in setup} == {"MAX_JOBS"}


def test_commands_in_containers_are_subcommands() -> None:
    commands = re.findall(r"^docker run .* seamseg(?::cuda)? (.*)$", PAGE, re.MULTILINE)
    commands += re.findall(r"`docker run .* seamseg(?::cuda)? (\w+)`", RELEASE)
    assert len(commands) == 4
    for command in commands:
        parse(shlex.split(command))


def test_name_of_the_wheel_is_that_of_the_build() -> None:
    built = re.search(r"manylinux_2_\d+", (ROOT / "scripts" / "build_wheel.sh").read_text())
    for text in (PAGE, README, (ROOT / "docs" / "index.md").read_text()):
        (name,) = re.findall(r"seamseg-[\d.]+-(\S+)_x86_64\.whl", text)
        assert name == f"py3-none-{built[0]}"
