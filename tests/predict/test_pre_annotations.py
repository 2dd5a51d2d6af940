"""Predictions for labeling tools, which convert back to the same segments."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from seamseg.convert.cvat import cvat_jobs
from seamseg.convert.drawn import ImageFinder
from seamseg.convert.drawn_job import DrawnOptions, drawn_jobs
from seamseg.convert.job import run_job
from seamseg.convert.label_studio import read_label_studio
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.data.png import read_panoptic_png
from seamseg.predict.images import InputImage
from seamseg.predict.outputs import OutputKind, OutputWriter
from seamseg.predict.pre_annotations import label_studio_interface, label_studio_task, regions
from seamseg.predict.predictor import Prediction
from seamseg.predict.results_folder import ResultsFolder
from seamseg.structures import VOID, Categories, Category, Detections, PanopticSegmentation, SemanticLogits

CATEGORIES = Categories(
    (
        Category('road "wet" & <old>', False, (128, 64, 128), 92),
        Category("sky", False, (70, 130, 180), 95),
        Category("car", True, (0, 0, 142), 3),
        Category("Fußgänger", True, (220, 20, 60), 1),
    )
)
CLASSES = "stuff: ['road \"wet\" & <old>', sky]\nthings: [car, Fußgänger]\n"
NAMES = ("sub/a ä#1%.png", "b.png")
SIZES = ((37, 53), (40, 21))


def prediction(size: tuple[int, int], seed: int) -> Prediction:
    """Noise and boxes of six segments: void, sky, two cars, a person, road, and a crowd, which becomes void."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, 7, size)
    ids[: size[0] // 2] = 1
    for segment in (2, 3, 4):
        y, x = generator.integers(0, size[0] - 9), generator.integers(0, size[1] - 9)
        ids[y : y + 9, x : x + 9] = segment
    segmentation = PanopticSegmentation(
        torch.from_numpy(ids),
        torch.tensor([VOID, 1, 2, 2, 3, 0, 2]),
        torch.tensor([False] * 6 + [True]),
        torch.tensor([0, 1, 0.9, 0.5, 0.75, 1, 0.1]),
    )
    return Prediction(segmentation, no_detections(), SemanticLogits(torch.zeros(1, *size), size, size))


def no_detections() -> Detections:
    return Detections(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0), torch.zeros(0, 28, 28))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Results of two images."""
    kinds: tuple[OutputKind, ...] = ("panoptic", "labelstudio", "cvat")
    images = [InputImage(name.removesuffix(".png"), name, tmp_path / "my images" / name) for name in NAMES]
    folder = ResultsFolder(tmp_path / "out", kinds, CATEGORIES, "x")
    folder.begin("new", images)
    writer = OutputWriter(folder.path, kinds, CATEGORIES)
    for seed, (image, size) in enumerate(zip(images, SIZES, strict=True)):
        pixels = np.zeros((*size, 3), np.uint8)
        image.path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(image.path), pixels)
        folder.note(image, writer.write(image, pixels, prediction(size, seed)))
    folder.finish(images, [], {"image_folder": str(tmp_path / "my images")})
    folder.close()
    return tmp_path


def from_label_studio(folder: Path) -> CocoPanoptic:
    """Submit the predictions as they are, and convert the export."""
    tasks = json.loads((folder / "out/labelstudio.json").read_text())
    for number, task in enumerate(tasks):
        result = task.pop("predictions")[0]["result"]
        task |= {"id": number, "annotations": [{"result": result, "completed_by": 1, "was_cancelled": False}]}
    (folder / "export.json").write_text(json.dumps(tasks))
    export = read_label_studio(folder / "export.json", ImageFinder(folder / "my images"))
    (job,) = drawn_jobs({"train": export}, options(folder))
    run_job(job, 1)
    return CocoPanoptic(folder / "back", "train")


def from_cvat(folder: Path) -> CocoPanoptic:
    """Convert the file as if CVAT had exported it."""
    (folder / "cvat/annotations").mkdir(parents=True)
    (folder / "out/cvat.json").rename(folder / "cvat/annotations/instances_default.json")
    (job,) = cvat_jobs(folder / "cvat", folder / "my images", options(folder))
    run_job(job, 1)
    return CocoPanoptic(folder / "back", "train")


def options(folder: Path) -> DrawnOptions:
    (folder / "classes.yaml").write_text(CLASSES)
    return DrawnOptions(folder / "back", folder / "classes.yaml")


@pytest.mark.parametrize("convert", [from_label_studio, from_cvat])
def test_converted_predictions_are_the_predicted_segments(
    written: Path, convert: Callable[[Path], CocoPanoptic]
) -> None:
    data = convert(written)
    assert sorted(record.image_file for record in data.records) == sorted(NAMES)
    listed = json.loads((written / "out/panoptic.json").read_text())
    names = {image["id"]: image["file_name"] for image in listed["images"]}
    for annotation in listed["annotations"]:
        ids = read_panoptic_png(written / "out/panoptic" / annotation["file_name"])
        class_names = {one["id"]: one["name"] for one in listed["categories"]}
        names_of_ids = {one["id"]: class_names[one["category_id"]] for one in annotation["segments_info"]}
        (index,) = (i for i, record in enumerate(data.records) if record.image_file == names[annotation["image_id"]])
        again = data.read_annotation(index)
        pairs = set(zip(ids.ravel().tolist(), again.ids.ravel().tolist(), strict=True))
        assert len(pairs) == len(names_of_ids) + 1 == len({one for _, one in pairs})
        assert (0, 0) in pairs
        for before, after in pairs - {(0, 0)}:
            assert data.categories.classes[int(again.classes[after])].name == names_of_ids[before]
        assert not again.crowd.any()


def test_label_studio_task_states_size_scores_and_a_quoted_url(written: Path) -> None:
    task = json.loads((written / "out/labelstudio.json").read_text())[0]
    assert task["data"] == {"image": "/data/local-files/?d=my%20images/sub/a%20%C3%A4%231%25.png"}
    (one,) = task["predictions"]
    assert len(one["result"]) == 5
    assert {result["score"] for result in one["result"]} == {1, 0.9, 0.5, 0.75}
    assert one["score"] == pytest.approx((1 + 0.9 + 0.5 + 0.75 + 1) / 5)
    assert len({result["id"] for result in one["result"]}) == 5
    assert {(result["original_height"], result["original_width"]) for result in one["result"]} == {SIZES[0]}


def test_label_studio_task_accepts_any_image_folder() -> None:
    entry = {"file_name": "a.png", "prediction": {}}
    assert label_studio_task(entry, Path("/"))["data"] == {"image": "/data/local-files/?d=a.png"}
    assert label_studio_task(entry, Path("/x/\udcff"))["data"] == {"image": "/data/local-files/?d=%FF/a.png"}


def test_label_studio_interface_has_a_label_for_each_class_and_the_names_of_the_results(written: Path) -> None:
    view = ElementTree.fromstring((written / "out/labelstudio.xml").read_text())
    assert view.tag == "View"
    image, brush = view.find("Image"), view.find("BrushLabels")
    result = json.loads((written / "out/labelstudio.json").read_text())[0]["predictions"][0]["result"][0]
    assert (result["to_name"], result["from_name"]) == (image.get("name"), brush.get("name"))
    assert (brush.get("toName"), image.get("value")) == (image.get("name"), "$image")
    labels = [(label.get("value"), label.get("background")) for label in brush]
    assert labels == [(one.name, "#{:02x}{:02x}{:02x}".format(*one.color)) for one in CATEGORIES.classes]
    assert label_studio_interface(CATEGORIES).endswith("\n")


def test_cvat_file_is_valid_coco(written: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco").COCO(written / "out/cvat.json")
    assert {image["file_name"] for image in coco.imgs.values()} == set(NAMES)
    assert sorted(coco.anns) == list(range(1, len(coco.anns) + 1))
    for annotation in coco.anns.values():
        mask = coco.annToMask(annotation)
        ys, xs = np.nonzero(mask)
        assert annotation["area"] == mask.sum()
        assert annotation["bbox"] == [xs.min(), ys.min(), xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min()]
    labels = json.loads((written / "out/cvat_labels.json").read_text())
    assert [label["name"] for label in labels] == [one["name"] for one in coco.cats.values()]


def test_regions_of_a_model_that_only_finds_objects_are_those_it_shows_with_the_best_last() -> None:
    size = (20, 30)
    detections = Detections(
        torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [10, 10, 20, 20]]),
        torch.tensor([0, 1, 1]),
        torch.tensor([0.9, 0.6, 0.2]),
        torch.full((3, 28, 28), 9.0),
    )
    empty = PanopticSegmentation(torch.zeros(size).long(), torch.tensor([VOID]), torch.tensor([False]))
    found = Prediction(empty, detections, SemanticLogits(torch.zeros(1, *size), size, size), shown_score=0.5)
    listed = regions(found, CATEGORIES)
    assert [(one.category.name, round(one.score, 3)) for one in listed] == [("Fußgänger", 0.6), ("car", 0.9)]
    assert all(one.mask.decoded()[:10, :10].all() for one in listed)


def test_datumaro_reads_the_masks_for_cvat(written: Path) -> None:
    """CVAT reads COCO files with datumaro."""
    datumaro = pytest.importorskip("datumaro", reason="datumaro is not installed")
    (written / "cvat/annotations").mkdir(parents=True)
    (written / "cvat/images").symlink_to(written / "my images")
    (written / "out/cvat.json").rename(written / "cvat/annotations/instances_default.json")
    listed = json.loads((written / "out/panoptic.json").read_text())
    dataset = datumaro.Dataset.import_from(str(written / "cvat"), "coco_instances")
    found = {item.id: [one.image for one in item.annotations if one.type.name == "mask"] for item in dataset}
    for annotation in listed["annotations"]:
        ids = read_panoptic_png(written / "out/panoptic" / annotation["file_name"])
        masks = found[annotation["file_name"].removesuffix(".png")]
        expected = [ids == segment["id"] for segment in annotation["segments_info"]]
        assert len(masks) == len(expected) == 5
        assert {mask.astype(bool).tobytes() for mask in masks} == {mask.tobytes() for mask in expected}
