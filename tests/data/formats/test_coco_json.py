"""Reading the JSON file of a split: required content, and errors for everything else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.tiny_dataset import write_tiny_panoptic

from seamseg.data.formats.class_table import coco_classes
from seamseg.data.formats.coco_json import read_index
from seamseg.structures import VOID

Json = dict[str, Any]


def segment(content: Json) -> Json:
    return content["annotations"][1]["segments_info"][0]


def keep_categories(isthing: int) -> Callable[[Json], Any]:
    def change(content: Json) -> None:
        content["categories"] = [entry for entry in content["categories"] if entry["isthing"] == isthing]
        for annotation in content["annotations"]:
            annotation["segments_info"] = []

    return change


INVALID_FILES: dict[str, tuple[Callable[[Json], Any], str]] = {
    "no categories": (lambda c: c.pop("categories"), "the key 'categories' is missing"),
    "no images": (lambda c: c.pop("images"), "the key 'images' is missing"),
    "no annotations": (lambda c: c.pop("annotations"), "the key 'annotations' is missing"),
    "empty annotations": (lambda c: c.update(annotations=[]), "contains no annotations"),
    "annotations of another type": (lambda c: c.update(annotations={}), "'annotations' is {}, expected list"),
    "no category": (keep_categories(2), "has no category; a data set needs at least one class"),
    "category without name": (lambda c: c["categories"][2].pop("name"), "category 2: the key 'name' is missing"),
    "category id of another type": (lambda c: c["categories"][0].update(id="7"), "category 0: 'id' is '7'"),
    "two categories with one id": (lambda c: c["categories"][0].update(id=20), "share the original id 20"),
    "color of two numbers": (
        lambda c: c["categories"][0].update(color=[1, 2]),
        "category 0 has a color that is not red, green and blue",
    ),
    "image without size": (lambda c: c["images"][0].pop("width"), "image 103: the key 'width' is missing"),
    "image without file": (lambda c: c["images"][0].pop("file_name"), "image 103: the key 'file_name' is missing"),
    "number as image": (lambda c: c["images"].insert(0, 5), "image 0: expected a JSON object, found 5"),
    "image of height 0": (lambda c: c["images"][0].update(height=0), "image 103: a size of 0×40"),
    "two images with one id": (lambda c: c["images"][0].update(id=101), "image 101: two images have this id"),
    "annotation without image": (
        lambda c: c["annotations"][1].update(image_id=9),
        "annotation 1: its image 9 is not among the images",
    ),
    "annotation without file": (
        lambda c: c["annotations"][1].pop("file_name"),
        "annotation 1 of image 101: the key 'file_name' is missing",
    ),
    "annotation without segments": (
        lambda c: c["annotations"][1].pop("segments_info"),
        "annotation 1 of image 101: the key 'segments_info' is missing",
    ),
    "two annotations for one image": (
        lambda c: c["annotations"][1].update(image_id=100),
        "image 100 has two annotations",
    ),
    "segment without id": (lambda c: segment(c).pop("id"), "of image 101, a segment: the key 'id' is missing"),
    "segment without category": (
        lambda c: segment(c).pop("category_id"),
        "the key 'category_id' is missing",
    ),
    "segment of unknown category": (
        lambda c: segment(c).update(id=77, category_id=99),
        "of image 101, segment 77: its category_id 99 is not among the categories",
    ),
    "segment without crowd": (lambda c: segment(c).pop("iscrowd"), "the key 'iscrowd' is missing"),
    "segment with the id of void": (lambda c: segment(c).update(id=0), "segment 0: segment ids must be in 1"),
    "segment with an id too large": (lambda c: segment(c).update(id=2**24), "segment ids must be in 1 … 16777215"),
    "NaN as image height": (
        lambda c: c["images"][0].update(height=float("nan")),
        "image 103: 'height' is nan, expected int",
    ),
    "NaN as category id": (
        lambda c: segment(c).update(category_id=float("nan")),
        "'category_id' is nan, expected int",
    ),
    "NaN in color": (
        lambda c: c["categories"][0].update(color=[float("nan"), 0, 0]),
        "category 0 has a color that is not red",
    ),
    "infinity in color": (
        lambda c: c["categories"][0].update(color=[float("inf"), 0, 0]),
        "category 0 has a color that is not red",
    ),
    "image with a very long id": (lambda c: c["images"][0].update(id="x" * 5000), "expected an integer or a short"),
    "image with an id of two lines": (lambda c: c["images"][0].update(id="a\nb"), "expected an integer or a short"),
    "image with a very long size": (lambda c: c["images"][0].update(height="x" * 5000), "…, expected int"),
    "file name of two lines": (lambda c: c["images"][0].update(file_name="a\nb.png"), "file names must be relative"),
    "file name with a surrogate": (lambda c: c["images"][0].update(file_name="\ud800"), "file names must be relative"),
    "two segments with one id": (
        lambda c: c["annotations"][1]["segments_info"].extend([segment(c)]),
        ": two segments have this id",
    ),
}


@pytest.mark.parametrize("name", INVALID_FILES)
def test_read_index_of_invalid_file_raises_error_naming_file_and_entry(tmp_path: Path, name: str) -> None:
    change, fact = INVALID_FILES[name]
    data = write_tiny_panoptic(tmp_path)
    data.edit_json(change)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared below, without its special characters)
        read_index(data.json_file)
    message = str(caught.value)
    assert message.startswith(str(data.json_file))
    assert fact in message
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b'{"images": [', "is not valid JSON"),
        (b"\xff\xfe\xfa", "is not valid JSON"),
        (b"", "is not valid JSON"),
        (b"[1]", "contains a JSON list"),
    ],
)
def test_read_index_of_non_json_object_raises_error_naming_the_file(tmp_path: Path, content: bytes, fact: str) -> None:
    file = tmp_path / "panoptic_train.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=fact) as caught:
        read_index(file)
    assert str(caught.value).startswith(str(file))


def test_read_index_joins_images_with_segments_after_void(tmp_path: Path) -> None:
    data = write_tiny_panoptic(tmp_path, images_with_crowd=[2])
    categories, records = read_index(data.json_file)
    assert categories.names == ("sky", "road", "car", "person")
    assert categories.num_stuff == 2
    class_of = {30: 0, 40: 1, 10: 2, 20: 3}
    for position, record in enumerate(records):
        segments = record.segments
        assert segments.image_id == 100 + position
        assert (record.image_file, segments.png_file) == (f"{position:03}.png", f"{position:03}.png")
        assert record.size == data.ids[position].shape
        expected = [(s["id"], class_of[s["category_id"]], bool(s["iscrowd"])) for s in data.segments[position]]
        found = zip(segments.ids.tolist(), segments.classes.tolist(), segments.crowd.tolist(), strict=True)
        assert list(found) == [(0, VOID, False), *expected]
    assert [record.segments.crowd.any() for record in records] == [False, False, True, False]


def test_read_index_reads_a_million_segments(tmp_path: Path) -> None:
    data = write_tiny_panoptic(tmp_path, num_images=1)
    number = 1_000_000
    segments = ",".join(f'{{"id":{one},"category_id":10,"iscrowd":0}}' for one in range(number, 0, -1))
    text = data.json_file.read_text()
    begin = text.index('"segments_info": [') + len('"segments_info": [')
    data.json_file.write_text(text[:begin] + segments + text[text.index("}]}", begin) + 1 :])
    ((record,), categories) = read_index(data.json_file)[::-1]
    assert record.segments.ids.tolist() == [0, *range(number, 0, -1)]
    assert set(record.segments.classes[1:].tolist()) == {categories.class_of_original_id[10]}


def test_read_index_leaves_out_images_without_annotation(tmp_path: Path) -> None:
    data = write_tiny_panoptic(tmp_path)
    data.edit_json(lambda content: content["annotations"].pop(1))
    assert [record.segments.image_id for record in read_index(data.json_file)[1]] == [100, 102, 103]


def test_coco_classes_rejects_too_many_categories_naming_file_and_number(tmp_path: Path) -> None:
    entries = [{"id": number, "name": f"class {number}", "isthing": number % 2} for number in range(300)]
    with pytest.raises(ValueError, match=r"panoptic\.json: there are 300 categories,.*255"):
        coco_classes(entries, tmp_path / "panoptic.json")
