"""The examples of docs/data-formats.md run in order, and its table lists every format."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path

from seamseg.cli import main
from seamseg.data.formats.annotated_dataset import NEEDED_CONTENT
from seamseg.data.formats.open import FORMATS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data-formats.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_examples_of_the_page_print_what_it_says(page_folder: Path) -> None:
    (example,), (command,) = blocks("python"), blocks("bash")
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(example, str(PAGE), "exec"), {})
    promised = [line.split("#")[1].split(":")[0].strip() for line in example.splitlines() if line.startswith("print")]
    assert output.getvalue().splitlines() == promised
    program, *arguments = command.split()
    assert (program, main(arguments)) == ("seamseg", 0)
    report = json.loads((page_folder / "objects.json").read_text())
    assert (report["errors"], report["warnings"]) == (0, 0)
    assert [split["objects"] for split in report["splits"]] == [2, 2]


def test_table_lists_the_tasks_of_every_format() -> None:
    stated: dict[str, set[str]] = {}
    for names, tasks in re.findall(r"^\| (`.*?`) \|.*\| (.*?) \|$", PAGE.read_text(), re.MULTILINE):
        of_row = set(NEEDED_CONTENT) if tasks == "all" else set(re.findall(r"`(\w+)`", tasks))
        stated |= dict.fromkeys(re.findall(r"`([\w.]+)`", names), of_row)
    del stated["data.format"]  # the heading
    assert stated == {
        name: {task for task, needed in NEEDED_CONTENT.items() if not kind.content.lacks(needed)}
        for name, kind in FORMATS.items()
    }
