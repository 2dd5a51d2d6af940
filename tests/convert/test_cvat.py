"""Exports of CVAT, drawn by hand: COCO 1.0 and Segmentation mask 1.1, as folders and as zip archives."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.tool_exports import box, drawn, flat, write_classes, write_image, write_json

from seamseg.convert.cvat import cvat_jobs, unpack_archive
from seamseg.convert.drawn_job import DrawnOptions
from seamseg.convert.job import Job, run_job
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.errors import DataError, SeamsegError, SettingsError

SIZE = (4, 6)
COLORS = {"background": (0, 0, 0), "road": (128, 64, 128), "car": (0, 0, 142), "person": (220, 20, 60)}
CLASSES = "stuff: [road]\nthings: [car, person]\n"
OBJECT_COLORS = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
CLASS_ROWS = ["rrrr..", "cccpp.", "cccpp.", "rrrrrr"]
OBJECT_ROWS = ["1111..", "22344.", "22344.", "111111"]
EXPECTED = ["rrrr..", "ccCpp.", "ccCpp.", "rrrrrr"]


def options(folder: Path, **more: Any) -> DrawnOptions:
    return DrawnOptions(folder / "out", write_classes(folder, CLASSES), **more)


def run(jobs: list[Job[Any]], folder: Path) -> CocoPanoptic:
    for job in jobs:
        run_job(job, 1)
    return CocoPanoptic(folder / "out", jobs[0].title)


def write_coco(folder: Path, subsets: tuple[str, ...] = ("default",), nested: bool = False) -> Path:
    for subset in subsets:
        file_name = f"day/{subset} ä.png"
        write_image(folder / "images" / (subset if nested else "") / file_name, SIZE)
        content = {
            "images": [{"id": 1, "file_name": file_name, "height": SIZE[0], "width": SIZE[1]}],
            "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "road"}],
            "annotations": [
                {
                    "id": number,
                    "image_id": 1,
                    "category_id": category,
                    "segmentation": [flat(box(*edges))],
                    "iscrowd": 0,
                }
                for number, (category, edges) in enumerate([(2, (0, 0, 4, 6)), (1, (1, 0, 3, 2))], start=1)
            ],
        }
        write_json(folder / f"annotations/instances_{subset}.json", content)
    return folder


def colored(rows: list[str], colors: dict[str, tuple[int, int, int]]) -> np.ndarray:
    return np.array([[colors[letter] for letter in row] for row in rows], np.uint8)[..., ::-1]


def write_masks(folder: Path, names: tuple[str, ...] = ("day/a ä",), lists: bool = True) -> Path:
    lines = [f"{name}:{','.join(map(str, color))}::" for name, color in COLORS.items()]
    folder.mkdir(parents=True)
    (folder / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "\n".join(lines) + "\n")
    letters = {("." if name == "background" else name[0]): color for name, color in COLORS.items()}
    numbers = {str(number): color for number, color in enumerate(OBJECT_COLORS)} | {".": (0, 0, 0)}
    for name in names:
        write_image(folder / f"JPEGImages/{name}.jpg", SIZE)
        for part, rows, colors in (("Class", CLASS_ROWS, letters), ("Object", OBJECT_ROWS, numbers)):
            path = write_image(folder / f"Segmentation{part}/{name}.png")
            assert cv2.imwrite(str(path), colored(rows, colors))
    if lists:
        path = folder / "ImageSets/Segmentation/default.txt"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(names) + "\nnever labeled\n")
    return folder


def zipped(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder), "zip", folder))


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("archive", [False, True])
def test_coco_export_becomes_segments(tmp_path: Path, nested: bool, archive: bool) -> None:
    source = write_coco(tmp_path / "in", nested=nested)
    data = run(cvat_jobs(zipped(source) if archive else source, None, options(tmp_path)), tmp_path)
    assert drawn(data) == ["rrrrrr", "ccrrrr", "ccrrrr", "rrrrrr"]
    assert data.records[0].image_file == "day/default ä.png"
    assert data.read_image(0).shape == (*SIZE, 3)


def test_coco_subsets_become_splits(tmp_path: Path) -> None:
    source = write_coco(tmp_path / "in", ("default", "Validation"))
    jobs = cvat_jobs(source, None, options(tmp_path, split="mine"))
    assert sorted(job.title for job in jobs) == ["Validation", "mine"]
    with pytest.raises(SettingsError, match="--val-every"):
        cvat_jobs(source, None, options(tmp_path, val_every=2))


def test_images_of_an_export_without_images_come_from_another_folder(tmp_path: Path) -> None:
    source = write_coco(tmp_path / "in")
    (source / "images").rename(tmp_path / "pictures")
    with pytest.raises(DataError, match=r"day/default ä\.png'; .*--image-folder"):
        cvat_jobs(source, None, options(tmp_path))
    assert len(run(cvat_jobs(source, tmp_path / "pictures", options(tmp_path)), tmp_path)) == 1


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("archive", [False, True])
def test_mask_export_becomes_segments(tmp_path: Path, lists: bool, archive: bool) -> None:
    source = write_masks(tmp_path / "in", lists=lists)
    (job,) = cvat_jobs(zipped(source) if archive else source, None, options(tmp_path))
    assert any("1 image(s) without a labeled area" in remark for remark in job.remarks) == lists
    data = run([job], tmp_path)
    assert drawn(data) == EXPECTED
    assert data.records[0].image_file == "day/a ä.jpg"


def test_gray_masks_count_labels_and_objects(tmp_path: Path) -> None:
    source = write_masks(tmp_path / "in", ("a",))
    numbers = {letter: index for index, letter in enumerate(".rcp")}
    gray = np.array([[numbers[letter] for letter in row] for row in CLASS_ROWS], np.uint8)
    assert cv2.imwrite(str(source / "SegmentationClass/a.png"), gray)
    objects = np.array([[0 if letter == "." else int(letter) for letter in row] for row in OBJECT_ROWS], np.uint8)
    assert cv2.imwrite(str(source / "SegmentationObject/a.png"), objects)
    assert drawn(run(cvat_jobs(source, None, options(tmp_path)), tmp_path)) == EXPECTED


def test_mask_export_with_unknown_color_or_number_names_the_map(tmp_path: Path) -> None:
    source = write_masks(tmp_path / "in", ("a",))
    for pixels, fact in ((np.full((*SIZE, 3), 9, np.uint8), "#090909"), (np.full(SIZE, 9, np.uint8), "number 9")):
        assert cv2.imwrite(str(source / "SegmentationClass/a.png"), pixels)
        with pytest.raises(DataError, match=rf"SegmentationClass/a\.png.*{fact}") as error:
            run(cvat_jobs(source, None, options(tmp_path)), tmp_path)
        assert "color_distance" not in str(error.value)  # a setting of classes.yaml, which this export lacks
    assert not (tmp_path / "out/annotations/panoptic_train.json").exists()


def test_mask_export_with_an_empty_split_is_refused_before_any_split_is_converted(tmp_path: Path) -> None:
    source = write_masks(tmp_path / "in", ("a",))
    (source / "ImageSets/Segmentation/later.txt").write_text("unlabeled\n")
    with pytest.raises(DataError, match="no image with a labeled area for the split later"):
        cvat_jobs(source, None, options(tmp_path))


def test_mask_export_lacking_files_is_refused(tmp_path: Path) -> None:
    source = write_masks(tmp_path / "in", ("a", "b"))
    (source / "JPEGImages/a.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 2 images .*such as 'a'; .*--image-folder"):
        cvat_jobs(source, None, options(tmp_path))
    (job,) = cvat_jobs(source, None, options(tmp_path, skip_missing=True))
    assert [item.name for item in job.items] == ["b.jpg"]
    (source / "SegmentationObject/b.png").unlink()
    with pytest.raises(DataError, match=r"SegmentationObject/b\.png"):
        run_job(job, 1)
    shutil.rmtree(source / "JPEGImages")
    with pytest.raises(DataError, match=r"without images; .*--image-folder"):
        cvat_jobs(source, None, options(tmp_path))


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("road:1,2::", ["line 1", "road:1,2::"]),
        ("road:1,2,256::\n", ["line 1"]),
        ("road:1,2,3::\ncar:1,2,3::\nperson:4,4,4::", ["car", "color"]),
        ("road:1,2,3::\ntree: x:4,4,4::\n", ["'tree: x'"]),
        ("road:1,2,3::", ["SegmentationClass", "#"]),
    ],
)
def test_wrong_label_map_is_refused(tmp_path: Path, text: str, facts: list[str]) -> None:
    source = write_masks(tmp_path / "in", ("a",))
    (source / "labelmap.txt").write_text(text)
    with pytest.raises(SeamsegError) as caught:
        run(cvat_jobs(source, None, options(tmp_path)), tmp_path)
    assert all(fact in str(caught.value) for fact in facts)


def test_list_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    source = write_masks(tmp_path / "in", ("a",))
    (source / "ImageSets/Segmentation/default.txt").write_text("../../a\n")
    with pytest.raises(DataError, match=r"default\.txt.*stay in their folder"):
        cvat_jobs(source, None, options(tmp_path))


def test_other_formats_of_cvat_are_refused_with_the_right_ones(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/annotations.xml").write_text("<annotations/>")
    with pytest.raises(DataError, match=r"COCO 1\.0.*Segmentation mask 1\.1"):
        cvat_jobs(tmp_path / "in", None, options(tmp_path))


def write_archive(path: Path, *names: str, link: bool = False) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            info = zipfile.ZipInfo(name)
            if link:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
    return path


@pytest.mark.parametrize(
    "name", ["../evil.json", "/evil.json", "a/../../evil.json", "a\\..\\..\\evil.json", "C:/evil.json"]
)
def test_archive_with_a_path_out_of_its_folder_is_refused_and_writes_nothing(tmp_path: Path, name: str) -> None:
    path = write_archive(tmp_path / "in.zip", "good.json", name)
    with pytest.raises(DataError, match=r"in\.zip.*evil\.json"):
        unpack_archive(path, tmp_path / "out/unpacked")
    assert [one.name for one in tmp_path.rglob("*")] == ["in.zip"]


def test_archive_with_links_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.json is a link"):
        unpack_archive(write_archive(tmp_path / "in.zip", "a.json", link=True), tmp_path / "unpacked")


def test_coco_file_of_an_unpacked_export_finds_its_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_coco(tmp_path / "in", nested=True)
    monkeypatch.chdir(tmp_path / "in/annotations")
    data = run(cvat_jobs(Path("instances_default.json"), None, options(tmp_path)), tmp_path)
    assert [record.image_file for record in data.records] == ["day/default ä.png"]


def test_archive_is_unpacked_once_and_only_what_is_read(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "in.zip", "annotations/a.json", "run.sh", "images/b.PNG")
    folder = unpack_archive(path, tmp_path / "unpacked")
    files = sorted(one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file())
    assert files == ["annotations/a.json", "images/b.PNG"]
    before = (folder / "images/b.PNG").stat().st_mtime_ns
    assert unpack_archive(path, tmp_path / "unpacked") == folder
    assert (folder / "images/b.PNG").stat().st_mtime_ns == before
    other = unpack_archive(write_archive(tmp_path / "in.zip", "a.json"), tmp_path / "unpacked")
    assert other != folder


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:60], lambda data: data.replace(b"passwd", b"PASSWD", 1)]
)
def test_damaged_archive_is_refused_and_leaves_nothing(tmp_path: Path, damage: Any) -> None:
    path = write_archive(tmp_path / "in.zip", "a.json")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"in\.zip cannot be unpacked"):
        unpack_archive(path, tmp_path / "unpacked")
    assert not list(tmp_path.glob("unpacked/*"))


def test_archive_larger_than_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_archive(tmp_path / "in.zip", "a.json")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(DataError, match="MiB are free"):
        unpack_archive(path, tmp_path / "unpacked")


def test_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"in\.zip"):
        unpack_archive(tmp_path / "in.zip", tmp_path)


ROAD, LEFT_CAR, RIGHT_CAR = (np.zeros((20, 30), bool) for _ in range(3))
ROAD[10:], LEFT_CAR[5:15, 3:12], RIGHT_CAR[6:12, 10:20] = True, True, True
LEFT_CAR[7:9, 5:8] = False


@pytest.mark.parametrize("kind", ["coco_instances", "voc_segmentation"])
def test_files_that_datumaro_writes_become_segments(tmp_path: Path, kind: str) -> None:
    """CVAT writes both formats with datumaro."""
    datumaro = pytest.importorskip("datumaro", reason="datumaro is not installed")
    kinds = datumaro.components.annotation
    visible = ROAD & ~LEFT_CAR & ~RIGHT_CAR, LEFT_CAR & ~RIGHT_CAR, RIGHT_CAR
    masks = [kinds.Mask(mask, label=min(place, 1), id=place + 1, group=place + 1) for place, mask in enumerate(visible)]
    colors = {name: [COLORS[name], [], []] for name in ("background", "road", "car")}
    more: dict[str, Any] = {"apply_colormap": True, "label_map": colors}
    if kind == "coco_instances":
        polygon = kinds.Polygon(flat(box(6, 10, 12, 20)), label=1, id=3, group=3)
        masks, more = [kinds.Mask(ROAD, label=0, id=1, group=1), masks[1], polygon], {}
        masks[1] = kinds.Mask(LEFT_CAR, label=1, id=2, group=2)
    image = datumaro.components.media.Image.from_numpy(np.full((20, 30, 3), 90, np.uint8))
    item = datumaro.DatasetItem("day/a ä", subset="default", media=image, annotations=masks)
    dataset = datumaro.Dataset.from_iterable([item], categories=["road", "car"])
    dataset.export(str(tmp_path / "in"), kind, save_media=True, **more)
    chosen = DrawnOptions(tmp_path / "out", write_classes(tmp_path, "stuff: [road]\nthings: [car]"))
    annotation = run(cvat_jobs(tmp_path / "in", None, chosen), tmp_path).read_annotation(0)
    assert annotation.classes.tolist() == [255, 0, 1, 1]
    assert not annotation.crowd.any()
    assert [(annotation.ids.numpy() == segment).tolist() for segment in (1, 2, 3)] == [
        mask.tolist() for mask in visible
    ]
