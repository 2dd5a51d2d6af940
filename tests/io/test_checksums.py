"""Checksums that detect changed files."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from seamseg.io.checksums import SUMS_FILE, check_sums, sha256, sums_of

NAMES = ("a.bin", "b b.txt")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.bin").write_bytes(bytes(range(256)) * 10_000)
    (tmp_path / "b b.txt").write_text("two")
    (tmp_path / SUMS_FILE).write_text(sums_of(tmp_path, NAMES))
    return tmp_path


def rejection(folder: Path) -> str:
    with pytest.raises(ValueError, match=str(folder)) as caught:
        check_sums(folder, NAMES)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_sha256_equals_hashlib_for_whole_files_and_first_bytes(folder: Path) -> None:
    content = (folder / "a.bin").read_bytes()
    assert sha256(folder / "a.bin") == hashlib.sha256(content).digest()
    assert sha256(folder / "a.bin", 1_500_000) == hashlib.sha256(content[:1_500_000]).digest()
    assert sha256(folder / "a.bin", 0) == hashlib.sha256().digest()


def test_check_sums_accepts_unchanged_files(folder: Path) -> None:
    check_sums(folder, NAMES)
    check_sums(folder, NAMES[:1])


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum of the coreutils")
def test_sums_file_is_compatible_with_sha256sum(folder: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", SUMS_FILE], cwd=folder, check=True, capture_output=True)
    for mode in ("--text", "--binary"):
        written = subprocess.run(["sha256sum", mode, *NAMES], cwd=folder, check=True, capture_output=True, text=True)
        (folder / SUMS_FILE).write_text(written.stdout)
        check_sums(folder, NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_check_sums_names_a_changed_file(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    assert f"{folder / name} has been changed" in rejection(folder)


def test_check_sums_names_a_missing_file(folder: Path) -> None:
    (folder / "a.bin").unlink()
    assert f"{folder / 'a.bin'} cannot be read: No such file" in rejection(folder)


def test_check_sums_names_a_file_that_is_not_listed(folder: Path) -> None:
    (folder / SUMS_FILE).write_text(sums_of(folder, NAMES[:1]))
    assert "has no checksum of b b.txt" in rejection(folder)


@pytest.mark.parametrize("content", [b"hello\n", b"\xff\xfe", b"abc  a.bin\n", b"0" * 64 + b"a.bin\n"])
def test_check_sums_rejects_a_file_that_is_not_a_checksum_list(folder: Path, content: bytes) -> None:
    (folder / SUMS_FILE).write_bytes(content)
    rejection(folder)
