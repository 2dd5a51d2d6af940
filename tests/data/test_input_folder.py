"""Searching a folder for input files."""

from __future__ import annotations

from pathlib import Path

import pytest

from seamseg.data.input_folder import FoundFiles, existing_suffix, left_out_sentence, search_folder

LEFTOVERS = (
    ".hidden.png", "._a.png", ".ipynb_checkpoints/a.png", "@eaDir/a.png", "sub/@eaDir/a.png", "__MACOSX/a.png",
    ".DS_Store", "Thumbs.db", "#recycle/a.png",
)  # fmt: skip


def write_files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def names(folder: Path, found: FoundFiles) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in found.paths]


@pytest.mark.parametrize("leftover", LEFTOVERS)
def test_search_folder_skips_and_counts_system_leftovers(tmp_path: Path, leftover: str) -> None:
    folder = write_files(tmp_path / "photos", "a.png", "sub/b.PNG", leftover)
    found = search_folder(folder, {".png"})
    assert names(folder, found) == ["a.png", "sub/b.PNG"]
    sentence = left_out_sentence(folder, found.left_out)
    assert sentence is not None
    assert "1 hidden or system file(s)" in sentence
    assert leftover.removesuffix("/a.png") in sentence


def test_search_folder_accepts_a_hidden_root(tmp_path: Path) -> None:
    folder = write_files(tmp_path / ".cache/@eaDir", "a.png")
    assert names(folder, search_folder(folder, {".png"})) == ["a.png"]


def test_search_folder_follows_links_to_folders_and_files(tmp_path: Path) -> None:
    write_files(tmp_path / "elsewhere", "deep/b.png")
    folder = write_files(tmp_path / "photos", "a.png")
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    (folder / "c.png").symlink_to(tmp_path / "elsewhere/deep/b.png")
    found = search_folder(folder, {".png"})
    assert names(folder, found) == ["a.png", "c.png", "more/deep/b.png"]
    assert left_out_sentence(folder, found.left_out) is None


@pytest.mark.parametrize("target", [".", "..", "../..", "sub"])
def test_search_folder_skips_links_to_parent_folders(tmp_path: Path, target: str) -> None:
    folder = write_files(tmp_path / "around/photos", "sub/a.png")
    (folder / "sub/back").symlink_to(folder / target)
    found = search_folder(folder, {".png"})
    assert names(folder, found) == ["sub/a.png"]
    assert "1 link(s) back to a parent folder (sub/back)" in str(left_out_sentence(folder, found.left_out))


def test_search_folder_terminates_on_folders_that_link_to_each_other(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "photos", "one/a.png", "two/b.png")
    (folder / "one/other").symlink_to(folder / "two")
    (folder / "two/other").symlink_to(folder / "one")
    found = search_folder(folder, {".png"})
    assert names(folder, found) == ["one/a.png", "one/other/b.png", "two/b.png", "two/other/a.png"]
    assert len(found.left_out) == 2


def test_left_out_sentence_counts_files_by_reason_with_examples(tmp_path: Path) -> None:
    folder = write_files(
        tmp_path, "a.jpg", ".x", "b.wmv", "c.HEIC", "d.txt", "e.txt", "f.txt", "sub/g.json", "no.suffix"
    )
    (folder / "gone.jpg").symlink_to(folder / "nowhere")
    found = search_folder(folder, {".jpg"})
    sentence = str(left_out_sentence(folder, found.left_out))
    assert "\n" not in sentence
    assert sentence.startswith(f"skipped in {folder}: ")
    for fact in ("1 hidden", "(.x)", "1 video(s)", "(b.wmv)", "(c.HEIC)", "5 with other suffixes", "1 broken link(s)"):
        assert fact in sentence
    assert "(d.txt, e.txt, f.txt, …)" in sentence


def test_existing_suffix_uses_upper_case_only_if_lower_case_is_missing(tmp_path: Path) -> None:
    write_files(tmp_path, "a.PNG", "b.png", "b.PNG")
    assert existing_suffix(tmp_path / "a.png") == tmp_path / "a.PNG"
    assert existing_suffix(tmp_path / "b.png") == tmp_path / "b.png"
    assert existing_suffix(tmp_path / "c.png") == tmp_path / "c.png"
