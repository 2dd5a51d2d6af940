"""JSON files of labelme, drawn by hand."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.tool_exports import box, converted, drawn, write_image, write_json

from seamseg.convert.drawn import DrawnExport, ImageFinder
from seamseg.convert.labelme import read_labelme
from seamseg.data.images import read_image
from seamseg.errors import DataError

HEIGHT, WIDTH = 6, 8


def shape(label: str, kind: str | None, *points: Any, group: int | None = None, **more: Any) -> dict[str, Any]:
    entry = {"label": label, "points": [list(point) for point in points], "group_id": group, "flags": {}}
    return entry | ({} if kind is None else {"shape_type": kind}) | more


CAR = shape("car", "rectangle", (0, 0), (2, 2))


def png(pixels: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode()


def write(folder: Path, *shapes: Any, name: str = "a", **more: Any) -> Path:
    content = {
        "version": "5.5.0",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": f"{name.rsplit('/', 1)[-1]}.png",
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }
    return write_json(folder / f"{name}.json", content | more)


def read(folder: Path) -> DrawnExport:
    return read_labelme(folder, ImageFinder(folder), folder.parent / "unpacked")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_image(tmp_path / "in/a.png", (HEIGHT, WIDTH))
    return tmp_path / "in"


def test_shapes_become_segments_in_drawing_order(source: Path, tmp_path: Path) -> None:
    mask = np.array([[1, 1, 1], [1, 0, 1]], np.uint8) * 255
    write(
        source,
        shape("sky", None, *box(0, 0, 3, 8)),
        shape("road", "polygon", *box(3, 0, 6, 8)),
        shape("car", "rectangle", (5, 5), (2, 2)),
        shape("person", "mask", (1, 1), (3, 2), mask=png(mask)),
        shape("car", "oriented_rectangle", *box(0, 6, 1, 8)),
    )
    data, _ = converted(read(source), tmp_path)
    assert drawn(data) == ["sssssscc", "spppssss", "spCpCsss", "rrCCCrrr", "rrCCCrrr", "rrrrrrrr"]


def test_mask_beyond_the_image_is_cut(source: Path, tmp_path: Path) -> None:
    mask = np.full((4, 5), 255, np.uint8)
    write(
        source,
        shape("car", "mask", (-2, -2), (2, 1), mask=png(mask)),
        shape("person", "mask", (6.4, 4.6), (10, 8), mask=png(mask)),
        shape("sky", "mask", (20, 20), (24, 23), mask=png(mask)),
    )
    data, summary = converted(read(source), tmp_path)
    assert drawn(data) == ["ccc.....", "ccc.....", "........", "........", "........", "......pp"]
    assert summary.num_replaced == 1


def test_circle_is_around_its_first_point(source: Path, tmp_path: Path) -> None:
    write(source, shape("car", "circle", (4, 3), (4, 1)))
    data, _ = converted(read(source), tmp_path)
    assert drawn(data) == ["........", "...cc...", "..cccc..", "..cccc..", "...cc...", "........"]


def test_shapes_of_a_group_are_one_object(source: Path, tmp_path: Path) -> None:
    shapes = [
        shape("car", "rectangle", (x, 0), (x + 1, 1), group=group) for x, group in ((0, 1), (2, 1), (4, 2), (6, None))
    ]
    write(source, *shapes, shape("person", "rectangle", (0, 3), (1, 4), group=1))
    data, _ = converted(read(source), tmp_path)
    assert drawn(data)[0] == "c.c.C.C."
    assert len(data.read_annotation(0).classes) == 1 + 4


def test_shapes_without_an_area_are_counted_by_type(source: Path) -> None:
    lines = [shape("car", kind, (0, 0), (1, 1)) for kind in ("line", "linestrip", "point", "points", "line")]
    write(source, *lines, shape("car", "spline 'x'", (0, 0)), CAR)
    export = read(source)
    assert export.left_out["shape(s) of type 'line'"] == 2
    assert sum(export.left_out.values()) == 6
    assert len(export.images[0].shapes) == 1


def test_embedded_image_is_unpacked_if_the_file_is_missing(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    jpeg = base64.b64encode(cv2.imencode(".jpg", pixels)[1].tobytes()).decode()
    write(tmp_path / "in", CAR, name="sub/ä 1", imageData=png(pixels))
    write(tmp_path / "in", CAR, name="b", imageData=jpeg, imageHeight=None)
    data, summary = converted(read(tmp_path / "in"), tmp_path, placement="copy")
    assert sorted(record.image_file for record in data.records) == ["b.jpg", "sub/ä 1.png"]
    path = tmp_path / "out/images/train/sub/ä 1.png"
    assert not path.is_symlink()
    assert np.array_equal(read_image(path), pixels[..., ::-1])
    assert summary.num_items == 2
    assert (tmp_path / "unpacked/b.jpg").is_file()


def test_file_next_to_the_json_file_is_linked_although_the_image_is_embedded(source: Path) -> None:
    write(source, CAR, imageData=png(np.zeros((HEIGHT, WIDTH, 3), np.uint8)))
    (image,) = read(source).images
    assert (image.image_path, image.unpack) == (source / "a.png", None)


@pytest.mark.parametrize("stated", ["..\\pictures\\sub\\a.png", "../../pictures/sub/a.png", "sub/a.png"])
def test_image_in_another_folder_is_found(tmp_path: Path, stated: str) -> None:
    write_image(tmp_path / "pictures/sub/a.png", (HEIGHT, WIDTH))
    write(tmp_path / "in", CAR, imagePath=stated)
    export = read_labelme(tmp_path / "in", ImageFinder(tmp_path / "pictures"), tmp_path / "unpacked")
    assert [image.name for image in export.images] == ["sub/a.png"]


def test_images_of_subfolders_with_one_name_stay_apart(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        write_image(tmp_path / f"in/{folder}/a.png", (HEIGHT, WIDTH))
        write(tmp_path / "in", CAR, name=f"{folder}/a")
    assert [image.name for image in read(tmp_path / "in").images] == ["x/a.png", "y/a.png"]


def test_missing_image_without_embedded_one_is_named(tmp_path: Path) -> None:
    write(tmp_path / "in", CAR)
    assert read(tmp_path / "in").missing == ["a.png"]


@pytest.mark.parametrize("data", ["", "AAAA", "AA", "not base64 ä", "/9j/AAAA"])
def test_damaged_embedded_image_is_an_error_and_leaves_no_data_set(tmp_path: Path, data: str) -> None:
    write(tmp_path / "in", CAR, imageData=data)
    with pytest.raises(DataError, match=r"a\.json"):
        converted(read(tmp_path / "in"), tmp_path)
    assert not (tmp_path / "out/annotations/panoptic_train.json").exists()
    assert not list((tmp_path / "unpacked").glob("*"))


@pytest.mark.parametrize(
    ("entry", "facts"),
    [
        ({"points": []}, ["shape 0", "'label'"]),
        (shape("car", 5, (0, 0)), ["shape 0", "shape_type"]),
        (shape("car", "rectangle", (0, 0)), ["shape 0", "rectangle", "1 points"]),
        (shape("car", "circle", (0, 0), (1, 1), (2, 2)), ["shape 0", "circle", "3 points"]),
        (shape("car", "polygon", (0, 0, 0)), ["shape 0", "'points'"]),
        (shape("car", "polygon", (0, None)), ["shape 0", "'points'"]),
        (shape("car", "mask", (0, 0), (1, 1)), ["shape 0", "'mask'"]),
        (shape("car", "mask", (0, 0), (1, 1), mask="A"), ["shape 0", "'mask'"]),
        (shape("car", "polygon", (0, 0), group="x"), ["shape 0", "group_id"]),
        (5, ["shape 0"]),
    ],
)
def test_malformed_shape_raises_with_its_place(source: Path, entry: Any, facts: list[str]) -> None:
    write(source, entry)
    with pytest.raises(DataError) as caught:
        read(source)
    assert all(fact in str(caught.value) for fact in ["a.json", *facts])


def test_other_json_files_are_counted_and_a_folder_of_them_is_refused(source: Path, tmp_path: Path) -> None:
    write_json(source / "settings.json", {"a": 1})
    with pytest.raises(DataError, match="no JSON file of labelme"):
        read(source)
    path = write(source, CAR)
    assert read(source).left_out == {"JSON file(s) without 'shapes'": 1}
    assert len(read_labelme(path, ImageFinder(source), tmp_path / "unpacked").images) == 1


def test_files_are_readable_by_labelme(source: Path) -> None:
    """The files of these tests have the form that labelme itself reads."""
    label_file = pytest.importorskip("labelme._label_file", reason="labelme is not installed")
    path = write(
        source, shape("car", "polygon", *box(1, 1, 4, 6)), imageData=png(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    )
    file = label_file.LabelFile(str(path))
    assert [one["label"] for one in file.shapes] == ["car"]


def test_file_of_labelme_6_3_1_is_read(tmp_path: Path) -> None:
    """The file has a shape of every type; labelme opened it and saved it again.

    Areas are those of labelme's ``shapes_to_label``, which also colors the pixels that an outline passes through.
    """
    write_image(tmp_path / "a.jpg", (192, 384))
    shutil.copy(Path(__file__).parent / "exports/labelme_6.3.1.json", tmp_path / "a.json")
    export = read_labelme(tmp_path, ImageFinder(tmp_path), tmp_path / "unpacked")
    lines = dict.fromkeys(("line", "linestrip", "point", "points"), 1)
    assert export.left_out == {f"shape(s) of type {kind!r}": number for kind, number in lines.items()}
    data, _ = converted(export, tmp_path)
    areas = np.bincount(np.asarray(data.read_annotation(0).ids).ravel())[1:]
    of_labelme = np.array([1681, 1248, 1612, 443, 1031])  # rectangle, circle, group of polygons, mask, turned rectangle
    assert areas[3] == of_labelme[3]
    assert (areas <= of_labelme).all()
    assert (areas > 0.9 * of_labelme).all()
