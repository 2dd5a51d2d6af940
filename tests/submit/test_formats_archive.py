"""Zip archives with reproducible bytes."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path

import pytest

from seamseg.submit.formats import Archive, Member


def write(path: Path) -> bytes:
    with Archive(path) as archive:
        archive.add(Member("a/b.png", b"pixels" * 100))
        archive.add(Member("c.txt", b"line\n" * 100))
        archive.add_text("d.json", ("[", "1" * 1000, "]"))
    return path.read_bytes()


def test_archive_when_read_back_gives_members_and_compression(tmp_path: Path) -> None:
    write(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as file:
        assert file.testzip() is None
        assert file.namelist() == ["a/b.png", "c.txt", "d.json"]
        assert file.read("a/b.png") == b"pixels" * 100
        assert file.read("d.json") == b"[" + b"1" * 1000 + b"]"
        kinds = [info.compress_type for info in file.infolist()]
        assert kinds == [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED]
        assert {info.external_attr >> 16 for info in file.infolist()} == {0o100644}


def test_archive_bytes_do_not_depend_on_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write(tmp_path / "a.zip")
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert write(tmp_path / "b.zip") == first
