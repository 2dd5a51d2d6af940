"""Exports of Label Studio, drawn by hand."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as run_lengths
from support.tool_exports import converted, drawn, write_image, write_json

from seamseg.convert.drawn import DrawnExport, ImageFinder
from seamseg.convert.label_studio import read_label_studio
from seamseg.convert.label_studio_vector import vector_outline
from seamseg.data.formats.brush_rle import encode_brush
from seamseg.errors import DataError

EXPORTS = Path(__file__).parent / "exports"
"""Files that the tools wrote, named after the tool and its version."""

HEIGHT, WIDTH = 6, 8


def region(kind: str, label: str | None, number: int = 1, **value: Any) -> dict[str, Any]:
    labels = {} if label is None else {kind: [label]}
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return {"id": f"r{number}", "type": kind, "from_name": "label", "to_name": "image", **size, "value": value | labels}


def percent(y0: float, x0: float, y1: float, x1: float) -> dict[str, float]:
    """Box in pixels as a rectangle in percent."""
    x, width = 100 * x0 / WIDTH, 100 * (x1 - x0) / WIDTH
    return {"x": x, "y": 100 * y0 / HEIGHT, "width": width, "height": 100 * (y1 - y0) / HEIGHT, "rotation": 0}


def data_url(rows: list[str], channels: int = 4) -> str:
    """Black pixels where a row has a #, transparent pixels elsewhere."""
    alpha = np.array([[255 * (letter == "#") for letter in row] for row in rows], np.uint8)
    image = np.stack([*[np.zeros_like(alpha)] * (channels - 1), alpha], axis=-1)
    return "data:image/png;base64," + base64.b64encode(cv2.imencode(".png", image)[1].tobytes()).decode()


def points(*corners: tuple[float, float]) -> list[list[float]]:
    return [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in corners]


def brush(label: str, rows: list[str]) -> dict[str, Any]:
    mask = np.array([[letter == "#" for letter in row] for row in rows])
    return region("brushlabels", label, format="rle", rle=encode_brush(mask))


CAR = region("rectanglelabels", "car", **percent(0, 0, 2, 2))


def annotation(*results: Any, by: Any = 1, **more: Any) -> dict[str, Any]:
    return {"result": list(results), "completed_by": by, "was_cancelled": False} | more


def task(*annotations: dict[str, Any], image: str = "/data/upload/3/0a1b2c3d-a.png", number: int = 7) -> dict[str, Any]:
    return {"id": number, "data": {"image": image}, "annotations": list(annotations), "predictions": []}


def read(folder: Path, *tasks: Any, annotator: str | None = None) -> DrawnExport:
    if not (folder / "a.png").exists():
        write_image(folder / "a.png", (HEIGHT, WIDTH))
    return read_label_studio(write_json(folder / "export.json", list(tasks)), ImageFinder(folder), annotator)


def test_rectangles_polygons_and_brushes_become_segments_in_drawing_order(tmp_path: Path) -> None:
    rows = ["........", "..###...", "..#.#...", "..###...", "........", "........"]
    export = read(
        tmp_path,
        task(
            annotation(
                region("rectanglelabels", "road", **percent(3, 0, 6, 8)),
                region("polygonlabels", "sky", points=points((0, 0), (8, 0), (8, 3), (0, 3)), closed=True),
                brush("car", rows),
                region("rectanglelabels", "person", **percent(3, 4, 5, 6)),
            )
        ),
    )
    data, _ = converted(export, tmp_path)
    assert drawn(data) == ["ssssssss", "sscccsss", "sscscsss", "rrccpprr", "rrrrpprr", "rrrrrrrr"]


def test_rectangle_turns_clockwise_around_its_upper_left_corner(tmp_path: Path) -> None:
    """Two by four pixels at (4, 1), turned by 90 degrees, lie to the left of and below that corner."""
    turned = region("rectanglelabels", "car", **percent(1, 4, 3, 8) | {"rotation": 90})
    data, _ = converted(read(tmp_path, task(annotation(turned))), tmp_path)
    assert drawn(data) == ["........", "..cc....", "..cc....", "..cc....", "..cc....", "........"]


def test_ellipse_is_around_its_center(tmp_path: Path) -> None:
    circle = region("ellipselabels", "car", x=50, y=50, radiusX=100 * 2 / WIDTH, radiusY=100 * 2 / HEIGHT, rotation=0)
    data, _ = converted(read(tmp_path, task(annotation(circle))), tmp_path)
    assert drawn(data) == ["........", "...cc...", "..cccc..", "..cccc..", "...cc...", "........"]


def test_areas_with_a_separate_label_are_read_once(tmp_path: Path) -> None:
    box = percent(0, 0, 2, 2)
    results = region("rectangle", None, **box), region("labels", "car", **box), region("rectangle", None, 2, **box)
    export = read(tmp_path, task(annotation(*results)))
    assert [shape.label for shape in export.images[0].shapes] == ["car"]
    assert export.left_out == {"area(s) without a label": 1}


def test_results_without_an_area_are_counted(tmp_path: Path) -> None:
    results = [
        region("keypointlabels", "car", x=1, y=2, width=3),
        region("keypointlabels", "car", x=5, y=2, width=3),
        {"type": "relation", "from_id": "a", "to_id": "b"},
        {"type": "choices", "value": {"choices": ["night"]}, "from_name": "x", "to_name": "image"},
        region("labels", "car", start=1, end=2),
        region("rectanglelabels", None, **percent(0, 0, 1, 1)),
        CAR,
    ]
    export = read(tmp_path, task(annotation(*results)))
    assert export.left_out == {
        "result(s) of type 'keypointlabels'": 2,
        "result(s) of type 'relation'": 1,
        "result(s) of type 'choices'": 1,
        "result(s) of type 'labels' without an area": 1,
        "area(s) without a label": 1,
    }
    assert len(export.images[0].shapes) == 1


def test_several_annotations_are_refused_until_one_is_chosen(tmp_path: Path) -> None:
    person = region("rectanglelabels", "person", **percent(0, 0, 2, 2))
    tasks = task(
        annotation(CAR, by=1, updated_at="2026-03-02T10:00:00Z"),
        annotation(person, by={"id": 2, "email": "ö@x.org"}, updated_at="2026-03-01T10:00:00Z"),
        annotation(by=3, was_cancelled=True),
    )
    with pytest.raises(
        DataError, match=r"1 image\(s\) .*export\.json, task 7 by '1' and 'ö@x.org'.*--annotator latest"
    ):
        read(tmp_path, tasks)
    for annotator, label in (("1", "car"), ("2", "person"), ("ö@x.org", "person"), ("latest", "car")):
        export = read(tmp_path, tasks, annotator=annotator)
        assert [shape.label for shape in export.images[0].shapes] == [label]
    with pytest.raises(DataError, match=r"none by 3, .*task 7"):
        read(tmp_path, tasks, annotator="3")


def test_ground_truth_is_chosen_among_several_annotations(tmp_path: Path) -> None:
    person = region("rectanglelabels", "person", **percent(0, 0, 2, 2))
    export = read(tmp_path, task(annotation(CAR), annotation(person, by=2, ground_truth=True)))
    assert [shape.label for shape in export.images[0].shapes] == ["person"]


def test_tasks_without_annotation_are_counted(tmp_path: Path) -> None:
    export = read(tmp_path, task(annotation(CAR)), task(number=8), task(annotation(was_cancelled=True), number=9))
    assert export.left_out == {"task(s) without annotation": 2}
    assert len(export.images) == 1


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("/data/upload/3/0a1b2c3d-a_b.png", "0a1b2c3d-a_b.png"),
        ("/data/upload/3/0a1b2c3d-a_b.png", "a_b.png"),
        ("/data/local-files/?d=set/x%20%C3%A4%26b.png", "set/x ä&b.png"),
        ("/data/local-files/?d=/srv/set/x.png", "set/x.png"),
        ("s3://bucket/day 1/x#1.png", "day 1/x#1.png"),
        ("https://host:80/a/x%231.png?sign=5", "a/x#1.png"),
        ("100%.png", "100%.png"),
        ("http://[broken/x.png", "x.png"),
    ],
)
def test_images_are_found_by_the_end_of_their_url(tmp_path: Path, url: str, file: str) -> None:
    write_image(tmp_path / "images" / file, (HEIGHT, WIDTH))
    path = write_json(tmp_path / "export.json", [task(annotation(CAR), image=url)])
    (image,) = read_label_studio(path, ImageFinder(tmp_path / "images")).images
    assert image.name == file
    data, _ = converted(DrawnExport(path, [image]), tmp_path)
    assert (tmp_path / "out/images/train" / file).exists()
    assert len(data) == 1


def test_image_under_another_key_is_found_and_outside_of_the_folder_is_missing(tmp_path: Path) -> None:
    one, other = task(annotation(CAR)), task(annotation(CAR), image="../../secret.png")
    one["data"] = {"photo": "a.png", "day": "Monday"}
    export = read(tmp_path, one, other)
    assert ([image.name for image in export.images], export.missing) == (["a.png"], ["../../secret.png"])


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        (lambda one: one.pop("annotations"), ["task 7", "'annotations'", "JSON-MIN"]),
        (lambda one: (one.pop("annotations"), one.pop("data")), ["task 7", "JSON-MIN"]),
        (lambda one: one.pop("data"), ["task 7", "'data'"]),
        (lambda one: one["data"].clear(), ["task 7", "image"]),
        (lambda one: one["annotations"][0].pop("result"), ["task 7", "'result'"]),
        (lambda one: one["annotations"][0]["result"][0].update(type=5), ["task 7", "'type'"]),
        (lambda one: one["annotations"][0]["result"][0].update(image_rotation=90), ["task 7", "image_rotation"]),
        (lambda one: one["annotations"][0]["result"][0].pop("original_width"), ["task 7", "original_width"]),
        (lambda one: one["annotations"][0]["result"][0].update(original_width=0), ["task 7", "6×0"]),
        (lambda one: one["annotations"][0]["result"][1].update(original_width=9), ["task 7", "different sizes"]),
        (lambda one: value_of(one).update(x="5"), ["region 'r1'", "'x'", "'5'"]),
        (lambda one: value_of(one).update(width=float("nan")), ["region 'r1'", "'width'", "nan"]),
        (lambda one: value_of(one).update(rectanglelabels=["car", "person"]), ["region 'r1'", "only one class"]),
        (lambda one: value_of(one).update(rle=[1, 300]), ["region 'r1'", "'rle'"]),
        (lambda one: value_of(one).update(points=[[1, 2], [3]]), ["region 'r1'", "'points'", "[3]"]),
    ],
)
def test_malformed_task_raises_with_its_place(tmp_path: Path, change: Any, facts: list[str]) -> None:
    one = json.loads(json.dumps(task(annotation(CAR, CAR))))
    change(one)
    with pytest.raises(DataError) as caught:
        read(tmp_path, one)
    assert all(fact in str(caught.value) for fact in ["export.json", *facts])


def value_of(one: dict[str, Any]) -> dict[str, Any]:
    return one["annotations"][0]["result"][0]["value"]


@pytest.mark.parametrize("content", [{}, [5], 5, "x"])
def test_other_json_is_refused(tmp_path: Path, content: Any) -> None:
    path = write_json(tmp_path / "x.json", content)
    with pytest.raises(DataError, match=r"x\.json"):
        read_label_studio(path, ImageFinder(tmp_path))


def test_folder_and_broken_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="folder"):
        read_label_studio(tmp_path, ImageFinder(tmp_path))
    (tmp_path / "x.json").write_bytes(b"[" * 100_000)
    with pytest.raises(DataError, match="JSON"):
        read_label_studio(tmp_path / "x.json", ImageFinder(tmp_path))


def test_brush_mask_of_another_size_names_the_region(tmp_path: Path) -> None:
    wrong = region("brushlabels", "car", format="rle", rle=encode_brush(np.ones((3, 3), bool)))
    with pytest.raises(DataError, match=r"export\.json, task 7, region 'r1': .*36 words.*--without-outline"):
        converted(read(tmp_path, task(annotation(wrong))), tmp_path)


@pytest.mark.parametrize("other", [{"to_name": "right"}, {"item_index": 1}])
def test_areas_on_several_images_are_an_error(tmp_path: Path, other: dict[str, Any]) -> None:
    road = region("rectanglelabels", "road", number=2, **percent(2, 2, 6, 8))
    with pytest.raises(DataError, match=r"task 7: .*several images \(image, item [01]; "):
        read(tmp_path, task(annotation(CAR | {"to_name": "image"}, road | other)))
    assert len(read(tmp_path, task(annotation(CAR | {"item_index": 0}, road))).images) == 1


def test_bitmasks_are_opaque_where_the_object_is(tmp_path: Path) -> None:
    car = region("bitmasklabels", "car", imageDataURL=data_url(["##......"] + ["........"] * 5))
    drawn_twice = data_url(["........"] * 4 + [".#.#...."] * 2)
    person = [region("bitmask", None, 2, imageDataURL=drawn_twice)]
    person.append(region("labels", "person", 2, imageDataURL=drawn_twice))
    nothing = region("bitmasklabels", "car", 3, imageDataURL=None)
    export = read(tmp_path, task(annotation(car, *person, nothing)))
    assert export.left_out == {"result(s) of type 'bitmasklabels' without an area": 1}
    data, _ = converted(export, tmp_path)
    assert drawn(data) == ["cc......", *["........"] * 3, *[".p.p...."] * 2]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (data_url(["#"]), r"shape \(1, 1, 4\)"),
        (data_url(["########"] * 6, channels=3), "transparency"),
        ("data:image/png;base64,AAAA", "decoded"),
        ("data:image/png;base64,A", "base64"),
        (7, "imageDataURL"),
    ],
)
def test_damaged_bitmasks_are_errors(tmp_path: Path, url: Any, problem: str) -> None:
    with pytest.raises(DataError, match=rf"task 7, region 'r1'.*{problem}"):
        converted(read(tmp_path, task(annotation(region("bitmasklabels", "car", imageDataURL=url)))), tmp_path)


def test_export_of_label_studio_1_23_2_is_read(tmp_path: Path) -> None:
    """The first five areas were imported as a prediction and submitted in the browser, the last two were drawn there.

    The second brush stroke is thinner than a pixel, so it covers no pixel by half. The bitmask brush has a radius of
    ten pixels.
    """
    write_image(tmp_path / "small.png", (16, 24))
    (image,) = read_label_studio(EXPORTS / "label_studio_1.23.2.json", ImageFinder(tmp_path)).images
    assert (image.name, image.size) == ("small.png", (16, 24))
    masks = [run_lengths.decode(shape.counts((16, 24))) for shape in image.shapes]
    assert [(shape.label, int(mask.sum())) for shape, mask in zip(image.shapes, masks, strict=True)] == [
        ("b-car", 20),
        ("v-car", 29),
        ("r-car", 12),
        ("e-car", 26),
        ("p-car", 10),
        ("b-car", 0),
        ("m-car", 374),
    ]
    assert [row[:8] for row in rows_of(masks[0], 6)] == [
        "........",
        ".######.",
        ".##..##.",
        ".##..##.",
        ".######.",
        "........",
    ]
    assert [row[8:17] for row in rows_of(masks[1], 8)] == [
        ".........",
        ".######..",
        ".#######.",
        ".#######.",
        ".#####...",
        ".###.....",
        ".#.......",
        ".........",
    ]


def rows_of(mask: Any, number: int) -> list[str]:
    return ["".join(".#"[pixel] for pixel in row) for row in mask[:number]]


def vertex(x: float, y: float, name: str, before: str | None = None, **more: Any) -> dict[str, Any]:
    return {"x": x, "y": y, "id": name, "isBezier": bool(more)} | ({"prevPointId": before} if before else {}) | more


def outline(*vertices: Any, closed: bool = True) -> list[tuple[float, float]] | None:
    return vector_outline({"vertices": list(vertices), "closed": closed}, "here")


def test_closed_vector_follows_the_names_of_its_vertices() -> None:
    """A vertex that was inserted later comes last in the list."""
    a, b, c = vertex(0, 0, "a", "c"), vertex(4, 0, "b", "d"), vertex(4, 4, "c", "b")
    assert outline(a, b, c, vertex(2, 1, "d", "a")) == [(0, 0), (2, 1), (4, 0), (4, 4)]
    unnamed: list[dict[str, Any]] = [{"x": 0, "y": 0}, {"x": 4, "y": 0}, {"x": 4, "y": 4}]
    assert outline(*unnamed) == [(0, 0), (4, 0), (4, 4)]


def test_open_and_branching_vectors_have_no_area() -> None:
    a, b, c = vertex(0, 0, "a"), vertex(4, 0, "b", "a"), vertex(4, 4, "c", "b")
    assert outline(a, b, c, closed=False) is None
    assert outline(a, b, c, vertex(0, 4, "d", "b")) is None  # of a skeleton
    assert outline() is None
    assert outline(vertex(0, 0, "a", "b"), vertex(4, 0, "b", "a"), vertex(4, 4, "c", "?")) is None


def test_curved_edges_of_a_vector_are_bezier_curves() -> None:
    """Control points at a third and two thirds of an edge make it straight; the middle is the mean of 1, 3, 3 and 1."""
    a = vertex(0, 0, "a", "b", controlPoint2={"x": 3, "y": 0})
    b = vertex(9, 0, "b", "a", controlPoint1={"x": 6, "y": 8}, controlPoint2={"x": 9, "y": 9})
    corners = outline(a, b)
    assert corners is not None
    assert len(corners) == 32
    assert corners[8] == pytest.approx((4.5, 3))
    # The way back has no control point at its end, so Label Studio takes one at 0.3 of the edge.
    assert corners[24] == pytest.approx((9 / 8 + 27 / 8 + 3 * 2.7 / 8, 27 / 8))


@pytest.mark.parametrize("wrong", [5, [1, 2], {"x": 1}, {"x": 1, "y": "2"}, {"x": 1, "y": float("inf")}])
def test_malformed_vertex_of_a_vector_is_an_error(wrong: Any) -> None:
    with pytest.raises(DataError, match="here"):
        outline(vertex(0, 0, "a"), wrong)
    curved = vertex(0, 0, "a", controlPoint2=wrong)
    with pytest.raises(DataError, match="here"):
        outline(curved, vertex(9, 0, "b", "a"))


def test_vectors_are_polygons_and_open_ones_are_counted(tmp_path: Path) -> None:
    square = [(0, 0), (50, 0), (50, 50), (0, 50)]
    vertices = [vertex(x, y, str(n), str((n - 1) % 4)) for n, (x, y) in enumerate(square)]
    closed = region("vectorlabels", "car", vertices=vertices, closed=True)
    line = region("vectorlabels", "car", 2, vertices=vertices[:2], closed=False)
    export = read(tmp_path, task(annotation(closed, line)))
    assert export.left_out == {"result(s) of type 'vectorlabels' without an area": 1}
    data, _ = converted(export, tmp_path)
    assert drawn(data) == [*["cccc...."] * 3, *["........"] * 3]
