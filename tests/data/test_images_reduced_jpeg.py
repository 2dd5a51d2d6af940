"""JPEG images decoded at reduced size."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_dataset import write_tiny_panoptic

from seamseg.data.dataset import SampleKey, TrainDataset, sample_generator
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.data.images import read_image, read_reduced_jpeg, reduced_size, reduction
from seamseg.data.resizing import resize_image
from seamseg.data.transforms import TrainTransform, make_plan
from seamseg.errors import BrokenImageError

sides = st.integers(1, 5000)


def scene(height: int, width: int) -> np.ndarray:
    """Draw gradients, edges and fine noise in RGB."""
    y, x = np.mgrid[:height, :width]
    slopes = np.stack([255 * y / height, 255 * x / width, 127 + 60 * np.sin(y / 9) * np.cos(x / 7)], axis=-1)
    slopes[height // 3 : height // 2, width // 4 : width // 2] = (220, 30, 60)
    grain = np.random.default_rng(0).normal(0, 6, size=slopes.shape)
    return np.clip(slopes + grain, 0, 255).astype(np.uint8)


def jpeg(pixels: np.ndarray, *flags: int) -> bytes:
    return cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 92, *flags])[
        1
    ].tobytes()


def write_bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("size", "target", "factor"),
    [
        ((1024, 2048), (1024, 2048), 1),
        ((1024, 2048), (513, 1026), 1),
        ((1024, 2048), (512, 1024), 1),
        ((1024, 2048), (410, 820), 1),
        ((1024, 2048), (409, 819), 2),
        ((3000, 4000), (1024, 1365), 2),
        ((3000, 4000), (600, 800), 4),
        ((3000, 4000), (100, 133), 8),
        ((640, 480), (256, 192), 2),
        ((640, 480), (257, 192), 1),  # one side too large is enough
        ((480, 640), (800, 1066), 1),
    ],
)
def test_reduction_matches_factors_computed_by_hand(
    size: tuple[int, int], target: tuple[int, int], factor: int
) -> None:
    assert reduction(size, target) == factor


@given(sides, sides, sides, sides)
def test_reduced_image_is_never_smaller_than_its_target(
    height: int, width: int, new_height: int, new_width: int
) -> None:
    factor = reduction((height, width), (new_height, new_width))
    reduced = reduced_size((height, width), factor)
    assert factor in (1, 2, 4, 8)
    if factor > 1:
        assert reduced[0] >= new_height
        assert reduced[1] >= new_width


@pytest.mark.parametrize("size", [(400, 560), (401, 563), (397, 555)])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_reduced_image_is_close_to_the_resized_whole_image(tmp_path: Path, size: tuple[int, int], factor: int) -> None:
    path = write_bytes(tmp_path / "a.jpg", jpeg(scene(*size)))
    reduced = read_reduced_jpeg(path, size, factor)
    assert reduced is not None
    assert reduced.shape == (*reduced_size(size, factor), 3)
    plan = make_plan(size, (int(size[0] / factor * 0.75), int(size[1] / factor * 0.75)), None, (0.0, 0.0), False)
    assert plan.decode_scale == factor
    difference = (plan.apply_image(reduced, factor).short() - plan.apply_image(read_image(path)).short()).abs().float()
    assert difference.mean() < 3


def test_reduced_real_images_are_close_to_resized_whole_images(shared: Path) -> None:
    files = sorted((shared / "data/coco128_panoptic/images/train2017").glob("*.jpg"))[:20]
    means = []
    for path in files:
        whole = read_image(path)
        size = whole.shape[0], whole.shape[1]
        plan = make_plan(size, (int(size[0] * 0.38), int(size[1] * 0.38)), None, (0.0, 0.0), False)
        reduced = read_reduced_jpeg(path, size, plan.decode_scale)
        assert reduced is not None
        means.append(
            float((plan.apply_image(reduced, 2).short() - plan.apply_image(whole).short()).abs().float().mean())
        )
    assert max(means) < 6  # an image full of stripes
    assert np.mean(means) < 2.5


def test_reduced_progressive_gray_and_cmyk_jpegs_match_the_whole_image(tmp_path: Path) -> None:
    """All kinds are decoded as at full size, only smaller."""
    image = pytest.importorskip("PIL.Image")
    pixels = scene(160, 200)
    files = {"progressive": jpeg(pixels, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)}
    for kind in ("L", "CMYK"):
        buffer = io.BytesIO()
        image.fromarray(pixels).convert(kind).save(buffer, "jpeg", quality=92)
        files[kind] = buffer.getvalue()
    for name, data in files.items():
        path = write_bytes(tmp_path / f"{name}.jpg", data)
        reduced = read_reduced_jpeg(path, (160, 200), 4)
        assert reduced is not None, name
        whole = resize_image(read_image(path), (40, 50)).permute(1, 2, 0).numpy()
        assert np.abs(reduced.astype(int) - whole).mean() < 5, name


def test_reduced_image_ignores_the_exif_orientation(tmp_path: Path) -> None:
    tiff = b"II*\x00\x08\x00\x00\x00" + struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0)  # "turn by 90 degrees"
    exif = b"Exif\x00\x00" + tiff
    data = jpeg(scene(64, 96))
    path = write_bytes(tmp_path / "a.jpg", data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    assert cv2.imread(str(path)).shape == (96, 64, 3), "OpenCV by itself must apply the orientation"
    reduced = read_reduced_jpeg(path, (64, 96), 2)
    assert reduced is not None
    assert reduced.shape == (32, 48, 3)


def test_read_reduced_jpeg_returns_none_for_other_formats_and_sizes(tmp_path: Path) -> None:
    pixels = scene(64, 96)
    assert cv2.imwrite(str(tmp_path / "a.png"), pixels)
    path = write_bytes(tmp_path / "named.jpg", (tmp_path / "a.png").read_bytes())
    assert read_reduced_jpeg(path, (64, 96), 2) is None
    path = write_bytes(tmp_path / "a.jpg", jpeg(pixels))
    for stated in ((63, 96), (64, 95), (96, 64)):  # the first two have the same reduced size
        assert read_reduced_jpeg(path, stated, 2) is None


def test_read_reduced_jpeg_of_truncated_or_missing_file_raises_error_naming_the_file(tmp_path: Path) -> None:
    data = jpeg(scene(64, 96))
    for length in (len(data) // 2, len(data) - 50):
        path = write_bytes(tmp_path / "a.jpg", data[:length])
        with pytest.raises(BrokenImageError, match=rf"{path} is damaged: Premature end"):
            read_reduced_jpeg(path, (64, 96), 2)
    with pytest.raises(BrokenImageError, match="No such file"):
        read_reduced_jpeg(tmp_path / "b.jpg", (64, 96), 2)


def test_training_samples_of_reduced_jpegs_are_close_to_those_of_whole_images(tmp_path: Path) -> None:
    tiny = write_tiny_panoptic(tmp_path, num_images=4, image_suffix=".jpg")
    source = CocoPanoptic(tiny.folder, tiny.split)
    shortest = min(min(size) for size in source.sizes) // 3
    transform = TrainTransform(shortest, 10**6, (0.8, 1.0), True, random_crop=(shortest, shortest))
    for index in range(4):
        key = SampleKey(0, index)
        plan = transform.sample_plan(source.sizes[index], sample_generator(5, key))
        assert plan.decode_scale == 2
        expected = plan.apply_image(source.read_image(index))
        sample = TrainDataset(source, transform, seed=5)[key]
        assert sample.image.shape == expected.shape
        assert sample.original_size == source.sizes[index]
        assert float((sample.image.short() - expected.short()).abs().float().mean()) < 6  # noise: the worst case


def test_wrong_size_in_json_of_reduced_jpeg_raises_size_error(tmp_path: Path) -> None:
    tiny = write_tiny_panoptic(tmp_path, image_suffix=".jpg")
    tiny.edit_json(lambda json: [entry.update(height=entry["height"] + 1) for entry in json["images"]])
    source = CocoPanoptic(tiny.folder, tiny.split)
    with pytest.raises(ValueError, match=r"\(height×width\), but .* says"):
        TrainDataset(source, TrainTransform(10, 100, None, False), seed=0)[SampleKey(0, 0)]
