"""Files appear complete or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from seamseg.io.files import (
    atomic_write,
    atomic_write_unsynced,
    expand_home,
    is_part,
    part_path,
    remove_parts,
    write_text,
)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_write_text_writes_and_replaces_a_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "café")
    write_text(tmp_path / "a.txt", "naïve")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "naïve"
    assert names(tmp_path) == {"a.txt"}


@pytest.mark.parametrize("error", [OSError("disk full"), ValueError("x"), KeyboardInterrupt(), SystemExit(1)])
def test_atomic_write_failing_midway_leaves_only_the_old_file(tmp_path: Path, error: BaseException) -> None:
    write_text(tmp_path / "a.txt", "old")

    def write_half(temporary: Path) -> None:
        temporary.write_text("ne")
        raise error

    with pytest.raises(type(error)):
        atomic_write(tmp_path / "a.txt", write_half)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == {"a.txt"}


def test_atomic_write_failing_without_an_old_file_leaves_nothing(tmp_path: Path) -> None:
    def fail(temporary: Path) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        atomic_write(tmp_path / "a.txt", fail)
    assert names(tmp_path) == set()


def test_atomic_write_shows_the_old_file_until_the_end(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")

    def check(temporary: Path) -> None:
        assert temporary.parent == tmp_path
        temporary.write_text("new")
        assert (tmp_path / "a.txt").read_text() == "old"

    atomic_write(tmp_path / "a.txt", check)
    assert (tmp_path / "a.txt").read_text() == "new"


def test_written_file_is_readable_by_other_users(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "x")
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644


def test_atomic_write_flushes_the_content_before_renaming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    sync, replace = os.fsync, Path.replace

    def note_sync(descriptor: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def note_replace(self: Path, target: Path) -> Path:
        order.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    write_text(tmp_path / "a.txt", "x")
    assert order == ["file", "rename", "folder"]


def test_write_text_in_missing_folder_raises_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "none" / "a.txt", "x")


def test_remove_parts_removes_only_temporary_files(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "x")
    (tmp_path / ".hidden").write_text("mine")
    (tmp_path / "part.b").write_text("mine")

    def check(temporary: Path) -> None:
        assert is_part(temporary)
        (tmp_path / temporary.name.replace("-", "-0")).write_text("left by a killed process")

    atomic_write(tmp_path / "a.txt", check)
    assert len(names(tmp_path)) == 4
    remove_parts(tmp_path)
    assert names(tmp_path) == {"a.txt", ".hidden", "part.b"}


@pytest.mark.parametrize(
    "name", ["a.mp4", "a-b.c", "漢" * 80 + ".mp4", "x" * 255], ids=["plain", "hyphen", "wide", "longest"]
)
def test_part_path_is_recognized_and_not_too_long(tmp_path: Path, name: str) -> None:
    path, other = tmp_path / name, tmp_path / f"x.{name[1:]}"
    assert part_path(path) == part_path(path)
    assert part_path(path, unique=True) != part_path(path, unique=True)
    for part in (part_path(path), part_path(path, unique=True)):
        assert part.parent == tmp_path
        assert len(os.fsencode(part.name)) <= 255
        assert len(name) > 10 or part.suffix == path.suffix
        assert (is_part(part), is_part(part, of=path), is_part(part, of=other)) == (True, True, False)
    assert not is_part(path)
    for write in (atomic_write, atomic_write_unsynced):
        write(path, lambda temporary: temporary.write_text("x") and None)
        assert names(tmp_path) == {name}


def test_unsynced_write_replaces_the_temporary_file_of_a_killed_process(tmp_path: Path) -> None:
    part_path(tmp_path / "a.txt").write_text("torn")
    atomic_write_unsynced(tmp_path / "a.txt", lambda temporary: temporary.write_text("x"))
    assert names(tmp_path) == {"a.txt"}


def test_expand_home_replaces_a_tilde_only_at_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    given = ("~/a", "~", "a/~/b", "~$draft.jpg", "b")
    assert [str(expand_home(path)) for path in given] == ["/home/me/a", "/home/me", "a/~/b", "~$draft.jpg", "b"]
