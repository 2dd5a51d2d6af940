"""The example of docs/report.md runs, and its other commands are valid."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import cv2
import pytest

from seamseg.cli import main, parse

PAGE = Path(__file__).resolve().parents[2] / "docs" / "report.md"


def commands(language: str) -> list[list[str]]:
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert all(line[0] == "seamseg" for line in lines)
    return [line[1:] for line in lines]


def test_example_of_the_page_writes_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in commands("bash"):
        assert main(arguments) == 0
    assert '"pq":1.0' in Path("pages/data/index.js").read_text()
    assert len(list(Path("pages/images").iterdir())) == 8


def test_other_commands_of_the_page_are_parsed() -> None:
    for arguments in commands(""):
        assert callable(parse(arguments).run)


def test_options_and_picture_of_the_page_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["report", "--help"])
    text = capsys.readouterr().out
    options = set(re.findall(r"`(--[a-z-]+)`", PAGE.read_text()))
    assert {option for option in options if option not in text} == set()
    assert len(options) >= 4
    assert cv2.imread(str(PAGE.parent / "report.jpg")) is not None
