"""docs/report.md: what can run runs, and the other commands mean something."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import cv2
import pytest

from seamseg.cli import main, parser

PAGE = Path(__file__).resolve().parents[2] / "docs" / "report.md"


def commands(language: str) -> list[list[str]]:
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert all(line[0] == "seamseg" for line in lines)
    return [line[1:] for line in lines]


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in commands("bash"):
        assert main(arguments) == 0
    assert '"pq":1.0' in Path("pages/data/index.js").read_text()
    assert len(list(Path("pages/images").iterdir())) == 8


def test_the_other_commands_can_be_read() -> None:
    for arguments in commands(""):
        assert callable(parser().parse_args(arguments).run)


def test_options_and_pictures_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["report", "--help"])
    text = capsys.readouterr().out
    options = set(re.findall(r"`(--[a-z-]+)`", PAGE.read_text()))
    assert {option for option in options if option not in text} == set()
    assert len(options) >= 4
    assert cv2.imread(str(PAGE.parent / "report.jpg")) is not None
