"""Segmentations as a COCO panoptic data set, read back by the package's own reader and by slow loops."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from seamseg.data.coco_index import read_index
from seamseg.data.coco_panoptic import CocoPanoptic
from seamseg.data.coco_writer import CocoPanopticWriter
from seamseg.data.panoptic_png import read_panoptic_png
from seamseg.structures import VOID, Categories, Category, PanopticSegmentation

CATEGORIES = Categories(
    (
        Category("sky", False, (1, 2, 3), 30),
        Category("road", False, (4, 5, 6), 10),
        Category("car", True, (7, 8, 9), 20),
    )
)


def segmentation(
    ids: list[list[int]], classes: list[int], crowd: Sequence[int] = (), seed: int = 0
) -> PanopticSegmentation:
    scores = torch.rand(len(classes) + 1, generator=torch.Generator().manual_seed(seed))
    flags = torch.zeros(len(classes) + 1, dtype=torch.bool)
    flags[list(crowd)] = True
    return PanopticSegmentation(torch.tensor(ids), torch.tensor([VOID, *classes]), scores, flags)


#   1 sky, 2 and 3 cars, 4 road, 5 left-over of cars, 6 has no pixel
SCENE = segmentation(
    [
        [1, 1, 1, 1, 1, 0],
        [1, 2, 2, 3, 1, 0],
        [4, 2, 2, 3, 3, 5],
        [4, 4, 4, 3, 4, 5],
    ],
    [0, 2, 2, 1, 2, 1],
    crowd=[5],
)


def written(folder: Path, *images: tuple[str, str, PanopticSegmentation]) -> dict[str, Any]:
    writer = CocoPanopticWriter(folder, CATEGORIES)
    for name, file_name, found in images:
        writer.add(name, file_name, found)
    writer.close()
    content: dict[str, Any] = json.loads((folder / "panoptic.json").read_text())
    return content


def test_segments_are_described_as_they_are(tmp_path: Path) -> None:
    content = written(tmp_path / "out", ("a", "a.jpg", SCENE))
    assert content["images"] == [{"id": 1, "file_name": "a.jpg", "height": 4, "width": 6}]
    (annotation,) = content["annotations"]
    assert (annotation["image_id"], annotation["file_name"]) == (1, "a.png")
    segments = {segment.pop("id"): segment for segment in annotation["segments_info"]}
    scores = [round(float(score), 6) for score in SCENE.scores]
    assert segments == {
        1: {"category_id": 30, "area": 7, "bbox": [0, 0, 5, 2], "iscrowd": 0, "score": scores[1]},
        2: {"category_id": 20, "area": 4, "bbox": [1, 1, 2, 2], "iscrowd": 0, "score": scores[2]},
        3: {"category_id": 20, "area": 4, "bbox": [3, 1, 2, 3], "iscrowd": 0, "score": scores[3]},
        4: {"category_id": 10, "area": 5, "bbox": [0, 2, 5, 2], "iscrowd": 0, "score": scores[4]},
    }


def test_categories_are_those_of_the_data_set(tmp_path: Path) -> None:
    content = written(tmp_path / "out", ("a", "a.jpg", SCENE))
    assert content["categories"][0] == {"id": 30, "name": "sky", "isthing": 0, "color": [1, 2, 3]}
    assert Categories.from_list(content["categories"]) == CATEGORIES


def test_the_png_holds_the_ids_and_left_overs_are_void(tmp_path: Path) -> None:
    written(tmp_path / "out", ("a", "a.jpg", SCENE))
    blue_first = cv2.imread(str(tmp_path / "out" / "panoptic" / "a.png"), cv2.IMREAD_UNCHANGED).astype(np.int64)
    ids = blue_first[..., 2] + 256 * blue_first[..., 1] + 65536 * blue_first[..., 0]
    expected = SCENE.ids.numpy().copy()
    expected[expected == 5] = 0
    assert (ids == expected).all()


def test_the_reader_of_the_package_reads_it(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    scenes = []
    for _ in range(5):
        height, width = torch.randint(3, 40, (2,), generator=generator).tolist()
        ids = torch.randint(0, 400, (height, width), generator=generator)
        classes = torch.randint(0, 3, (399,), generator=generator).tolist()
        scenes.append(
            segmentation(ids.tolist(), classes, crowd=[index for index in range(1, 400, 7) if classes[index - 1] == 2])
        )
    written(tmp_path / "out", *((f"{n:03}", f"{n:03}.jpg", scene) for n, scene in enumerate(scenes)))
    categories, records = read_index(tmp_path / "out" / "panoptic.json")
    assert categories == CATEGORIES
    for record, scene in zip(records, scenes, strict=True):
        ids = read_panoptic_png(tmp_path / "out" / "panoptic" / record.png_file)
        class_of = dict(zip(record.segment_ids.tolist(), record.classes.tolist(), strict=True)) | {0: VOID}
        expected = torch.where(scene.crowd[scene.ids], VOID, scene.semantics)
        assert record.size == tuple(ids.shape)
        assert [[class_of[value] for value in row] for row in ids.tolist()] == expected.tolist()
        assert set(record.segment_ids.tolist()) == set(ids[ids > 0].tolist())
        assert not record.crowd.any()


def test_results_can_serve_as_annotation(tmp_path: Path) -> None:
    """Moved to where a data set has them, predictions are a data set."""
    written(tmp_path / "annotations", ("x/a", "x/a.png", SCENE))
    (tmp_path / "annotations" / "panoptic.json").rename(tmp_path / "annotations" / "panoptic_own.json")
    (tmp_path / "annotations" / "panoptic").rename(tmp_path / "annotations" / "panoptic_own")
    (tmp_path / "images" / "x").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "images" / "x" / "a.png"), np.zeros((4, 6, 3), np.uint8))
    data = CocoPanoptic(tmp_path, "own")
    assert data.read_image(0).shape == (4, 6, 3)
    annotation = data.read_annotation(0)
    expected = torch.where(SCENE.crowd[SCENE.ids], VOID, SCENE.semantics)
    assert (annotation.classes[annotation.ids] == expected.numpy()).all()


def test_names_may_have_folders(tmp_path: Path) -> None:
    content = written(tmp_path, ("a/b/c", "a/b/c.jpg", SCENE), ("a/c", "a/c.jpg", SCENE))
    assert [image["file_name"] for image in content["images"]] == ["a/b/c.jpg", "a/c.jpg"]
    for annotation in content["annotations"]:
        assert (tmp_path / "panoptic" / annotation["file_name"]).is_file()
    assert [image["id"] for image in content["images"]] == [1, 2]


def test_an_image_of_void(tmp_path: Path) -> None:
    content = written(tmp_path, ("a", "a.jpg", segmentation([[0, 0]], [])))
    assert content["annotations"][0]["segments_info"] == []


def test_no_image_at_all(tmp_path: Path) -> None:
    content = written(tmp_path)
    assert (content["images"], content["annotations"]) == ([], [])


def test_many_segments(tmp_path: Path) -> None:
    ids = torch.arange(1, 70001).reshape(700, 100)
    found = PanopticSegmentation(
        ids, torch.cat([torch.tensor([VOID]), torch.zeros(70000).long()]), torch.ones(70001), torch.zeros(70001).bool()
    )
    writer = CocoPanopticWriter(tmp_path, CATEGORIES)
    # Only the ids of three channels matter here; describing 70 000 segments takes long.
    found.crowd[1:-2] = True
    writer.add("a", "a.jpg", found)
    assert read_panoptic_png(tmp_path / "panoptic" / "a.png").ravel()[-2:].tolist() == [69999, 70000]


def test_the_json_comes_at_the_end_and_whole(tmp_path: Path) -> None:
    writer = CocoPanopticWriter(tmp_path, CATEGORIES)
    writer.add("a", "a.jpg", SCENE)
    assert not (tmp_path / "panoptic.json").exists()
    writer.close()
    assert {path.name for path in tmp_path.iterdir()} == {"panoptic.json", "panoptic"}
