"""Files appear whole or not at all."""

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


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "één")
    write_text(tmp_path / "a.txt", "zwei")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "zwei"
    assert names(tmp_path) == {"a.txt"}


@pytest.mark.parametrize("error", [OSError("disk full"), ValueError("x"), KeyboardInterrupt(), SystemExit(1)])
def test_a_failure_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    write_text(tmp_path / "a.txt", "old")

    def half(temporary: Path) -> None:
        temporary.write_text("ne")
        raise error

    with pytest.raises(type(error)):
        atomic_write(tmp_path / "a.txt", half)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == {"a.txt"}


def test_a_failure_without_an_old_file_leaves_none(tmp_path: Path) -> None:
    def fail(temporary: Path) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        atomic_write(tmp_path / "a.txt", fail)
    assert names(tmp_path) == set()


def test_until_the_end_the_old_file_is_seen(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")

    def look(temporary: Path) -> None:
        assert temporary.parent == tmp_path
        temporary.write_text("new")
        assert (tmp_path / "a.txt").read_text() == "old"

    atomic_write(tmp_path / "a.txt", look)
    assert (tmp_path / "a.txt").read_text() == "new"


def test_others_may_read_the_result(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "x")
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644


def test_the_content_reaches_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "none" / "a.txt", "x")


def test_what_a_killed_process_leaves_is_known_and_removed(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "x")
    (tmp_path / ".hidden").write_text("mine")
    (tmp_path / "part.b").write_text("mine")

    def look(temporary: Path) -> None:
        assert is_part(temporary)
        (tmp_path / temporary.name.replace("-", "-0")).write_text("of another, who was killed")

    atomic_write(tmp_path / "a.txt", look)
    assert len(names(tmp_path)) == 4
    remove_parts(tmp_path)
    assert names(tmp_path) == {"a.txt", ".hidden", "part.b"}


@pytest.mark.parametrize(
    "name", ["a.mp4", "a-b.c", "漢" * 80 + ".mp4", "x" * 255], ids=["plain", "hyphen", "wide", "longest"]
)
def test_part_path_is_recognized_and_fits(tmp_path: Path, name: str) -> None:
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


def test_unsynced_write_replaces_what_a_killed_process_left(tmp_path: Path) -> None:
    part_path(tmp_path / "a.txt").write_text("torn")
    atomic_write_unsynced(tmp_path / "a.txt", lambda temporary: temporary.write_text("x"))
    assert names(tmp_path) == {"a.txt"}


def test_a_tilde_is_the_home_folder_only_at_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    given = ("~/a", "~", "a/~/b", "~$draft.jpg", "b")
    assert [str(expand_home(path)) for path in given] == ["/home/me/a", "/home/me", "a/~/b", "~$draft.jpg", "b"]
