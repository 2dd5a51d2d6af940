"""Input images: the files that a path stands for, and the names of their results."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seamseg.predict.images import find_frames, find_input_images, image_folder, result_names


def test_result_names_of_files_with_one_stem_are_unique(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.jpg", "a.png", "a_2.jpg", "b/a.jpg")]
    assert result_names(paths, tmp_path) == ["a", "a_2", "a_2_2", "b/a"]
    listed = [Path("x/a.jpg"), Path("y/a.jpg"), Path("a.b.jpg")]
    assert result_names(listed, Path("list.txt")) == ["a", "a_2", "a.b"]


def test_image_names_of_a_list_are_relative_to_the_common_folder(tmp_path: Path) -> None:
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
def test_find_input_images_with_an_unstorable_name_raises(tmp_path: Path, name: bytes) -> None:
    (tmp_path / "fine.jpg").touch()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    with pytest.raises(ValueError, match=r"a file whose name .*\.jpg") as caught:
        find_input_images(tmp_path, tmp_path / "out")
    assert str(caught.value).isprintable()


def test_find_input_images_with_results_in_the_folder_skips_them(tmp_path: Path) -> None:
    for name in ("a.png", "out/overlay/a.jpg", "output/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = find_input_images(tmp_path, tmp_path / "out")
    assert [(one.name, one.file_name) for one in found] == [("a", "a.png"), ("output/b", "output/b.png")]
    with pytest.raises(ValueError, match="the folder of the results"):
        find_input_images(tmp_path, tmp_path)


def test_image_folder_of_a_relative_path_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    assert image_folder(Path("x")) == tmp_path / "x"
    assert image_folder(Path("x/list.txt")) == tmp_path / "x"
    assert image_folder(Path("a.jpg")) == tmp_path


def test_find_input_images_with_other_files_reports_them_once_without_results(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", ".ipynb_checkpoints/a.png", "clip.mp4", ".out/panoptic.json", ".out/overlay/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    sentences: list[str] = []
    found = find_input_images(tmp_path, tmp_path / ".out", sentences.append)
    assert [(one.name, one.file_name) for one in found] == [("a", "a.jpg"), ("a_2", "a.png")]
    (sentence,) = sentences
    assert "1 hidden or system file(s) (.ipynb_checkpoints)" in sentence
    assert "clip.mp4" in sentence
    assert ".out" not in sentence.removeprefix(f"skipped in {tmp_path}")


def test_image_name_with_a_backslash_becomes_a_folder_of_the_results(tmp_path: Path) -> None:
    (tmp_path / "x\\a.png").write_bytes(b"x")
    (found,) = find_input_images(tmp_path, tmp_path / "out")
    assert (found.name, found.file_name, found.path.name) == ("x/a", "x/a.png", "x\\a.png")


def test_find_frames_orders_by_decimal_numbers_and_accepts_other_digits(tmp_path: Path) -> None:
    for name in ("m²/9", "m²/10", "m²/010", "m²/²", "a10/1", "a9/1"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    names = [frame.name for frame in find_frames(tmp_path, tmp_path / "out")]
    assert names == ["a9/1", "a10/1", "m²/9", "m²/010", "m²/10", "m²/²"]
