"""Which images a path stands for, and what their results are called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seamseg.predict.images import find_input_images, image_folder, result_names


def test_names_of_results_are_unique(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.jpg", "a.png", "a_2.jpg", "b/a.jpg")]
    assert result_names(paths, tmp_path) == ["a", "a_2", "a_2_2", "b/a"]
    listed = [Path("x/a.jpg"), Path("y/a.jpg"), Path("a.b.jpg")]
    assert result_names(listed, Path("list.txt")) == ["a", "a_2", "a.b"]


def test_names_of_images_are_relative_to_a_folder_that_holds_them_all(tmp_path: Path) -> None:
    given = tmp_path / "lists" / "list.txt"
    for lines, folder, names in (
        ("a.jpg\nb/c.jpg", "lists", ["a.jpg", "b/c.jpg"]),
        (f"a.jpg\n{tmp_path}/other/d.jpg", "", ["lists/a.jpg", "other/d.jpg"]),
        ("../other/d.jpg", "", ["other/d.jpg"]),
    ):
        given.parent.mkdir(exist_ok=True)
        given.write_text(lines)
        found = find_input_images(given, tmp_path / "out")
        assert [one.file_name for one in found] == names
        assert image_folder(given, [one.path for one in found]) == tmp_path / folder


@pytest.mark.parametrize("name", [b"a\tb.jpg", b"a\nb.jpg", b"caf\xe9.jpg", b"a\x85\xff.jpg"])
def test_names_that_no_reader_takes_are_refused_before_the_work(tmp_path: Path, name: bytes) -> None:
    (tmp_path / "fine.jpg").touch()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    with pytest.raises(ValueError, match=r"a file whose name .*\.jpg") as caught:
        find_input_images(tmp_path, tmp_path / "out")
    assert str(caught.value).isprintable()


def test_results_below_the_images_are_no_images(tmp_path: Path) -> None:
    for name in ("a.png", "out/overlay/a.jpg", "output/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = find_input_images(tmp_path, tmp_path / "out")
    assert [(one.name, one.file_name) for one in found] == [("a", "a.png"), ("output/b", "output/b.png")]
    with pytest.raises(ValueError, match="which is where the results go"):
        find_input_images(tmp_path, tmp_path)


def test_the_folder_that_names_are_relative_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    assert image_folder(Path("x")) == tmp_path / "x"
    assert image_folder(Path("x/list.txt")) == tmp_path / "x"
    assert image_folder(Path("a.jpg")) == tmp_path


def test_what_else_a_folder_holds_is_said_once_without_the_results_in_it(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", ".ipynb_checkpoints/a.png", "clip.mp4", ".out/panoptic.json", ".out/overlay/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    said: list[str] = []
    found = find_input_images(tmp_path, tmp_path / ".out", said.append)
    assert [(one.name, one.file_name) for one in found] == [("a", "a.jpg"), ("a_2", "a.png")]
    (sentence,) = said
    assert "1 hidden or left by the system (.ipynb_checkpoints)" in sentence
    assert "clip.mp4" in sentence
    assert ".out" not in sentence.removeprefix(f"left out of {tmp_path}")


def test_backslashes_in_the_name_of_an_image_become_folders_of_the_results(tmp_path: Path) -> None:
    (tmp_path / "x\\a.png").write_bytes(b"x")
    (found,) = find_input_images(tmp_path, tmp_path / "out")
    assert (found.name, found.file_name, found.path.name) == ("x/a", "x/a.png", "x\\a.png")
