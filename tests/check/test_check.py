"""Checks of COCO panoptic data sets with one kind of damage each: exactly the expected faults are reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.tiny_dataset import TinyDataset, write_tiny_panoptic
from support.tiny_experiment import tiny_experiment

from seamseg.builders.training import _open_splits
from seamseg.check.check import check_data_set
from seamseg.check.findings import FAULT_KINDS
from seamseg.check.image import ImageChecker
from seamseg.check.repair import write_repaired
from seamseg.check.report import draw_sheet
from seamseg.check.split import ImageTask
from seamseg.data.formats.class_table import coco_classes
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.data.png import write_panoptic_png


@pytest.fixture
def tiny(tmp_path: Path) -> TinyDataset:
    """Four valid images; the first one has at least three segments, and all ids differ."""
    return write_tiny_panoptic(tmp_path / "data", images_with_crowd=[0, 1], images_with_void=[1], num_objects=6)


def counts(folder: Path) -> dict[str, int]:
    return dict(check_data_set(folder, num_workers=1).findings.counts)


def test_check_of_valid_data_set_finds_no_faults(tiny: TinyDataset) -> None:
    report = check_data_set(tiny.folder, num_workers=1)
    assert report.findings.counts == {}
    assert report.num_errors == 0
    (split,) = report.statistics.splits
    assert (split.images, split.annotated) == (4, 4)
    assert split.segments == sum(map(len, tiny.segments))
    assert split.pixels == 4 * 40 * 56
    assert split.labeled_pixels == sum(one["area"] for segments in tiny.segments for one in segments)
    assert {split.smallest_size, split.largest_size} <= {(40, 56), (56, 40)}


def test_class_statistics_match_the_entries(tiny: TinyDataset) -> None:
    rows = {row["id"]: row for row in check_data_set(tiny.folder, num_workers=1).statistics.class_rows()}
    segments = [(image, one) for image, entries in enumerate(tiny.segments) for one in entries]
    for number, row in rows.items():
        own = [(image, one) for image, one in segments if one["category_id"] == number]
        assert row["segments"] == len(own)
        assert row["images"] == len({image for image, _ in own})
        assert row["crowd"] == sum(one["iscrowd"] for _, one in own)
        assert row["pixels"] == sum(one["area"] for _, one in own)
        assert row["smallest"] == min((one["area"] for _, one in own if not one["iscrowd"]), default=0)
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1)


Content = dict[str, Any]


def of_image(content: Content, number: int) -> Content:
    """Return the annotation of an image."""
    return next(one for one in content["annotations"] if one["image_id"] == 100 + number)


def stuff(content: Content, number: int) -> Content:
    return next(one for one in of_image(content, number)["segments_info"] if one["category_id"] >= 30)


def first(content: Content) -> Content:
    found: Content = of_image(content, 0)["segments_info"][0]
    return found


JSON_FAULTS: list[tuple[Callable[[Content], Any], dict[str, int]]] = [
    (lambda c: first(c).update(area=first(c)["area"] + 1), {"wrong-area": 1}),
    (lambda c: first(c).update(area=float("nan")), {"wrong-area": 1}),
    (lambda c: first(c).update(area="many"), {"wrong-area": 1}),
    (lambda c: first(c)["bbox"].reverse(), {"wrong-box": 1}),
    (lambda c: first(c).update(bbox={"x": 1}), {"wrong-box": 1}),
    (lambda c: first(c).update(bbox=[]), {"missing-measure": 1}),
    (lambda c: first(c).pop("area"), {"missing-measure": 1}),
    (lambda c: first(c).update(category_id=77), {"unknown-category": 1}),
    (lambda c: stuff(c, 0).update(iscrowd=1), {"crowd-on-stuff": 1}),
    (lambda c: first(c).update(iscrowd=2), {"malformed-entry": 1}),
    (lambda c: first(c).pop("id"), {"malformed-entry": 1}),
    (lambda c: first(c).update(category_id="car"), {"malformed-entry": 1}),
    (lambda c: of_image(c, 0)["segments_info"].__setitem__(0, None), {"malformed-entry": 1}),
    (lambda c: of_image(c, 0)["segments_info"].pop(0), {"id-without-entry": 1}),
    (lambda c: of_image(c, 0)["segments_info"].append(dict(first(c))), {"duplicate-id": 1}),
    (
        lambda c: of_image(c, 0)["segments_info"].append({"id": 1, "category_id": 10, "iscrowd": 0}),
        {"entry-without-pixels": 1},
    ),
    (
        lambda c: of_image(c, 0)["segments_info"].append({"id": 2**24, "category_id": 10, "iscrowd": 0}),
        {"impossible-id": 1},
    ),
    (lambda c: c["annotations"].append(dict(c["annotations"][0])), {"duplicate-annotation": 1}),
    (lambda c: c["annotations"].append(c["annotations"][0] | {"image_id": 9}), {"annotation-without-image": 1}),
    (lambda c: c["annotations"].append({"image_id": 9}), {"malformed-entry": 1}),
    (lambda c: c["images"].append(dict(c["images"][0])), {"duplicate-image": 1}),
    (lambda c: c["images"].append(c["images"][0] | {"id": 9}), {"duplicate-image": 1, "image-without-annotation": 1}),
    (lambda c: c["images"].append({"id": 9, "file_name": "x.png", "height": 0, "width": 4}), {"malformed-entry": 1}),
    (lambda c: c["images"].append(c["images"][0] | {"file_name": "../x.png", "id": 9}), {"malformed-entry": 1}),
    (lambda c: c["annotations"].pop(0), {"image-without-annotation": 1, "stray-file": 1}),
    (lambda c: c["categories"].append({"id": 50, "name": "bus", "isthing": 1}), {"unused-category": 1}),
    (lambda c: c["categories"].append(dict(c["categories"][0])), {"unreadable-split": 1}),
    (lambda c: c["categories"].append({"id": 50, "name": "car", "isthing": 1}), {"unreadable-split": 1}),
    (lambda c: c.pop("images"), {"unreadable-split": 1}),
    (lambda c: c["images"][0].update(height=41), {"image-size": 1, "png-size": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "expected"), JSON_FAULTS)
def test_check_finds_each_fault_of_the_json_file(
    tiny: TinyDataset, damage: Callable[[Content], Any], expected: dict[str, int]
) -> None:
    tiny.edit_json(damage)
    assert counts(tiny.folder) == expected


def write_png(path: Path, ids: np.ndarray) -> None:
    write_panoptic_png(path, ids)


FILE_FAULTS: list[tuple[Callable[[TinyDataset], Any], dict[str, int]]] = [
    (lambda t: (t.image_folder / "000.png").unlink(), {"missing-image": 1}),
    (lambda t: (t.image_folder / "000.png").write_bytes(b"no image"), {"broken-image": 1}),
    (lambda t: (t.image_folder / "000.png").write_bytes(b""), {"broken-image": 1}),
    (
        lambda t: cv2.imwrite(str(t.image_folder / "000.png"), np.zeros((40, 55, 3), np.uint8)),
        {"image-size": 1},
    ),
    (lambda t: (t.png_folder / "000.png").unlink(), {"missing-png": 1}),
    (lambda t: (t.png_folder / "000.png").write_bytes(b""), {"broken-png": 1}),
    (lambda t: cv2.imwrite(str(t.png_folder / "000.png"), np.zeros((40, 56), np.uint8)), {"broken-png": 1}),
    (lambda t: write_png(t.png_folder / "000.png", t.ids[0][:, :-1]), {"png-size": 1}),
    (
        lambda t: write_png(t.png_folder / "000.png", np.where(t.ids[0] == t.segments[0][0]["id"], 3, t.ids[0])),
        {"id-without-entry": 1, "entry-without-pixels": 1},
    ),
    (
        lambda t: write_png(t.png_folder / "000.png", 0 * t.ids[0]),
        {"empty-image": 1, "entry-without-pixels": -1},
    ),
    (lambda t: write_png(t.png_folder / "stray.png", t.ids[0]), {"stray-file": 1}),
    (lambda t: t.json_file.write_text("{"), {"unreadable-split": 1}),
    (lambda t: t.json_file.write_text("[]"), {"unreadable-split": 1}),
]


@pytest.mark.parametrize(("damage", "expected"), FILE_FAULTS)
def test_check_finds_each_fault_of_images_and_pngs(
    tiny: TinyDataset, damage: Callable[[TinyDataset], Any], expected: dict[str, int]
) -> None:
    damage(tiny)
    expected = {kind: len(tiny.segments[0]) if number < 0 else number for kind, number in expected.items()}
    assert counts(tiny.folder) == expected


def test_truncated_jpeg_is_a_broken_image(tmp_path: Path) -> None:
    tiny = write_tiny_panoptic(tmp_path / "data", image_suffix=".jpg", num_objects=6)
    path = tiny.image_folder / "000.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    assert counts(tiny.folder) == {"broken-image": 1}


@pytest.mark.parametrize("cut", [0.3, 0.5, 0.7])
def test_jpeg_damaged_in_the_middle_is_a_broken_image(tmp_path: Path, cut: float) -> None:
    tiny = write_tiny_panoptic(tmp_path / "data", image_suffix=".jpg", num_objects=6, sizes=[(160, 240)])
    path = tiny.image_folder / "002.jpg"
    data = path.read_bytes()
    place = int(len(data) * cut)
    path.write_bytes(data[:place] + data[place + 300 :])
    report = check_data_set(tiny.folder, num_workers=1)
    assert dict(report.findings.counts) == {"broken-image": 1}
    assert "002.jpg" in report.findings.examples["broken-image"][0]


def test_twelve_bits_in_sixteen_give_a_warning(tiny: TinyDataset) -> None:
    path = tiny.image_folder / "001.png"
    assert cv2.imwrite(str(path), cv2.imread(str(path)).astype(np.uint16) * 16)
    report = check_data_set(tiny.folder, num_workers=1)
    assert (report.num_errors, dict(report.findings.counts)) == (0, {"dark-image": 1})
    assert "001.png" in report.findings.examples["dark-image"][0]


def test_images_without_things_and_empty_images_are_counted(tmp_path: Path) -> None:
    tiny = write_tiny_panoptic(tmp_path / "data", images_without_objects=[1, 2], num_objects=6)
    assert counts(tiny.folder) == {"image-without-things": 2}
    tiny.edit_json(lambda content: of_image(content, 1).update(segments_info=[]))
    write_png(tiny.png_folder / "001.png", np.zeros((56, 40), np.int32))
    assert counts(tiny.folder) == {"image-without-things": 1, "empty-image": 1}


def test_image_with_too_many_segments_is_an_error(tmp_path: Path) -> None:
    ids = np.arange(1, 65_537).reshape(256, 256)
    write_png(tmp_path / "a.png", ids)
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((256, 256, 3), np.uint8))
    segments = [
        {"id": number + 1, "category_id": 1, "iscrowd": 0, "area": 1, "bbox": [number % 256, number // 256, 1, 1]}
        for number in range(65_536)
    ]
    entries = [{"id": 1, "name": "car", "isthing": 1}, {"id": 2, "name": "road", "isthing": 0}]
    checker = ImageChecker(coco_classes(entries, tmp_path), 5)
    task = ImageTask(0, "a.jpg", tmp_path / "a.jpg", tmp_path / "a.png", (256, 256), segments)
    assert dict(checker(task).findings.counts) == {"too-many-segments": 1}
    write_png(tmp_path / "a.png", np.minimum(ids, 65_535))
    fewer = replace(task, segments=segments[:-1])
    assert "too-many-segments" not in checker(fewer).findings.counts


def test_check_compares_images_and_categories_of_splits(tmp_path: Path) -> None:
    train = write_tiny_panoptic(tmp_path / "data", num_objects=6)
    val = write_tiny_panoptic(tmp_path / "data", split="val", num_objects=6, seed=1)
    assert counts(train.folder) == {}
    (val.image_folder / "000.png").unlink()
    (val.image_folder / "000.png").symlink_to(train.image_folder / "000.png")
    val.edit_json(lambda content: content["categories"][0].update(name="lorry"))
    assert counts(train.folder) == {"shared-image": 1, "different-categories": 2}
    report = check_data_set(train.folder, ["val"], num_workers=1)
    assert report.findings.counts == {}
    with pytest.raises(ValueError, match="no split matching 'test'"):
        check_data_set(train.folder, ["test"])


Change = Callable[[Content], Any]


def every_segment(change: Callable[[Content], Any]) -> Change:
    return lambda content: [change(one) for entry in content["annotations"] for one in entry["segments_info"]]


def each(key: str, change: Callable[[Content], Any]) -> Change:
    return lambda content: [change(entry) for entry in content[key]]


ONE_CAUSE: dict[str, tuple[Change, str, str, int]] = {
    "segment id": (every_segment(lambda one: one.pop("id")), "malformed-entry", "'id'", -1),
    "category": (every_segment(lambda one: one.pop("category_id")), "malformed-entry", "'category_id'", -1),
    "crowd": (every_segment(lambda one: one.pop("iscrowd")), "malformed-entry", "'iscrowd'", -1),
    "area": (every_segment(lambda one: one.pop("area")), "missing-measure", "area", -1),
    "unknown": (every_segment(lambda one: one.update(category_id=7)), "unknown-category", "7", -1),
    "image id": (each("images", lambda one: one.pop("id")), "malformed-entry", "'id'", 4),
    "height": (each("images", lambda one: one.pop("height")), "malformed-entry", "'height'", 4),
    "image file": (each("images", lambda one: one.pop("file_name")), "malformed-entry", "'file_name'", 4),
    "PNG": (each("annotations", lambda one: one.pop("file_name")), "malformed-entry", "'file_name'", 4),
    "annotated image": (each("annotations", lambda one: one.pop("image_id")), "malformed-entry", "'image_id'", 4),
    "segments": (each("annotations", lambda one: one.pop("segments_info")), "malformed-entry", "'segments_info'", 4),
}


@pytest.mark.parametrize("what", ONE_CAUSE)
def test_fault_shared_by_all_entries_is_one_finding_with_count(tiny: TinyDataset, what: str) -> None:
    damage, kind, word, number = ONE_CAUSE[what]
    number = sum(map(len, tiny.segments)) if number < 0 else number
    tiny.edit_json(damage)
    findings = check_data_set(tiny.folder, num_workers=1).findings
    assert dict(findings.counts) == {kind: number}
    ((found, count, (description,)),) = findings.by_kind()
    assert (found.name, count, findings.num_described(kind)) == (kind, number, number)
    assert word in description
    assert f"{number} times" in description


@pytest.mark.parametrize("images", [[0], [0, 1, 2, 3]])
def test_swapped_sizes_confirmed_by_files_give_one_warning(tiny: TinyDataset, images: list[int]) -> None:
    before = check_data_set(tiny.folder, num_workers=1).to_dict()

    def swap(content: Content) -> None:
        for entry in content["images"]:
            if entry["id"] - 100 in images:
                entry["height"], entry["width"] = entry["width"], entry["height"]

    tiny.edit_json(swap)
    report = check_data_set(tiny.folder, num_workers=1)
    assert (report.num_errors, dict(report.findings.counts)) == (0, {"swapped-size": len(images)})
    assert len(report.to_dict()["faults"][0]["examples"]) == 1
    assert report.to_dict()["splits"] == before["splits"]
    assert draw_sheet(report).ndim == 3


@pytest.mark.parametrize("change", [{"color": [1, 2, 3]}, {"id": 50}, {"isthing": 0}, {"name": "bus"}, None])
def test_check_and_train_agree_on_differing_categories(tmp_path: Path, change: Content | None) -> None:
    train = write_tiny_panoptic(tmp_path / "data", num_objects=6)
    val = write_tiny_panoptic(tmp_path / "data", split="val", num_objects=6, seed=1)

    def damage(content: Content) -> None:
        number = content["categories"][0]["id"]
        content["categories"][0].update(change or {})
        if change is None:
            content["categories"].reverse()
        for entry in content["annotations"]:
            for one in entry["segments_info"]:
                same = one["category_id"] == number
                one.update(category_id=content["categories"][0]["id"] if same and change else one["category_id"])
                one.update(iscrowd=0)

    val.edit_json(damage)
    findings = check_data_set(train.folder, num_workers=1).findings
    described = [examples for kind, _, examples in findings.by_kind() if kind.name == "different-categories"]
    if change == {"color": [1, 2, 3]}:
        _open_splits(tiny_experiment(train.folder))
        assert not described
        return
    with pytest.raises(ValueError, match="have different categories") as caught:
        _open_splits(tiny_experiment(train.folder))
    assert described
    assert all(difference in str(caught.value) for difference in described[0])
    assert "'car'" in str(caught.value) or change is None


def test_repeated_faults_are_all_counted_but_few_described(tiny: TinyDataset) -> None:
    tiny.edit_json(lambda c: [one.update(area=-1) for entry in c["annotations"] for one in entry["segments_info"]])
    report = check_data_set(tiny.folder, num_workers=1, num_examples=3)
    number = sum(map(len, tiny.segments))
    assert report.findings.counts == {"wrong-area": number}
    ((kind, count, examples),) = report.findings.by_kind()
    assert (kind.name, count, len(examples)) == ("wrong-area", number, 3)
    assert examples[0].startswith("train, 000.png: segment ")
    assert report.num_errors == number
    written = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (written["errors"], written["warnings"]) == (number, 0)
    assert written["faults"][0]["severity"] == "error"
    assert [one["name"] for one in written["classes"]] == ["sky", "road", "car", "person"]


def test_report_is_equal_for_any_number_of_workers(tiny: TinyDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seamseg.io.workers.ITEMS_PER_WORKER", 1)
    tiny.edit_json(lambda c: [one.update(area=-1) for entry in c["annotations"] for one in entry["segments_info"]])
    one, two = (check_data_set(tiny.folder, num_workers=number) for number in (1, 2))
    assert one.to_dict() == two.to_dict()


def test_write_repaired_corrects_areas_and_boxes(tiny: TinyDataset, tmp_path: Path) -> None:
    whole = json.loads(tiny.json_file.read_text())

    def damage(content: Content) -> None:
        first(content).update(area=0, bbox=[])
        stuff(content, 1).pop("bbox")
        of_image(content, 2)["segments_info"].append({"id": 1, "category_id": 10, "iscrowd": 0})
        content["info"] = "stays"

    tiny.edit_json(damage)
    report = check_data_set(tiny.folder, num_workers=1)
    assert len(report.repaired) == 3
    (path,) = write_repaired(report, tmp_path / "repaired")
    repaired = json.loads(path.read_text())
    assert repaired.pop("info") == "stays"
    assert repaired == whole
    assert counts(tmp_path / "repaired") == {}
    again, data = CocoPanoptic(tmp_path / "repaired", "train"), CocoPanoptic(tiny.folder, "train")
    assert (again.read_image(1) == data.read_image(1)).all()
    with pytest.raises(ValueError, match="repaired already contains"):
        write_repaired(report, tmp_path / "repaired")


def test_check_of_coco_sample_finds_no_errors(shared: Path) -> None:
    report = check_data_set(shared / "data/coco128_panoptic")
    assert report.num_errors == 0
    assert dict(report.findings.counts) == {"image-without-things": 2, "unused-category": 4}
    assert sum(split.segments for split in report.statistics.splits) == 2189


def test_vistas_without_stuff_classes_has_no_faults(shared: Path) -> None:
    """The artificial sample has only things."""
    report = check_data_set(shared / "data/layouts/vistas", format_name="vistas_v1.2", num_workers=1)
    assert report.num_errors == 0
    assert {row["isthing"] for row in report.statistics.class_rows()} == {1}


def test_check_data_set_given_other_folders_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        check_data_set(tmp_path / "none")
    with pytest.raises(ValueError, match="is not a data set in a supported format"):
        check_data_set(tmp_path)


def test_every_kind_of_fault_occurs_in_a_test() -> None:
    provoked = {kind for _, expected in [*JSON_FAULTS, *FILE_FAULTS] for kind in expected}
    in_other_tests = {
        "too-many-segments",
        "image-without-things",
        "shared-image",
        "different-categories",
        "swapped-size",
        "dark-image",
    }
    in_other_formats = {
        "unreadable-annotation",
        "invalid-outline",
        "invalid-box",
        "outline-outside",
        "outline-without-pixels",
        "outline-missing",
        "box-differs",
    }
    assert provoked | in_other_tests | in_other_formats == set(FAULT_KINDS)


@pytest.mark.parametrize("name", [".ipynb_checkpoints/000.png", "@eaDir/000.png", "._000.png"])
def test_hidden_files_are_not_reported_as_stray(tiny: TinyDataset, name: str) -> None:
    (tiny.png_folder / name).parent.mkdir(exist_ok=True)
    (tiny.png_folder / name).write_bytes(b"x")
    assert counts(tiny.folder) == {}
