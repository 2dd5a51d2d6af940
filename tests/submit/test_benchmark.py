"""Category and image ids of the benchmarks, compared with the files of the data sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seamseg.submit.benchmark import CITYSCAPES, COCO, VISTAS, Benchmark


def test_coco_categories_match_the_annotation_file(shared: Path) -> None:
    content = json.loads((shared / "data/coco128_panoptic/annotations/panoptic_val2017.json").read_text())
    expected = {one["name"]: (one["id"], bool(one["isthing"])) for one in content["categories"]}
    assert {name: tuple(one) for name, one in COCO.categories.items()} == expected
    assert len(expected) == 133


def test_cityscapes_categories_match_cityscapesscripts() -> None:
    labels = pytest.importorskip("cityscapesscripts.helpers.labels", reason="cityscapesScripts is not installed").labels
    expected = {one.name: (one.id, one.hasInstances) for one in labels if not one.ignoreInEval}
    assert {name: tuple(one) for name, one in CITYSCAPES.categories.items()} == expected


def test_vistas_categories_are_65_ids_in_alphabetical_order() -> None:
    assert sorted(one.category_id for one in VISTAS.categories.values()) == list(range(1, 66))
    assert sum(one.is_thing for one in VISTAS.categories.values()) == 37
    names = list(VISTAS.categories)
    by_id = sorted(names, key=lambda name: VISTAS.categories[name].category_id)
    assert by_id == sorted(names)  # the Vistas configuration is sorted by name
    assert tuple(VISTAS.categories["object--traffic-sign--front"]) == (51, True)


@pytest.mark.parametrize(
    ("benchmark", "image_path", "image_id"),
    [
        (COCO, "test2017/000000000139.jpg", 139),
        (COCO, "000000581929.png", 581929),
        (CITYSCAPES, "berlin/berlin_000000_000019_leftImg8bit.png", "berlin_000000_000019"),
        (CITYSCAPES, "berlin_000000_000019.png", "berlin_000000_000019"),
        (VISTAS, "testing/images/-6PxkfiYSYjPLkJxlSLbCw.jpg", "-6PxkfiYSYjPLkJxlSLbCw"),
    ],
)
def test_image_id_of_valid_name_is_extracted(benchmark: Benchmark, image_path: str, image_id: object) -> None:
    assert benchmark.image_id(image_path) == image_id


@pytest.mark.parametrize(
    ("benchmark", "image_path", "message"),
    [
        (COCO, "street.jpg", "000000000139.jpg"),
        (COCO, "٣.jpg", "000000000139.jpg"),
        (CITYSCAPES, "berlin_19.png", "aachen_000000_000019_leftImg8bit.png"),
        (CITYSCAPES, "berlin_000000_0000190_leftImg8bit.png", "aachen_000000_000019_leftImg8bit.png"),
    ],
)
def test_image_id_of_invalid_name_raises_with_example(benchmark: Benchmark, image_path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        benchmark.image_id(image_path)


@pytest.mark.parametrize("name", ["val2017_ours", "test-dev2017_a b.c", "test-challenge2017_x_y"])
def test_json_name_of_valid_archive_name_is_its_stem(name: str) -> None:
    folder = COCO.json_name(Path(f"out/panoptic_{name}_results.zip"))
    assert folder == f"panoptic_{name}_results"
    assert CITYSCAPES.json_name(Path("a/b.zip")) == "b"


@pytest.mark.parametrize("name", ["results.zip", "panoptic_test2017_a_results.zip", "panoptic_val2017__results.zip"])
def test_json_name_of_invalid_coco_archive_name_raises(name: str) -> None:
    with pytest.raises(ValueError, match=r"panoptic_SET_NAME_results\.zip"):
        COCO.json_name(Path(name))
