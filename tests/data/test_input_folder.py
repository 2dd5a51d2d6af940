"""What a folder of inputs holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from seamseg.data.input_folder import FoundFiles, existing_suffix, left_out_sentence, search_folder

LEFTOVERS = (
    ".hidden.png", "._a.png", ".ipynb_checkpoints/a.png", "@eaDir/a.png", "sub/@eaDir/a.png", "__MACOSX/a.png",
    ".DS_Store", "Thumbs.db", "#recycle/a.png",
)  # fmt: skip


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def names(folder: Path, found: FoundFiles) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in found.paths]


@pytest.mark.parametrize("leftover", LEFTOVERS)
def test_leftovers_of_systems_are_left_out_and_counted(tmp_path: Path, leftover: str) -> None:
    folder = make(tmp_path / "photos", "a.png", "sub/b.PNG", leftover)
    found = search_folder(folder, {".png"})
    assert names(folder, found) == ["a.png", "sub/b.PNG"]
    sentence = left_out_sentence(folder, found.left_out)
    assert sentence is not None
    assert "1 hidden or left by the system" in sentence
    assert leftover.removesuffix("/a.png") in sentence


def test_a_hidden_folder_that_is_given_is_searched(tmp_path: Path) -> None:
    folder = make(tmp_path / ".cache/@eaDir", "a.png")
    assert names(folder, search_folder(folder, {".png"})) == ["a.png"]


def test_links_to_folders_and_files_are_followed(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", "deep/b.png")
    folder = make(tmp_path / "photos", "a.png")
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    (folder / "c.png").symlink_to(tmp_path / "elsewhere/deep/b.png")
    found = search_folder(folder, {".png"})
    assert names(folder, found) == ["a.png", "c.png", "more/deep/b.png"]
    assert left_out_sentence(folder, found.left_out) is None


@pytest.mark.parametrize("target", [".", "..", "../..", "sub"])
def test_links_that_lead_back_are_left_out(tmp_path: Path, target: str) -> None:
    folder = make(tmp_path / "around/photos", "sub/a.png")
    (folder / "sub/back").symlink_to(folder / target)
    found = search_folder(folder, {".png"})
    assert names(folder, found) == ["sub/a.png"]
    assert "1 linked to a folder around it (sub/back)" in str(left_out_sentence(folder, found.left_out))


def test_folders_that_link_to_each_other_end(tmp_path: Path) -> None:
    folder = make(tmp_path / "photos", "one/a.png", "two/b.png")
    (folder / "one/other").symlink_to(folder / "two")
    (folder / "two/other").symlink_to(folder / "one")
    found = search_folder(folder, {".png"})
    assert names(folder, found) == ["one/a.png", "one/other/b.png", "two/b.png", "two/other/a.png"]
    assert len(found.left_out) == 2


def test_one_line_says_how_many_and_why(tmp_path: Path) -> None:
    folder = make(tmp_path, "a.jpg", ".x", "b.wmv", "c.HEIC", "d.txt", "e.txt", "f.txt", "sub/g.json", "no.suffix")
    (folder / "gone.jpg").symlink_to(folder / "nowhere")
    found = search_folder(folder, {".jpg"})
    sentence = str(left_out_sentence(folder, found.left_out))
    assert "\n" not in sentence
    assert sentence.startswith(f"left out of {folder}: ")
    for fact in ("1 hidden", "(.x)", "1 video(s)", "(b.wmv)", "(c.HEIC)", "5 with other suffixes", "1 broken links"):
        assert fact in sentence
    assert "(d.txt, e.txt, f.txt, …)" in sentence


def test_a_suffix_in_upper_case_is_found_where_only_that_exists(tmp_path: Path) -> None:
    make(tmp_path, "a.PNG", "b.png", "b.PNG")
    assert existing_suffix(tmp_path / "a.png") == tmp_path / "a.PNG"
    assert existing_suffix(tmp_path / "b.png") == tmp_path / "b.png"
    assert existing_suffix(tmp_path / "c.png") == tmp_path / "c.png"
