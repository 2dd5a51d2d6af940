"""Finding and reading photographs."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from seamseg.data.images import BrokenImageError, find_images, read_image

PIXELS = np.random.default_rng(0).integers(0, 256, size=(24, 31, 3), dtype=np.uint8)


def encoded(suffix: str) -> bytes:
    return cv2.imencode(suffix, np.ascontiguousarray(PIXELS[..., ::-1]))[1].tobytes()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm"])
def test_lossless_formats_give_the_pixels_red_first(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"image{suffix}"
    file.write_bytes(encoded(suffix))
    assert np.array_equal(read_image(file), PIXELS)


def test_grey_transparent_and_sixteen_bit_images_become_rgb_bytes(tmp_path: Path) -> None:
    alpha = np.full(PIXELS.shape[:2], 7, np.uint8)
    for name, stored, expected in (
        ("grey", PIXELS[..., 0], np.repeat(PIXELS[..., :1], 3, axis=2)),
        ("transparent", np.dstack([PIXELS[..., ::-1], alpha]), PIXELS),
        ("sixteen", PIXELS[..., ::-1].astype(np.uint16) * 256, PIXELS),
    ):
        file = tmp_path / f"{name}.png"
        assert cv2.imwrite(str(file), stored)
        assert np.array_equal(read_image(file), expected), name


def test_the_orientation_of_a_camera_is_not_applied(tmp_path: Path) -> None:
    tiff = b"II*\x00\x08\x00\x00\x00" + struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0)  # "turn by 90 degrees"
    exif = b"Exif\x00\x00" + tiff
    jpeg = encoded(".jpg")
    file = tmp_path / "turned.jpg"
    file.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    assert cv2.imread(str(file)).shape == (31, 24, 3), "the tag must be one that OpenCV would obey"
    assert read_image(file).shape == (24, 31, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.95])
def test_truncated_files_are_errors_that_name_the_file(
    tmp_path: Path, suffix: str, kept: float, capfd: pytest.CaptureFixture[str]
) -> None:
    data = encoded(suffix)
    file = tmp_path / f"cut{suffix}"
    file.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(BrokenImageError, match=f"{file} cannot be decoded"):
        read_image(file)
    assert "[ERROR" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "is an empty file"), (b"hello", "not an image"), (None, "No such file")]
)
def test_what_is_no_image_is_an_error_that_names_the_file(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "photo.jpg"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BrokenImageError, match=said) as caught:
        read_image(file)
    assert caught.value.path == file
    assert str(caught.value).startswith(str(file))


def test_the_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(BrokenImageError(Path("a/b.jpg"), "is an empty file")))
    assert (type(error), str(error), error.path) == (BrokenImageError, "a/b.jpg is an empty file", Path("a/b.jpg"))


def test_a_folder_is_searched_recursively_in_sorted_order(tmp_path: Path) -> None:
    for name in ("b.JPG", "a/z.png", "a/b/c.webp", "a/notes.txt", ".hidden.jpg", "c.tiff"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    found = [str(file.relative_to(tmp_path)) for file in find_images(tmp_path)]
    assert found == ["a/b/c.webp", "a/z.png", "b.JPG", "c.tiff"]


def test_a_list_names_images_relative_to_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("b.jpg\n\n  sub/a.png \n/absolute/c.jpg\n")
    assert find_images(tmp_path / "list.txt") == [
        tmp_path / "b.jpg",
        tmp_path / "sub/a.png",
        Path("/absolute/c.jpg"),
    ]


def test_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "odd.jpeg2").touch()
    assert find_images(tmp_path / "odd.jpeg2") == [tmp_path / "odd.jpeg2"]


def test_nothing_to_find_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        find_images(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no images"):
        find_images(tmp_path)
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"list\.txt holds no images"):
        find_images(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="UTF-8"):
        find_images(tmp_path / "list.txt")
