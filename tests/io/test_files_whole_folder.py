"""Folders appear complete or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from seamseg.io.files import atomic_directory

NAMES = ("a.txt", "b.txt")


def writer(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name in NAMES:
            (folder / name).write_text(text)

    return write


def tree(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_atomic_directory_creates_missing_parents(tmp_path: Path) -> None:
    atomic_directory(tmp_path / "x" / "y" / "out", writer("new"), None)
    assert tree(tmp_path) == {f"x/y/out/{name}": "new" for name in NAMES}
    assert (tmp_path / "x/y/out").stat().st_mode & 0o055 == (tmp_path / "x").stat().st_mode & 0o055


def test_atomic_directory_fills_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    atomic_directory(tmp_path / "out", writer("new"), None)
    assert tree(tmp_path / "out") == dict.fromkeys(NAMES, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_atomic_directory_replaces_only_replaceable_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    atomic_directory(out, writer("old"), None)
    with pytest.raises(ValueError, match=r"out is not empty; .*--overwrite"):
        atomic_directory(out, writer("new"), None)
    assert tree(out) == dict.fromkeys(NAMES, "old")
    atomic_directory(out, writer("new"), NAMES)
    assert tree(out) == dict.fromkeys(NAMES, "new")
    (out / "mine").write_text("mine")
    with pytest.raises(ValueError, match="contains other files, such as mine"):
        atomic_directory(out, writer("newer"), NAMES)
    assert tree(out) == dict.fromkeys(NAMES, "new") | {"mine": "mine"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_atomic_directory_does_not_replace_a_file_or_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for name in ("file", "link"):
        with pytest.raises(ValueError, match=f"{name} is not a folder"):
            atomic_directory(tmp_path / name, writer("new"), NAMES)
    assert tree(tmp_path) == {"file": "mine"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("x"), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [None, "old"])
def test_atomic_directory_failing_midway_leaves_the_old_folder(
    tmp_path: Path, error: BaseException, before: str | None
) -> None:
    out = tmp_path / "out"
    if before:
        atomic_directory(out, writer(before), None)

    def write_half(folder: Path) -> None:
        (folder / "a.txt").write_text("half")
        raise error

    with pytest.raises(type(error)) as caught:
        atomic_directory(out, write_half, NAMES)
    if isinstance(error, OSError):
        assert str(caught.value).startswith(f"{out} cannot be written (No space left on device); ")
        assert "unchanged" in str(caught.value)
    assert tree(tmp_path) == ({f"out/{name}": "old" for name in NAMES} if before else {})
    assert {path.name for path in tmp_path.iterdir()} == ({"out"} if before else set())


def test_atomic_directory_restores_the_old_folder_when_the_rename_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, replace = tmp_path / "out", Path.replace
    atomic_directory(out, writer("old"), None)

    def refuse(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(5, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="out cannot be written"):
        atomic_directory(out, writer("new"), NAMES)
    assert tree(tmp_path) == {f"out/{name}": "old" for name in NAMES}


WRITER = """
import os, sys, time
from pathlib import Path
from seamseg.io.files import atomic_directory

def write(folder):
    (folder / "a.txt").write_text("half")
    print("writing", flush=True)
    time.sleep(600)

atomic_directory(Path(sys.argv[1]), write, ("a.txt", "b.txt"))
"""


def start_writer(out: Path) -> subprocess.Popen[str]:
    """Start a process that is in the middle of writing a folder."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(out)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    return writer


def test_next_writer_removes_the_temporary_folder_of_a_killed_process(tmp_path: Path) -> None:
    out = tmp_path / "out"
    atomic_directory(out, writer("old"), None)
    with start_writer(out) as killed:
        os.kill(killed.pid, signal.SIGKILL)
    assert tree(out) == dict.fromkeys(NAMES, "old")
    assert len(list(tmp_path.iterdir())) == 2
    atomic_directory(out, writer("new"), NAMES)
    assert tree(out) == dict.fromkeys(NAMES, "new")
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_atomic_directory_keeps_temporary_files_of_other_results(tmp_path: Path) -> None:
    foreign = {".part-0.other", ".part-0.out.v2", ".part-1.out", ".part-2.out.json", ".part-3.out"}
    for name in (".part-0.other", ".part-0.out.v2"):
        (tmp_path / name / "new").mkdir(parents=True)
        (tmp_path / name / "old").mkdir()
    (tmp_path / ".part-1.out").mkdir()  # its creator may be about to lock it
    (tmp_path / ".part-2.out.json").write_text("file")
    (tmp_path / ".part-3.out").write_text("file")
    atomic_directory(tmp_path / "out", writer("new"), None)
    assert {path.name for path in tmp_path.iterdir()} == {"out"} | foreign
    assert (tmp_path / ".part-0.out.v2" / "old").is_dir()


@pytest.mark.parametrize("target", ["old", "out"])
def test_atomic_directory_interrupted_in_a_rename_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    out, replace = tmp_path / "out", Path.replace
    atomic_directory(out, writer("old"), None)

    def interrupted(self: Path, to: Path) -> Path:
        replace(self, to)
        if Path(to).name == target and self.name != "old":
            raise KeyboardInterrupt
        return Path(to)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        atomic_directory(out, writer("new"), NAMES)
    assert tree(tmp_path) == {f"out/{name}": "old" if target == "old" else "new" for name in NAMES}


def test_atomic_directory_accepts_a_path_through_the_folder_itself(tmp_path: Path) -> None:
    out = tmp_path / "out"
    atomic_directory(out, writer("old"), None)
    atomic_directory(out / ".." / "out", writer("new"), NAMES)
    atomic_directory(out / "x" / "..", writer("newer"), NAMES)
    assert tree(tmp_path) == {f"out/{name}": "newer" for name in NAMES}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_atomic_directory_works_on_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".part-0.out" / "new").mkdir(parents=True)

    def refuse(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    atomic_directory(tmp_path / "out", writer("new"), None)
    assert tree(tmp_path / "out") == dict.fromkeys(NAMES, "new")
    assert (tmp_path / ".part-0.out").is_dir(), "without locks, it may still be in use"


def test_atomic_directory_keeps_the_temporary_folder_of_a_running_process(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with start_writer(out) as busy:
        atomic_directory(out, writer("new"), None)
        assert [path.read_text() for path in tmp_path.glob(".part-*.out/new/a.txt")] == ["half"]
        busy.kill()
    assert tree(out) == dict.fromkeys(NAMES, "new")


def test_old_folder_is_restored_after_its_replacement_was_killed(tmp_path: Path) -> None:
    out, left = tmp_path / "out", tmp_path / ".part-0.out"
    atomic_directory(out, writer("old"), None)
    (left / "new").mkdir(parents=True)
    out.replace(left / "old")  # killed between the two renames
    with pytest.raises(ValueError, match=r"out is not empty"):
        atomic_directory(out, writer("new"), None)
    assert tree(out) == dict.fromkeys(NAMES, "old")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
