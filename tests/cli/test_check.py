"""`seamseg check`: output, files and exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
from support.tiny_dataset import TinyDataset, write_tiny_panoptic


@pytest.fixture
def tiny(tmp_path: Path) -> TinyDataset:
    return write_tiny_panoptic(tmp_path / "data", num_objects=6, images_without_objects=[2])


def damage(tiny: TinyDataset) -> None:
    def change(content: dict[str, Any]) -> None:
        for segment in content["annotations"][0]["segments_info"]:
            segment["area"] += 1

    tiny.edit_json(change)


def test_check_with_only_warnings_exits_with_0(command: Any, tiny: TinyDataset) -> None:
    code, out, err = command("check", tiny.folder, "--workers", 1)
    assert code == 0
    assert "warning image-without-things (1): " in out
    assert "train, 002.png: 2 stuff segments" in out
    assert out.splitlines()[-1] == "passed: 0 errors, 1 warning"
    assert "4/4" in err


def test_check_with_errors_exits_with_1_and_lists_them(command: Any, tiny: TinyDataset, tmp_path: Path) -> None:
    damage(tiny)
    number = len(tiny.segments[0])
    code, out, _ = command("check", tiny.folder, "--examples", 1, "--json", tmp_path / "report.json")
    assert code == 1
    assert f"error wrong-area ({number}): " in out
    assert f"… and {number - 1} more" in out
    assert out.splitlines()[-1] == f"failed: {number} errors, 1 warning"
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["errors"], report["warnings"]) == (number, 1)


def test_check_names_with_markup_are_printed_verbatim(command: Any, tmp_path: Path) -> None:
    names = {"stuff": ("[sky]", "[/road]"), "things": (":car:", "human[/rider]")}
    tiny = write_tiny_panoptic(tmp_path / "data[/x]:car:", split="val[red]", **names)
    (tiny.image_folder / "000.png").write_bytes(b"broken")
    code, out, _ = command("check", tiny.folder, "--workers", 1)
    assert code == 1
    assert "data[/x]:car:: " in out.replace("\n", "")
    assert all(f"│ {name} " in out for name in (*names["stuff"], *names["things"], "val[red]"))
    assert "val[red], 000.png: cannot be decoded" in out


def test_check_writes_files_before_printing_the_report(
    command: Any, tiny: TinyDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(report: Any, console: Any) -> None:
        raise OSError("no terminal")

    monkeypatch.setattr("seamseg.cli.check.print_report", fail)
    path = tmp_path / "report.json"
    assert command("check", tiny.folder, "--workers", 1, "--json", path).code == 2
    assert json.loads(path.read_text())["errors"] == 0


def test_check_json_dash_prints_json_instead_of_text(command: Any, tiny: TinyDataset) -> None:
    code, out, _ = command("check", tiny.folder, "--json", "-")
    assert code == 0
    assert json.loads(out)["faults"][0]["kind"] == "image-without-things"


def test_check_writes_corrected_copy_and_contact_sheet(command: Any, tiny: TinyDataset, tmp_path: Path) -> None:
    damage(tiny)
    arguments = ("--fix-areas", tmp_path / "fixed", "--contact-sheet", tmp_path / "sheet.png")
    assert command("check", tiny.folder, *arguments).code == 1
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[1] == 2000
    assert command("check", tmp_path / "fixed").code == 0
    assert command("check", tiny.folder).code == 1


def test_check_invalid_arguments_are_refused(refuses: Callable[..., str], tiny: TinyDataset, tmp_path: Path) -> None:
    assert "does not exist" in refuses("check", tmp_path / "none")
    assert "no split matching 'val'" in refuses("check", tiny.folder, "--split", "val")
    assert "--examples must be at least 1, not 0" in refuses("check", tiny.folder, "--examples", 0)


def test_check_folder_name_that_is_not_utf8_is_accepted(tmp_path: Path) -> None:
    folder = write_tiny_panoptic(tmp_path / "data", num_objects=6).folder.rename(tmp_path / "caf\udce9")
    done = subprocess.run(
        [sys.executable, "-m", "seamseg", "check", os.fsencode(folder), "--workers", "1"],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"caf\\udce9" in done.stdout
