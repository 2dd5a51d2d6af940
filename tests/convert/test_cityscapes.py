"""Conversion of Cityscapes from instance ids and from its own panoptic files."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from seamseg.convert.cityscapes import cityscapes_jobs, cityscapes_panoptic_jobs, segments_of_instance_ids
from seamseg.convert.job import run_job
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.data.labels.cityscapes import CITYSCAPES
from seamseg.data.png import read_panoptic_png, write_panoptic_png


def test_cityscapes_classes_count_19_with_11_stuff() -> None:
    assert (len(CITYSCAPES), CITYSCAPES.num_stuff) == (19, 11)
    assert CITYSCAPES.class_of_original_id[26] == 13
    assert CITYSCAPES.class_of_original_id[33] == 18


def test_segments_of_instance_ids_given_drawn_map_match() -> None:
    """The values are void, road, road with a number, two cars, a group of cars, a trailer, a group of caravans."""
    values = np.array([[0, 7, 7001, 26000, 26001, 26, 30000, 29]], np.int32)
    found, png_ids = segments_of_instance_ids(values)
    assert png_ids == [7, 26, 26000, 26001]
    assert found.ids.tolist() == [[0, 1, 1, 3, 4, 2, 0, 0]]
    assert [CITYSCAPES.classes[one].original_id for one in found.classes[1:].tolist()] == [7, 26, 26, 26]
    assert found.crowd.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("value", [34, 34000, 65535])
def test_segments_of_instance_ids_given_unknown_label_raises(value: int) -> None:
    with pytest.raises(ValueError, match=f"the value {value} .*Cityscapes"):
        segments_of_instance_ids(np.array([[7, value]], np.int32))


def test_cityscapes_job_on_real_frame_gives_published_train_ids(shared: Path, tmp_path: Path) -> None:
    source = shared / "data/layouts/cityscapes_16bit"
    for job in cityscapes_jobs(source, tmp_path / "out"):
        run_job(job)
    data = CocoPanoptic(tmp_path / "out", "val")
    annotation = data.read_annotation(0)
    folder = source / "gtFine/val/frankfurt"
    train_ids = cv2.imread(str(next(folder.glob("*labelTrainIds.png"))), cv2.IMREAD_UNCHANGED)
    found = annotation.semantics.numpy()
    assert (found == train_ids).mean() > 0.997  # this file was scaled down separately from the others
    labels = cv2.imread(str(next(folder.glob("*labelIds.png"))), cv2.IMREAD_UNCHANGED)
    assert [(label, set(found[labels == label].tolist())) for label in np.unique(labels).tolist()] == [
        (1, {255}), (2, {255}), (3, {255}), (4, {255}), (7, {0}), (8, {1}), (11, {2}), (13, {4}), (17, {5}), (20, {7}),
        (21, {8}), (23, {10}), (24, {11}), (26, {13}),
    ]  # fmt: skip
    instances = cv2.imread(str(next(folder.glob("*instanceIds.png"))), cv2.IMREAD_UNCHANGED)
    written = read_panoptic_png(next((tmp_path / "out/annotations/panoptic_val").glob("*.png")))
    cars = instances >= 24000
    assert (written[cars] == instances[cars]).all()
    assert not annotation.crowd.any()
    assert (data.read_image(0) == cv2.imread(str(data.image_path(0)))[..., ::-1]).all()


def test_cityscapes_jobs_without_splits_leave_out_test(shared: Path, tmp_path: Path) -> None:
    source = shared / "data/layouts/cityscapes_tiny/train_dataset"
    assert [job.title for job in cityscapes_jobs(source, tmp_path)] == ["train", "val"]
    (test,) = cityscapes_jobs(source, tmp_path, ["test"])
    run_job(test)
    content = json.loads((tmp_path / "annotations/panoptic_test.json").read_text())
    segments = [[(one["id"], one["category_id"]) for one in entry["segments_info"]] for entry in content["annotations"]]
    assert [image["id"] for image in content["images"]] == [1, 2]
    assert segments == [[(27001, 27), (27002, 27)], [(12, 12), (31001, 31)]]


def test_cityscapes_panoptic_job_on_official_file_keeps_its_segments(shared: Path, tmp_path: Path) -> None:
    source = shared / "data/layouts/cityscapes_panoptic"
    (job,) = cityscapes_panoptic_jobs(source, tmp_path)
    run_job(job)
    stated = json.loads((source / "gtFine/cityscapes_panoptic_dummy_trainId.json").read_text())["annotations"][0]
    (found,) = json.loads(job.result.read_text())["annotations"]
    expected = {
        one["id"]: (one["area"], CITYSCAPES.classes[one["category_id"]].original_id, one["iscrowd"])
        for one in stated["segments_info"]
    }
    assert {one["id"]: (one["area"], one["category_id"], one["iscrowd"]) for one in found["segments_info"]} == expected
    data = CocoPanoptic(tmp_path, "dummy")
    assert data.read_annotation(0).crowd.sum() == 1
    assert data.read_image(0).shape == (800, 800, 3)


def write_frame(folder: Path, values: np.ndarray, size: tuple[int, int]) -> None:
    for name in ("leftImg8bit/val/ulm", "gtFine/val/ulm"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "leftImg8bit/val/ulm/ulm_1_2_leftImg8bit.png"), np.zeros((*size, 3), np.uint8))
    cv2.imwrite(str(folder / "gtFine/val/ulm/ulm_1_2_gtFine_instanceIds.png"), values.astype(np.uint16))


def test_cityscapes_errors_name_the_file_or_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gtFine"):
        cityscapes_jobs(tmp_path, tmp_path / "out")
    write_frame(tmp_path, np.array([[34, 7]]), (1, 2))
    (job,) = cityscapes_jobs(tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match=r"ulm_1_2_gtFine_instanceIds.png: the value 34"):
        run_job(job)
    write_frame(tmp_path, np.array([[26, 7]]), (2, 2))
    with pytest.raises(ValueError, match=r"is 1×2 .* but its image .* is 2×2"):
        run_job(job)
    assert not job.result.exists()
    with pytest.raises(FileNotFoundError, match="gtFine/train does not exist"):
        cityscapes_jobs(tmp_path, tmp_path / "out", ["train"])


def test_cityscapes_panoptic_jobs_prefer_label_ids_and_reject_unlisted_ids(tmp_path: Path) -> None:
    write_frame(tmp_path, np.array([[7, 7]]), (1, 3))
    folder = tmp_path / "gtFine/cityscapes_panoptic_val"
    folder.mkdir()
    write_panoptic_png(folder / "a.png", np.array([[26000, 1, 9]]))
    segments = [{"id": 26000, "category_id": 26, "iscrowd": 0}, {"id": 1, "category_id": 1, "iscrowd": 0}]
    content = {"annotations": [{"image_id": "ulm_1_2", "file_name": "a.png", "segments_info": segments}]}
    folder.with_suffix(".json").write_text(json.dumps(content))
    (tmp_path / "gtFine/cityscapes_panoptic_val_trainId.json").write_text("{")
    (job,) = cityscapes_panoptic_jobs(tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match=r"a\.png .*segment id 9\b"):
        run_job(job)
    write_panoptic_png(folder / "a.png", np.array([[26000, 1, 0]]))
    run_job(job)
    annotation = CocoPanoptic(tmp_path / "out", "val").read_annotation(0)
    assert annotation.classes[annotation.ids].tolist() == [[13, 255, 255]]


def test_cityscapes_jobs_skip_hidden_files_with_a_remark(tmp_path: Path) -> None:
    for folder in ("gtFine/val/ulm", "gtFine/.ipynb_checkpoints/ulm", "gtFine/__MACOSX/ulm"):
        (tmp_path / folder).mkdir(parents=True)
        for name in ("ulm_000000_000019", "._ulm_000000_000019"):
            (tmp_path / folder / f"{name}_gtFine_instanceIds.png").write_bytes(b"x")
    (tmp_path / "gtFine/val/ulm/ulm_000000_000019_gtFine_polygons.json").write_bytes(b"{}")
    (job,) = cityscapes_jobs(tmp_path, tmp_path / "out")
    assert (job.title, [item.name for item in job.items]) == ("val", ["ulm_000000_000019"])
    assert len(job.remarks) == 1
    assert "1 hidden or system file(s) (ulm/._ulm" in job.remarks[0]
    assert "polygons" not in job.remarks[0]
