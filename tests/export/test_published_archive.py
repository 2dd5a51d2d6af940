"""Published archives as they come, as they are damaged, and as an attacker makes them."""

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
def test_an_archive(tmp_path: Path, files: dict[str, bytes], compression: int) -> None:
    assert contents(write_zip(tmp_path / "model.zip", files, compression)) == tuple(FILES.values())


@pytest.mark.parametrize("suffix", [".tar", ".pth", ".PT"])
def test_kinds_of_snapshots(tmp_path: Path, suffix: str) -> None:
    names = ("config.ini", "metadata.bin", f"weights{suffix}")
    path = write_zip(tmp_path / "model.zip", dict(zip(names, FILES.values(), strict=True)))
    assert contents(path) == tuple(FILES.values())


def test_litter_of_file_managers_is_passed_over(tmp_path: Path) -> None:
    litter = {"__MACOSX/config.ini": b"", "__MACOSX/._best.pth.tar": b"", ".DS_Store": b"", "a/._config.ini": b""}
    assert contents(write_zip(tmp_path / "model.zip", FILES | litter)) == tuple(FILES.values())


@pytest.mark.parametrize("folder", ["", "seamseg_r50_vistas"])
def test_a_folder(tmp_path: Path, folder: str) -> None:
    (tmp_path / "unpacked" / folder).mkdir(parents=True)
    for name, content in FILES.items():
        (tmp_path / "unpacked" / folder / name).write_bytes(content)
    assert holds_published(tmp_path / "unpacked")
    assert contents(tmp_path / "unpacked") == tuple(FILES.values())
    (tmp_path / "unpacked" / folder / "metadata.bin").unlink()
    assert "lacks its metadata.bin" in refused(tmp_path / "unpacked")


def test_what_was_unpacked_is_gone_behind_the_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "model.zip", {key: content for key, content in FILES.items() if key != name})
    sentence = refused(path)
    assert ("its snapshot (.tar" if name.endswith("tar") else f"its {name}") in sentence
    assert "it holds " in sentence


def test_an_empty_archive(tmp_path: Path) -> None:
    assert refused(write_zip(tmp_path / "model.zip", {})).endswith("it is empty")


def test_an_archive_of_another_kind_with_many_files(tmp_path: Path) -> None:
    sentence = refused(write_zip(tmp_path / "photos.zip", {f"{number}.jpg": b"" for number in range(1000)}))
    assert sentence.endswith("and 995 more")


def test_an_archive_in_an_archive(tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "inner.zip", FILES).read_bytes()
    sentence = refused(write_zip(tmp_path / "model.zip", {"download/seamseg.zip": inner}))
    assert sentence.endswith("it holds another archive, download/seamseg.zip: unpack it once and give that")


@pytest.mark.parametrize("name", ["config.ini", "metadata.bin", "last.pth.tar"])
def test_several_candidates(tmp_path: Path, name: str) -> None:
    sentence = refused(write_zip(tmp_path / "model.zip", {**FILES, f"other/{name}": b"x"}))
    assert f"other/{name}" in sentence
    assert "several files" in sentence


def test_two_files_of_one_name(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "model.zip", {**FILES, "config.inj": b""}).read_bytes()
    (tmp_path / "model.zip").write_bytes(whole.replace(b"config.inj", b"config.ini"))
    assert "several files" in refused(tmp_path / "model.zip")


@pytest.mark.parametrize(
    "name", ["../config.ini", "a/../../best.pth.tar", "/etc/config.ini", "..\\evil.pth", "../note"]
)
def test_names_that_lead_out(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "in" / "model.zip" if (tmp_path / "in").mkdir() else tmp_path / "in/model.zip", {})
    write_zip(path, {**FILES, name: b"owned"})
    assert "outside itself" in refused(path)
    assert list(tmp_path.iterdir()) == [tmp_path / "in"]
    assert list((tmp_path / "in").iterdir()) == [path]


def packed(compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_an_archive_that_is_cut_off_anywhere(tmp_path: Path) -> None:
    whole, path = packed(), tmp_path / "model.zip"
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        assert "cannot be read" in refused(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_flipped_bytes_are_found_or_change_nothing(tmp_path: Path, compression: int) -> None:
    whole, path = packed(compression), tmp_path / "model.zip"
    found = []
    for place in range(0, len(whole), max(len(whole) // 90, 1)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        with contextlib.suppress(ValueError):
            found.append(contents(path))
    assert set(found) <= {tuple(FILES.values())}


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04"])
def test_a_file_of_something_else(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.zip").write_bytes(content)
    assert "no zip" in refused(tmp_path / "model.zip")


def test_a_missing_archive(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        contents(tmp_path / "none.zip")


def test_a_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    """Zeros shrink a thousandfold; two files are larger than any settings or classes are."""
    for name, limit in (("config.ini", LIMITS["config"]), ("metadata.bin", LIMITS["metadata"])):
        path = write_zip(tmp_path / "bomb.zip", {**FILES, name: bytes(limit + 1)})
        assert path.stat().st_size < limit / 100
        tracemalloc.start()
        assert f"{name} in" in refused(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()


def test_a_size_that_is_stated_too_small_ends_the_reading(tmp_path: Path) -> None:
    """The directory says 10 bytes for a file of 10240: no more than those are unpacked, and their sum is wrong."""
    whole, size = packed(), len(FILES["best.pth.tar"]).to_bytes(4, "little")
    (tmp_path / "model.zip").write_bytes(whole.replace(size, (10).to_bytes(4, "little")))
    assert "cannot be read" in refused(tmp_path / "model.zip")


def test_a_large_snapshot_is_unpacked_in_little_memory(tmp_path: Path) -> None:
    size = 100 << 20
    path = write_zip(tmp_path / "model.zip", {**FILES, "best.pth.tar": bytes(size)})
    tracemalloc.start()
    with open_published(path) as files:
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
        assert files.snapshot.stat().st_size == size
    tracemalloc.stop()


def test_a_disk_without_room_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10, 0, 10))
    sentence = refused(write_zip(tmp_path / "model.zip", FILES))
    assert "TMPDIR" in sentence


def test_a_disk_that_fills_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        contents(write_zip(tmp_path / "model.zip", FILES))


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_without_bound_are_refused(tmp_path: Path, compression: int) -> None:
    with zipfile.ZipFile(tmp_path / "model.zip", "w", compression) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    assert "compressed in an unusual way" in refused(tmp_path / "model.zip")


def test_an_encrypted_archive(tmp_path: Path) -> None:
    whole = bytearray(packed(zipfile.ZIP_STORED))
    place = whole.index(b"PK\x01\x02")
    while place >= 0:  # the flag in every entry of the directory
        whole[place + 8] |= 1
        place = whole.find(b"PK\x01\x02", place + 1)
    (tmp_path / "model.zip").write_bytes(whole)
    assert "is encrypted" in refused(tmp_path / "model.zip")


def test_a_link_in_an_archive_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        link = zipfile.ZipInfo("config.ini")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(tmp_path / "secret"))
        for name in ("metadata.bin", "best.pth.tar"):
            archive.writestr(name, FILES[name])
    assert contents(tmp_path / "model.zip")[0] == str(tmp_path / "secret").encode()
