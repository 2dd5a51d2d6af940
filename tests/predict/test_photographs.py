"""Which photographs a path stands for, and what their results are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from seamseg.predict.photographs import find_photographs, image_folder, photograph_name, result_names


def test_names_of_results_are_unique(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.jpg", "a.png", "a_2.jpg", "b/a.jpg")]
    assert result_names(paths, tmp_path) == ["a", "a_2", "a_2_2", "b/a"]
    listed = [Path("x/a.jpg"), Path("y/a.jpg"), Path("a.b.jpg")]
    assert result_names(listed, Path("list.txt")) == ["a", "a_2", "a.b"]


def test_names_of_photographs_are_their_own(tmp_path: Path) -> None:
    assert photograph_name(tmp_path / "b" / "a.jpg", tmp_path) == "b/a.jpg"
    assert photograph_name(tmp_path / "b" / "a.jpg", tmp_path / "list.txt") == "b/a.jpg"
    assert photograph_name(Path("/else/a.jpg"), tmp_path / "list.txt") == "/else/a.jpg"
    assert photograph_name(Path("a.jpg"), Path("a.jpg")) == "a.jpg"


def test_results_below_the_photographs_are_no_photographs(tmp_path: Path) -> None:
    for name in ("a.png", "out/overlay/a.jpg", "output/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = find_photographs(tmp_path, tmp_path / "out")
    assert [(one.name, one.file_name) for one in found] == [("a", "a.png"), ("output/b", "output/b.png")]
    with pytest.raises(ValueError, match="which is where the results go"):
        find_photographs(tmp_path, tmp_path)


def test_the_folder_that_names_are_relative_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    assert image_folder(Path("x")) == tmp_path / "x"
    assert image_folder(Path("x/list.txt")) == tmp_path / "x"
    assert image_folder(Path("a.jpg")) == tmp_path
