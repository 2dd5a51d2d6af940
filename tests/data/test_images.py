"""Finding and reading images."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image
from support.odd_images import turned

from seamseg.data.images import Orientation, decode, find_images, has_twelve_bits, read_image
from seamseg.errors import BrokenImageError

PIXELS = np.random.default_rng(0).integers(0, 256, size=(24, 31, 3), dtype=np.uint8)


def encoded(suffix: str) -> bytes:
    return cv2.imencode(suffix, np.ascontiguousarray(PIXELS[..., ::-1]))[1].tobytes()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm"])
def test_read_image_of_lossless_formats_returns_rgb_pixels(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"image{suffix}"
    file.write_bytes(encoded(suffix))
    assert np.array_equal(read_image(file), PIXELS)


def test_read_image_converts_gray_transparent_and_16_bit_images_to_rgb_bytes(tmp_path: Path) -> None:
    alpha = np.full(PIXELS.shape[:2], 7, np.uint8)
    for name, stored, expected in (
        ("gray", PIXELS[..., 0], np.repeat(PIXELS[..., :1], 3, axis=2)),
        ("transparent", np.dstack([PIXELS[..., ::-1], alpha]), PIXELS),
        ("sixteen", PIXELS[..., ::-1].astype(np.uint16) * 256, PIXELS),
    ):
        file = tmp_path / f"{name}.png"
        assert cv2.imwrite(str(file), stored)
        assert np.array_equal(read_image(file), expected), name


def test_read_image_ignores_the_exif_orientation_by_default(tmp_path: Path) -> None:
    tiff = b"II*\x00\x08\x00\x00\x00" + struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0)  # "turn by 90 degrees"
    exif = b"Exif\x00\x00" + tiff
    jpeg = encoded(".jpg")
    file = tmp_path / "turned.jpg"
    file.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    assert cv2.imread(str(file)).shape == (31, 24, 3), "OpenCV by itself must apply the orientation"
    assert read_image(file).shape == (24, 31, 3)


def test_read_image_turns_jpeg_files_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow warns about images of 90 million pixels, and refuses those of 179 million."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    (tmp_path / "a.jpg").write_bytes(turned(6))
    assert read_image(tmp_path / "a.jpg", "upright").shape == (56, 40, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif"])
@pytest.mark.parametrize("fraction", [0.02, 0.5, 0.95])
def test_read_image_of_truncated_file_raises_error_naming_the_file(
    tmp_path: Path, suffix: str, fraction: float, capfd: pytest.CaptureFixture[str]
) -> None:
    data = encoded(suffix)
    file = tmp_path / f"cut{suffix}"
    file.write_bytes(data[: int(len(data) * fraction)])
    with pytest.raises(BrokenImageError, match=rf"{file} (cannot be decoded|is damaged)"):
        read_image(file)
    assert "[ERROR" not in capfd.readouterr().err


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("orientation", ["stored", "upright"])
def test_read_image_of_jpeg_damaged_in_the_middle_raises_error_naming_the_file(
    tmp_path: Path, progressive: int, orientation: Orientation, capfd: pytest.CaptureFixture[str]
) -> None:
    data = cv2.imencode(".jpg", np.tile(PIXELS, (4, 4, 1)), [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])[1].tobytes()
    file = tmp_path / "damaged.jpg"
    file.write_bytes(data[: len(data) // 2] + data[len(data) // 2 + 300 :])
    with pytest.raises(BrokenImageError, match=r"damaged\.jpg is damaged: ."):
        read_image(file, orientation)
    assert capfd.readouterr().err == ""


def test_jpeg_with_few_stray_bytes_is_read_and_with_many_rejected(tmp_path: Path) -> None:
    sound, file = encoded(".jpg"), tmp_path / "a.jpg"
    for stray, is_read in ((b"\x00\x17", True), (b"\x00\x17" * 20, False)):
        file.write_bytes(sound[:-2] + stray + sound[-2:])
        if is_read:
            np.testing.assert_array_equal(read_image(file), cv2.imdecode(np.frombuffer(sound, np.uint8), 1)[..., ::-1])
        else:
            with pytest.raises(BrokenImageError, match=r"a\.jpg is damaged: .*extraneous bytes"):
                read_image(file)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "YCbCr"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}])
@pytest.mark.parametrize("orientation", [1, 6])
def test_decoded_jpeg_equals_opencv(tmp_path: Path, mode: str, options: dict[str, Any], orientation: int) -> None:
    exif, file = Image.Exif(), tmp_path / "a.jpg"
    exif[ExifTags.Base.Orientation] = orientation
    noise = np.random.default_rng(0).integers(0, 256, (45, 70, 3), np.uint8)
    Image.fromarray(noise).convert(mode).save(file, exif=exif, **options)
    data = np.frombuffer(file.read_bytes(), np.uint8)
    for flags in (
        cv2.IMREAD_COLOR,
        cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,
        cv2.IMREAD_UNCHANGED,
        cv2.IMREAD_REDUCED_COLOR_4 | cv2.IMREAD_IGNORE_ORIENTATION,
        cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_IGNORE_ORIENTATION,
    ):
        np.testing.assert_array_equal(decode(file, file.read_bytes(), flags), cv2.imdecode(data, flags))


@pytest.mark.parametrize(("top", "suffix", "expected"), [
    (4095, ".png", True), (4095, ".tif", True), (1023, ".png", True), (4096, ".png", False), (0, ".png", False),
])  # fmt: skip
def test_has_twelve_bits_recognizes_unscaled_16_bit_files(
    tmp_path: Path, top: int, suffix: str, expected: bool
) -> None:
    file = tmp_path / f"a{suffix}"
    assert cv2.imwrite(str(file), np.linspace(0, top, 600).reshape(20, 30).astype(np.uint16))
    assert has_twelve_bits(file, read_image(file)) is expected
    assert cv2.imwrite(str(file), np.full((20, 30), 9, np.uint8))
    assert not has_twelve_bits(file, read_image(file))


@pytest.mark.parametrize(
    ("content", "fact"), [(b"", "is an empty file"), (b"hello", "not an image"), (None, "No such file")]
)
def test_read_image_of_non_image_raises_error_naming_the_file(tmp_path: Path, content: bytes | None, fact: str) -> None:
    file = tmp_path / "photo.jpg"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BrokenImageError, match=fact) as caught:
        read_image(file)
    assert caught.value.path == file
    assert str(caught.value).startswith(str(file))


def test_broken_image_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(BrokenImageError(Path("a/b.jpg"), "is an empty file")))
    assert (type(error), str(error), error.path) == (BrokenImageError, "a/b.jpg is an empty file", Path("a/b.jpg"))


def test_find_images_searches_a_folder_recursively_in_sorted_order(tmp_path: Path) -> None:
    for name in ("b.JPG", "a/z.png", "a/b/c.webp", "a/notes.txt", ".hidden.jpg", "c.tiff"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    found = [str(file.relative_to(tmp_path)) for file in find_images(tmp_path).paths]
    assert found == ["a/b/c.webp", "a/z.png", "b.JPG", "c.tiff"]


def test_find_images_resolves_list_entries_relative_to_the_list(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("b.jpg\n\n  sub/a.png \n/absolute/c.jpg\n")
    assert find_images(tmp_path / "list.txt").paths == [
        tmp_path / "b.jpg",
        tmp_path / "sub/a.png",
        Path("/absolute/c.jpg"),
    ]


def test_find_images_accepts_a_single_file_with_any_suffix(tmp_path: Path) -> None:
    (tmp_path / "odd.jpeg2").touch()
    assert find_images(tmp_path / "odd.jpeg2").paths == [tmp_path / "odd.jpeg2"]


def test_find_images_without_images_raises_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        find_images(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="contains no images"):
        find_images(tmp_path)
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"list\.txt contains no images"):
        find_images(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="UTF-8"):
        find_images(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        (".jfif", "JPEG"), (".jpe", "JPEG"), (".mpo", "MPO"), (".avif", "AVIF"), (".jp2", "JPEG2000"), (".gif", "GIF"),
        (".pnm", "PPM"), (".apng", "PNG"), (".JFIF", "JPEG"),
    ],
)  # fmt: skip
def test_less_common_image_formats_are_found_and_read(tmp_path: Path, suffix: str, kind: str) -> None:
    flat = np.full((24, 32, 3), (200, 40, 90), np.uint8)
    file = tmp_path / f"a{suffix}"
    Image.fromarray(flat).save(file, kind)
    assert find_images(tmp_path).paths == [file]
    assert np.abs(read_image(file).astype(int) - flat).max() < 6


def test_unsupported_formats_are_named_instead_of_called_damaged(tmp_path: Path) -> None:
    for name, fact in (("a.heic", r"\.heic"), ("b.WMV", "video")):
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic")
        with pytest.raises(BrokenImageError, match=fact) as caught:
            read_image(tmp_path / name)
        assert "damaged" not in caught.value.reason


def test_find_images_error_lists_the_other_files_of_the_folder(tmp_path: Path) -> None:
    for name in ("a.heic", "b.mp4", ".DS_Store"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ValueError, match="contains no images") as caught:
        find_images(tmp_path)
    for name in ("a.heic", "b.mp4", ".DS_Store"):
        assert name in str(caught.value)


def test_find_images_expands_home_and_backslashes_in_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.png").touch()
    (tmp_path / "odd\\b.png").touch()
    (tmp_path / "list.txt").write_text("~/c.png\nsub\\a.png\nodd\\b.png\n")
    assert find_images(tmp_path / "list.txt").paths == [
        tmp_path / "home/c.png",
        tmp_path / "sub/a.png",
        tmp_path / "odd\\b.png",
    ]
