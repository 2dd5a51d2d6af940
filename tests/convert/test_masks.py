"""Conversion of class maps and instance maps, checked on drawn examples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from support.odd_images import turned

from seamseg.convert.job import run_job
from seamseg.convert.masks import mask_jobs, segments_of_maps
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.data.formats.mask_classes import read_mask_classes

CLASSES = """
stuff:
  road: 1
  plants: [2, 5]
things:
  car: {pixels: 3, color: "#0000f0"}
  person: 4
void: [0, 255]
"""
CLASS_MAP = np.array([[1, 1, 2, 5], [3, 3, 3, 4], [3, 0, 255, 4]])
INSTANCE_MAP = np.array([[8, 9, 0, 0], [7, 7, 9, 7], [0, 3, 0, 7]])


def write_source(folder: Path, names: tuple[str, ...] = ("a", "b", "c", "d", "e"), classes: str = CLASSES) -> Path:
    for part in ("images", "classes", "instances"):
        (folder / part).mkdir(parents=True)
    (folder / "classes.yaml").write_text(classes)
    for name in names:
        assert cv2.imwrite(str(folder / f"images/{name}.jpg"), np.full((3, 4, 3), 90, np.uint8))
        assert cv2.imwrite(str(folder / f"classes/{name}.png"), CLASS_MAP.astype(np.uint8))
        assert cv2.imwrite(str(folder / f"instances/{name}.png"), INSTANCE_MAP.astype(np.uint16))
    return folder


def test_mask_job_on_drawn_image_gives_expected_segments(tmp_path: Path) -> None:
    (job,) = mask_jobs(write_source(tmp_path / "in", ("a",)), tmp_path / "out")
    run_job(job)
    data = CocoPanoptic(tmp_path / "out", "train")
    assert [(one.name, one.is_thing) for one in data.categories.classes] == [
        ("road", False), ("plants", False), ("car", True), ("person", True),
    ]  # fmt: skip
    assert data.categories.classes[2].color == (0, 0, 240)
    annotation = data.read_annotation(0)
    assert annotation.classes[annotation.ids].tolist() == [[0, 0, 1, 1], [2, 2, 2, 3], [2, 255, 255, 3]]
    ids = annotation.ids
    assert len(annotation.classes) == 1 + 2 + 3 + 1  # void, two stuff classes, two cars and a group of cars, one person
    assert ids[1, 0] == ids[1, 1]
    assert len({ids[1, 0], ids[1, 2], ids[2, 0], ids[1, 3]}) == 4
    assert annotation.crowd[ids].tolist() == [[False] * 4, [False] * 4, [True, False, False, False]]
    assert ids[2, 1] == ids[2, 2] == 0


def test_mask_jobs_link_or_copy_images(tmp_path: Path) -> None:
    source = write_source(tmp_path / "in", ("a",))
    for placement in ("link", "copy"):
        (job,) = mask_jobs(source, tmp_path / placement, placement=placement)
        run_job(job)
        image_path = tmp_path / placement / "images/train/a.jpg"
        assert image_path.is_symlink() == (placement == "link")
        assert image_path.read_bytes() == (source / "images/a.jpg").read_bytes()


def test_mask_jobs_with_val_every_split_off_validation_images(tmp_path: Path) -> None:
    jobs = mask_jobs(write_source(tmp_path / "in"), tmp_path / "out", val_every=2)
    assert {job.title: [item.name for item in job.items] for job in jobs} == {
        "train": ["a.jpg", "c.jpg", "e.jpg"],
        "val": ["b.jpg", "d.jpg"],
    }
    for number in (1, 6):
        with pytest.raises(ValueError, match=f"--val-every is {number}, .*number of images, 5"):
            mask_jobs(tmp_path / "in", tmp_path / "out", val_every=number)


def test_mask_jobs_given_split_folders_make_one_job_each(tmp_path: Path) -> None:
    for split in ("training", "holdout"):
        write_source(tmp_path / "in" / split, ("x", "y"))
    (tmp_path / "in/classes.yaml").write_text(CLASSES)
    jobs = mask_jobs(tmp_path / "in", tmp_path / "out")
    assert [(job.title, len(job.items)) for job in jobs] == [("holdout", 2), ("training", 2)]
    with pytest.raises(ValueError, match="--val-every"):
        mask_jobs(tmp_path / "in", tmp_path / "out", val_every=2)


def test_mask_job_reads_palette_and_color_maps_alike(tmp_path: Path) -> None:
    classes = CLASSES.replace("road: 1", "road: '#804080'").replace("[2, 5]", "['#00ff00', '#008000']")
    classes = classes.replace("pixels: 3", "pixels: '#0000ff'").replace("person: 4", "person: '#dc143c'")
    classes = classes.replace("[0, 255]", "['#000000', '#ffffff']")
    source = write_source(tmp_path / "in", ("a",), classes)
    palette = np.zeros((256, 3), np.uint8)
    for number, color in ((1, "804080"), (2, "00ff00"), (5, "008000"), (3, "0000ff"), (4, "dc143c"), (255, "ffffff")):
        palette[number] = list(bytes.fromhex(color))
    Image.fromarray(palette[CLASS_MAP]).save(source / "classes/a.png")
    (colored,) = mask_jobs(source, tmp_path / "colored")
    run_job(colored)
    (source / "classes.yaml").write_text(CLASSES)
    image = Image.fromarray(CLASS_MAP.astype(np.uint8), mode="P")
    image.putpalette(palette.tobytes())
    image.save(source / "classes/a.png")
    (indexed,) = mask_jobs(source, tmp_path / "indexed")
    run_job(indexed)
    first, second = (CocoPanoptic(tmp_path / name, "train") for name in ("colored", "indexed"))
    one, other = first.read_annotation(0), second.read_annotation(0)
    assert (one.classes[one.ids] == other.classes[other.ids]).all()
    assert first.categories.classes[3].color == (220, 20, 60)


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda folder: (folder / "classes/b.png").unlink(), r"1 image.* no map in .*classes, such as b"),
        (lambda folder: (folder / "images/b.jpg").unlink(), r"1 map.* in .*classes .*no image.*, such as b"),
        (lambda folder: (folder / "classes.yaml").unlink(), r"classes\.yaml does not exist"),
        (lambda folder: (folder / "images/a.png").write_bytes(b""), r"images/a\.jpg and .*images/a\.png .*suffix"),
        (lambda folder: (folder / "instances").rename(folder / "x"), "instances does not exist"),
        (lambda folder: (folder / "images").rename(folder / "x"), "neither images nor"),
    ],
)
def test_mask_jobs_given_incomplete_folder_raises(tmp_path: Path, change: Callable[[Path], object], fact: str) -> None:
    source = write_source(tmp_path / "in")
    change(source)
    with pytest.raises((ValueError, FileNotFoundError), match=fact):
        mask_jobs(source, tmp_path / "out")


@pytest.mark.parametrize(
    ("classes", "fact"),
    [
        ("- 1", "mapping with the keys stuff, things, void"),
        (CLASSES + "thing: {}", "unknown: thing"),
        ("stuff: {}\nthings:", "no classes under `stuff:` or `things:`"),
        ("things: 5\nstuff: {road: 1}", "no classes under `things:`"),
        (CLASSES.replace("person: 4", "person: 3"), "person: the pixel value 3 "),
        (CLASSES.replace("person: 4", "person: 0"), "void: the pixel value 0 "),
        (CLASSES.replace("person: 4", "person: #dc143c"), "person: expected .*color in quotes.*found None"),
        (CLASSES.replace("person: 4", "person: -4"), "person: expected .*found -4"),
        (CLASSES.replace("person: 4", "person: yes"), "person: expected .*found True"),
        (CLASSES.replace("person: 4", "person: {color: '#000000'}"), "'pixels' .*'color', found color"),
        (CLASSES.replace("'#0000f0'", "blue").replace('"#0000f0"', "blue"), "car: the color 'blue' .*#rrggbb"),
        (CLASSES.replace("person: 4", "road: 4"), "share the name road"),
        ("stuff: [", "not valid YAML"),
        (CLASSES.replace("person: 4", "car: 4"), r"things\.car .*lines 6 and 7"),
    ],
)
def test_read_mask_classes_given_invalid_file_raises_in_one_line(tmp_path: Path, classes: str, fact: str) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text(classes)
    with pytest.raises(ValueError, match=fact) as error:
        read_mask_classes(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_read_mask_classes_without_void_uses_0(tmp_path: Path) -> None:
    (tmp_path / "classes.yaml").write_text("stuff: {road: 1}\nthings: {car: 2}")
    assert read_mask_classes(tmp_path / "classes.yaml").class_of_value == {0: 255, 1: 0, 2: 1}


def test_segments_of_maps_given_unknown_values_counts_their_pixels(tmp_path: Path) -> None:
    (tmp_path / "classes.yaml").write_text(CLASSES)
    classes = read_mask_classes(tmp_path / "classes.yaml")
    with pytest.raises(ValueError, match=r" 6 \(1 pixel\), 9 \(1 pixel\)"):
        segments_of_maps(np.array([[1, 9, 6]], np.int32), np.zeros((1, 3), np.int32), classes)


def test_mask_job_given_maps_of_different_size_raises(tmp_path: Path) -> None:
    source = write_source(tmp_path / "in", ("a",))
    cv2.imwrite(str(source / "instances/a.png"), np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"sizes of .*classes/a\.png and .*instances/a\.png"):
        run_job(mask_jobs(source, tmp_path / "out")[0])
    for part in ("classes", "instances"):
        cv2.imwrite(str(source / f"{part}/a.png"), np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"classes/a.png is 4×4 .* its image .*a.jpg is 3×4"):
        run_job(mask_jobs(source, tmp_path / "out")[0])


def test_mask_job_orients_rotated_image_like_its_maps(tmp_path: Path) -> None:
    """One image was labeled as stored in the file, the other one as displayed."""
    source = write_source(tmp_path / "in", ("stored", "upright"))
    lying = np.repeat(np.arange(12, dtype=np.uint8).reshape(3, 4, 1) * 20, 3, axis=2)
    (source / "images/stored.jpg").write_bytes(turned(6, lying))
    (source / "images/upright.jpg").write_bytes(turned(6, np.ascontiguousarray(np.rot90(lying))))
    (job,) = mask_jobs(source, tmp_path / "out")
    run_job(job)
    data = CocoPanoptic(tmp_path / "out", "train")
    assert data.sizes == [(3, 4), (3, 4)]
    for index in range(2):
        assert abs(data.read_image(index).astype(int) - lying).mean() < 8


COLORED = "stuff: {road: '#804080'}\nthings: {car: '#0000f0'}\nvoid: ['#000000']\n"


def write_colored(folder: Path, pixels: list[list[tuple[int, ...]]], classes: str = COLORED) -> Path:
    source = write_source(folder, ("a",), classes)
    Image.fromarray(np.array(pixels, np.uint8)).save(source / "classes/a.png")
    for part, shape in (("images", (3, 4, 3)), ("instances", (3, 4))):
        suffix = "jpg" if part == "images" else "png"
        assert cv2.imwrite(str(source / f"{part}/a.{suffix}"), np.ones(shape, np.uint8))
    return source


ROAD, CAR = (0x80, 0x40, 0x80), (0, 0, 0xF0)
SOFT = [
    [ROAD, ROAD, ROAD, CAR],
    [ROAD, (0x82, 0x41, 0x80), (0x7E, 0x40, 0x83), CAR],
    [ROAD, ROAD, (0x40, 0x20, 0xB8), CAR],
]


def test_mask_job_given_unlisted_colors_reports_count_and_nearest_class(tmp_path: Path) -> None:
    source = write_colored(tmp_path / "in", SOFT)
    with pytest.raises(ValueError, match=r"classes/a\.png: ") as caught:
        run_job(mask_jobs(source, tmp_path / "out")[0])
    for fact in (
        "#824180 (1 pixel, distance 2 to road)",
        "#7e4083 (1 pixel, distance 4 to road)",
        "#4020b8",
        "color_distance: 91",
    ):
        assert fact in str(caught.value)


def test_mask_job_within_color_distance_uses_nearest_class(tmp_path: Path) -> None:
    source = write_colored(tmp_path / "in", SOFT, COLORED + "color_distance: 5\n")
    with pytest.raises(ValueError, match=r"#4020b8 \(1 pixel, distance 91 to ") as caught:
        run_job(mask_jobs(source, tmp_path / "out")[0])
    assert "#824180" not in str(caught.value)
    (source / "classes.yaml").write_text(COLORED + "color_distance: 91\n")
    run_job(mask_jobs(source, tmp_path / "out")[0])
    annotation = CocoPanoptic(tmp_path / "out", "train").read_annotation(0)
    assert annotation.classes[annotation.ids].tolist() == [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1]]


def test_mask_job_treats_transparent_pixels_as_void(tmp_path: Path) -> None:
    rows = [[(*ROAD, 255)] * 3 + [(*CAR, 255)], [(*ROAD, 255)] * 4, [(*ROAD, 0), (5, 5, 5, 0), (*CAR, 255), (*CAR, 9)]]
    run_job(mask_jobs(write_colored(tmp_path / "in", rows), tmp_path / "out")[0])
    annotation = CocoPanoptic(tmp_path / "out", "train").read_annotation(0)
    assert annotation.classes[annotation.ids].tolist() == [[0, 0, 0, 1], [0, 0, 0, 0], [255, 255, 1, 255]]


@pytest.mark.parametrize("distance", ["-1", "500", "true", "near"])
def test_read_mask_classes_given_color_distance_out_of_range_raises(tmp_path: Path, distance: str) -> None:
    (tmp_path / "classes.yaml").write_text(COLORED + f"color_distance: {distance}\n")
    with pytest.raises(ValueError, match=r"classes\.yaml: color_distance .*442"):
        read_mask_classes(tmp_path / "classes.yaml")


def test_read_mask_classes_given_color_distance_without_colors_raises(tmp_path: Path) -> None:
    (tmp_path / "classes.yaml").write_text(CLASSES + "color_distance: 3\n")
    with pytest.raises(ValueError, match="color_distance is 3"):
        read_mask_classes(tmp_path / "classes.yaml")


def test_mask_jobs_skip_hidden_files_and_accept_upper_case_suffixes(tmp_path: Path) -> None:
    source = write_source(tmp_path / "in", ("a", "b"))
    (source / "classes/a.png").rename(source / "classes/a.PNG")
    for name in ("images/._a.jpg", "classes/._a.png", "classes/.ipynb_checkpoints/a.png", "instances/@eaDir/a.png"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(b"x")
    (job,) = mask_jobs(source, tmp_path / "out")
    assert [(item.name, item.class_map.name) for item in job.items] == [("a.jpg", "a.PNG"), ("b.jpg", "b.png")]
    (remark,) = job.remarks
    assert "4 hidden" in remark
    run_job(job)


def test_mask_jobs_ignore_hidden_folders(tmp_path: Path) -> None:
    write_source(tmp_path / "in/train", ("x",))
    write_source(tmp_path / "in/__MACOSX", ("x",))
    write_source(tmp_path / "in/.trash", ("x",))
    (tmp_path / "in/classes.yaml").write_text(CLASSES)
    assert [job.title for job in mask_jobs(tmp_path / "in", tmp_path / "out")] == ["train"]


def test_mask_jobs_given_maps_in_other_formats_name_them(tmp_path: Path) -> None:
    source = write_source(tmp_path / "in", ("a",))
    (source / "classes/a.png").rename(source / "classes/a.bmp")
    with pytest.raises(ValueError, match=r"no map in .*such as a; .*PNG.*a\.bmp"):
        mask_jobs(source, tmp_path / "out")


def test_read_mask_classes_given_too_many_classes_states_the_number(tmp_path: Path) -> None:
    things = ", ".join(f"c{number}: {number + 2}" for number in range(299))
    (tmp_path / "classes.yaml").write_text(f"stuff: {{road: 1}}\nthings: {{{things}}}")
    with pytest.raises(ValueError, match=r"classes\.yaml: there are 300 categories,.*255"):
        read_mask_classes(tmp_path / "classes.yaml")
