"""Published archives: valid, damaged and malicious ones."""

from __future__ import annotations

import contextlib
import io
import shutil
import tracemalloc
import zipfile
from collections import namedtuple
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.published_archive import write_zip

from seamseg.export.published_archive import LIMITS, holds_published, open_published

FILES = {"config.ini": b"[general]\n", "metadata.bin": b"meta", "best.pth.tar": bytes(range(256)) * 40}


def contents(path: Path) -> tuple[bytes, ...]:
    with open_published(path) as files:
        return files.config.read_bytes(), files.metadata.read_bytes(), files.snapshot.read_bytes()


def refused(path: Path) -> str:
    with pytest.raises(ValueError, match=path.name) as caught:
        contents(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def inside(folder: str, files: Mapping[str, bytes] = FILES) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("files", [FILES, inside("seamseg_r50_vistas"), inside("a/b/c"), {**FILES, "README": b"x"}])
def test_open_published_archive_gives_its_files(tmp_path: Path, files: dict[str, bytes], compression: int) -> None:
    assert contents(write_zip(tmp_path / "model.zip", files, compression)) == tuple(FILES.values())


@pytest.mark.parametrize("suffix", [".tar", ".pth", ".PT"])
def test_open_published_every_snapshot_suffix_is_found(tmp_path: Path, suffix: str) -> None:
    names = ("config.ini", "metadata.bin", f"weights{suffix}")
    path = write_zip(tmp_path / "model.zip", dict(zip(names, FILES.values(), strict=True)))
    assert contents(path) == tuple(FILES.values())


def test_open_published_system_files_are_ignored(tmp_path: Path) -> None:
    litter = {"__MACOSX/config.ini": b"", "__MACOSX/._best.pth.tar": b"", ".DS_Store": b"", "a/._config.ini": b""}
    assert contents(write_zip(tmp_path / "model.zip", FILES | litter)) == tuple(FILES.values())


@pytest.mark.parametrize("folder", ["", "seamseg_r50_vistas"])
def test_open_published_folder_gives_its_files(tmp_path: Path, folder: str) -> None:
    (tmp_path / "unpacked" / folder).mkdir(parents=True)
    for name, content in FILES.items():
        (tmp_path / "unpacked" / folder / name).write_bytes(content)
    assert holds_published(tmp_path / "unpacked")
    assert contents(tmp_path / "unpacked") == tuple(FILES.values())
    (tmp_path / "unpacked" / folder / "metadata.bin").unlink()
    assert "has no metadata.bin" in refused(tmp_path / "unpacked")


def test_open_published_unpacked_files_are_deleted_after_the_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    path = write_zip(tmp_path / "model.zip", FILES)
    with open_published(path) as files:
        assert files.snapshot.is_relative_to(place)
    assert list(place.iterdir()) == []
    with pytest.raises(ValueError, match=r"model\.zip/config\.ini is wrong"), open_published(path) as files:
        raise ValueError(f"{files.config} is wrong")
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("name", list(FILES))
def test_open_published_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "model.zip", {key: content for key, content in FILES.items() if key != name})
    sentence = refused(path)
    assert ("has no snapshot (.tar" if name.endswith("tar") else f"has no {name}") in sentence
    assert "it contains " in sentence


def test_open_published_empty_archive_is_refused(tmp_path: Path) -> None:
    assert refused(write_zip(tmp_path / "model.zip", {})).endswith("it is empty")


def test_open_published_archive_with_many_other_files_lists_only_five(tmp_path: Path) -> None:
    sentence = refused(write_zip(tmp_path / "photos.zip", {f"{number}.jpg": b"" for number in range(1000)}))
    assert sentence.endswith("and 995 more")


def test_open_published_nested_archive_is_refused_with_advice(tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "inner.zip", FILES).read_bytes()
    sentence = refused(write_zip(tmp_path / "model.zip", {"download/seamseg.zip": inner}))
    assert sentence.endswith("it contains another archive, download/seamseg.zip; unpack it and pass the inner archive")


@pytest.mark.parametrize("name", ["config.ini", "metadata.bin", "last.pth.tar"])
def test_open_published_several_candidates_are_refused(tmp_path: Path, name: str) -> None:
    sentence = refused(write_zip(tmp_path / "model.zip", {**FILES, f"other/{name}": b"x"}))
    assert f"other/{name}" in sentence
    assert "several files" in sentence


def test_open_published_duplicate_names_are_refused(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "model.zip", {**FILES, "config.inj": b""}).read_bytes()
    (tmp_path / "model.zip").write_bytes(whole.replace(b"config.inj", b"config.ini"))
    assert "several files" in refused(tmp_path / "model.zip")


@pytest.mark.parametrize(
    "name", ["../config.ini", "a/../../best.pth.tar", "/etc/config.ini", "..\\evil.pth", "../note"]
)
def test_open_published_paths_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "in" / "model.zip" if (tmp_path / "in").mkdir() else tmp_path / "in/model.zip", {})
    write_zip(path, {**FILES, name: b"owned"})
    assert "leads outside of it" in refused(path)
    assert list(tmp_path.iterdir()) == [tmp_path / "in"]
    assert list((tmp_path / "in").iterdir()) == [path]


def packed(compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_open_published_truncated_archive_is_refused(tmp_path: Path) -> None:
    whole, path = packed(), tmp_path / "model.zip"
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        assert "cannot be read" in refused(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_open_published_flipped_bytes_are_detected_or_harmless(tmp_path: Path, compression: int) -> None:
    whole, path = packed(compression), tmp_path / "model.zip"
    found = []
    for place in range(0, len(whole), max(len(whole) // 90, 1)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        with contextlib.suppress(ValueError):
            found.append(contents(path))
    assert set(found) <= {tuple(FILES.values())}


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04"])
def test_open_published_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.zip").write_bytes(content)
    assert "not a zip" in refused(tmp_path / "model.zip")


def test_open_published_missing_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        contents(tmp_path / "none.zip")


def test_open_published_zip_bomb_is_refused_before_unpacking(tmp_path: Path) -> None:
    """The files consist of zeros, which shrink a thousandfold, and exceed the limits of settings and classes."""
    for name, limit in (("config.ini", LIMITS["config"]), ("metadata.bin", LIMITS["metadata"])):
        path = write_zip(tmp_path / "bomb.zip", {**FILES, name: bytes(limit + 1)})
        assert path.stat().st_size < limit / 100
        tracemalloc.start()
        assert f"{name} in" in refused(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()


def test_open_published_understated_size_is_refused(tmp_path: Path) -> None:
    """The directory states 10 bytes for a file of 10,240, so only 10 are unpacked and the checksum is wrong."""
    whole, size = packed(), len(FILES["best.pth.tar"]).to_bytes(4, "little")
    (tmp_path / "model.zip").write_bytes(whole.replace(size, (10).to_bytes(4, "little")))
    assert "cannot be read" in refused(tmp_path / "model.zip")


def test_open_published_large_snapshot_is_unpacked_in_little_memory(tmp_path: Path) -> None:
    size = 100 << 20
    path = write_zip(tmp_path / "model.zip", {**FILES, "best.pth.tar": bytes(size)})
    tracemalloc.start()
    with open_published(path) as files:
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
        assert files.snapshot.stat().st_size == size
    tracemalloc.stop()


def test_open_published_too_little_disk_space_is_reported_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10, 0, 10))
    sentence = refused(write_zip(tmp_path / "model.zip", FILES))
    assert "TMPDIR" in sentence


def test_open_published_full_disk_raises_the_os_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        contents(write_zip(tmp_path / "model.zip", FILES))


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_open_published_unbounded_compression_is_refused(tmp_path: Path, compression: int) -> None:
    with zipfile.ZipFile(tmp_path / "model.zip", "w", compression) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    assert "unsupported compression" in refused(tmp_path / "model.zip")


def test_open_published_encrypted_archive_is_refused(tmp_path: Path) -> None:
    whole = bytearray(packed(zipfile.ZIP_STORED))
    place = whole.index(b"PK\x01\x02")
    while place >= 0:  # set the flag in each directory entry
        whole[place + 8] |= 1
        place = whole.find(b"PK\x01\x02", place + 1)
    (tmp_path / "model.zip").write_bytes(whole)
    assert "is encrypted" in refused(tmp_path / "model.zip")


def test_open_published_symlink_in_an_archive_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        link = zipfile.ZipInfo("config.ini")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(tmp_path / "secret"))
        for name in ("metadata.bin", "best.pth.tar"):
            archive.writestr(name, FILES[name])
    assert contents(tmp_path / "model.zip")[0] == str(tmp_path / "secret").encode()
