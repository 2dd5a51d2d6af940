"""Results folder: which runs may use it, which images are finished, and its JSON files."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from seamseg.io.files import part_path
from seamseg.io.journal import ItemOutput
from seamseg.io.workers import ordered_map
from seamseg.predict.images import InputImage
from seamseg.predict.results_folder import ResultsFolder
from seamseg.structures import Categories, Category, Unreadable

CATEGORIES = Categories((Category("sky", False, (1, 2, 3), 7), Category("car", True, (4, 5, 6), 9)))


def input_images(folder: Path, number: int) -> list[InputImage]:
    (folder / "images").mkdir(exist_ok=True)
    found = [InputImage(f"{n}", f"{n}.jpg", folder / "images" / f"{n}.jpg") for n in range(number)]
    for one in found:
        one.path.write_bytes(b"x" * 10)
    return found


def opened(path: Path, fingerprint: str = "a", rank: int = 0, kinds: tuple[str, ...] = ("panoptic",)) -> ResultsFolder:
    return ResultsFolder(path, kinds, CATEGORIES, fingerprint, rank)  # type: ignore[arg-type]


def write(folder: ResultsFolder, image: InputImage) -> None:
    file = folder.path / "panoptic" / f"{image.name}.png"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(image.name.encode())
    images, annotations = [{"file_name": image.file_name}], [{"file_name": file.name, "segments_info": []}]
    instances = [{"score": 0.5}, {"score": 0.25}]
    entries = {"images": images, "annotations": annotations, "instances": instances}
    folder.note(image, ItemOutput((file,), entries))


def joined_ranks(path: Path, images: list[InputImage], num_ranks: int) -> list[ResultsFolder]:
    """Open a new results folder on several ranks."""
    ranks = [opened(path, rank=rank) for rank in range(num_ranks)]
    ranks[0].begin("new", images)
    for folder in ranks:
        folder.join()
    return ranks


def numbers(path: Path) -> dict[str, int]:
    return {image["file_name"]: image["id"] for image in json.loads((path / "panoptic.json").read_text())["images"]}


def test_resume_after_changed_files_returns_only_unchanged_images(tmp_path: Path) -> None:
    images, path = input_images(tmp_path, 4), tmp_path / "out"
    folder = opened(path)
    assert folder.begin("new", images) == set()
    for image in images[:3]:
        write(folder, image)
    folder.close()
    (path / "panoptic" / "1.png").unlink()
    images[2].path.write_bytes(b"another")
    again = opened(path)
    assert again.begin("resume", images) == {"0"}
    for image in images[1:]:
        write(again, image)
    again.finish(images, [], {"image_folder": "/x"})
    again.close()
    content = json.loads((path / "panoptic.json").read_text())
    assert content["info"] == {"image_folder": "/x"}
    assert content["categories"] == CATEGORIES.to_list()
    assert [entry["image_id"] for entry in content["annotations"]] == [1, 2, 3, 4]
    assert numbers(path) == {"0.jpg": 1, "1.jpg": 2, "2.jpg": 3, "3.jpg": 4}
    complete = opened(path)
    assert complete.begin("resume", images) == {"0", "1", "2", "3"}
    assert not (path / "panoptic.json").exists()  # it is only written once all images of the new run are finished
    complete.close()


def test_finish_with_several_ranks_writes_one_json_file(tmp_path: Path) -> None:
    images, path = input_images(tmp_path, 5), tmp_path / "out"
    ranks = joined_ranks(path, images, 3)
    for rank, folder in enumerate(ranks):
        for image in images[rank::3]:
            write(folder, image)
    for folder in ranks[1:]:
        folder.close()
    ranks[0].finish(images, [], {})
    ranks[0].close()
    assert numbers(path) == {f"{n}.jpg": n + 1 for n in range(5)}
    assert [entry.name for entry in path.glob(".*")] == [".predictions.journal"]


def test_resume_after_killed_ranks_keeps_the_images_of_all_ranks(tmp_path: Path) -> None:
    images, path = input_images(tmp_path, 5), tmp_path / "out"
    for rank, folder in enumerate(joined_ranks(path, images, 2)):
        write(folder, images[rank])
        folder.close()
    single = opened(path)
    assert single.begin("resume", images) == {"0", "1"}
    single.close()


def test_begin_removes_temporary_files_of_killed_processes(tmp_path: Path) -> None:
    images, path = input_images(tmp_path, 1), tmp_path / "out"
    (rank,) = joined_ranks(path, images, 1)
    write(rank, images[0])
    rank.close()
    (path / "overlay" / "deep").mkdir(parents=True)
    left = [part_path(path / "panoptic.json", unique=True), part_path(path / "overlay" / "deep" / "gone.jpg")]
    for part in left:
        part.write_bytes(b"x")
    foreign = part_path(path / "report", unique=True)
    foreign.mkdir()
    again = opened(path)
    assert again.begin("resume", images) == {"0"}
    again.close()
    assert not any(part.exists() for part in left)
    assert foreign.is_dir()


def test_note_from_several_threads_records_every_image(tmp_path: Path) -> None:
    images, path = input_images(tmp_path, 200), tmp_path / "out"
    (folder,) = joined_ranks(path, images, 1)
    assert len(list(ordered_map(lambda image: write(folder, image), images, threads=4, ahead=8))) == 200
    folder.close()
    again = opened(path)
    assert len(again.begin("resume", images)) == 200
    again.close()


def test_finish_with_instances_and_unreadable_images_writes_their_json_files(tmp_path: Path) -> None:
    images, path = input_images(tmp_path, 2), tmp_path / "out"
    folder = opened(path, kinds=("semantic", "instances"))
    folder.begin("new", images)
    for image in images:
        write(folder, image)
    folder.finish(images, [Unreadable("ö.jpg", "ö.jpg is an empty file")], {})
    folder.close()
    assert [entry["image_id"] for entry in json.loads((path / "instances.json").read_text())] == [1, 1, 2, 2]
    assert json.loads((path / "errors.json").read_text())[0]["file_name"] == "ö.jpg"
    assert json.loads((path / "categories.json").read_text()) == CATEGORIES.to_list()
    assert not (path / "panoptic.json").exists()


@pytest.fixture
def used(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "out"
    path.mkdir()
    (path / "letter.txt").write_text("dear")
    yield path
    assert (path / "letter.txt").read_text() == "dear"


def test_begin_in_a_folder_with_other_files_refuses_and_keeps_them(used: Path, tmp_path: Path) -> None:
    images = input_images(tmp_path, 1)
    with pytest.raises(ValueError, match="out is not empty; pass --overwrite"):
        opened(used).begin("new", images)
    with pytest.raises(ValueError, match=r"out holds other files but no predictions"):
        opened(used).begin("resume", images)
    assert [path.name for path in used.iterdir()] == ["letter.txt"]
    folder = opened(used)
    assert folder.begin("overwrite", images) == set()
    folder.close()


def test_begin_with_another_fingerprint_only_overwrites(tmp_path: Path) -> None:
    images, path = input_images(tmp_path, 2), tmp_path / "out"
    folder = opened(path, "a")
    folder.begin("new", images)
    write(folder, images[0])
    folder.close()
    before = (path / ".predictions.journal").read_bytes()
    with pytest.raises(ValueError, match="another model, video or options"):
        opened(path, "b").begin("resume", images)
    with pytest.raises(ValueError, match=r"pass --resume .* --overwrite"):
        opened(path, "a").begin("new", images)
    assert (path / ".predictions.journal").read_bytes() == before
    (path / "mine.txt").write_text("x")
    other = opened(path, "b")
    assert other.begin("overwrite", images) == set()
    assert not (path / "panoptic" / "0.png").exists()
    assert (path / "mine.txt").exists()
    other.close()


def test_overwrite_with_outside_paths_in_the_journal_keeps_those_files(tmp_path: Path) -> None:
    images, path = input_images(tmp_path, 1), tmp_path / "out"
    folder = opened(path)
    folder.begin("new", images)
    precious = tmp_path / "precious.txt"
    precious.write_text("x")
    inside_out = path / ".." / "precious.txt"
    folder.note(images[0], ItemOutput((precious, inside_out), {}))
    folder.close()
    again = opened(path)
    again.begin("overwrite", images)
    again.close()
    assert precious.exists()


def test_begin_in_a_folder_of_another_process_raises(tmp_path: Path) -> None:
    first = opened(tmp_path / "out")
    first.begin("new", [])
    with pytest.raises(ValueError, match="another process is writing predictions to"):
        opened(tmp_path / "out").begin("resume", [])
    first.close()


def test_begin_on_a_path_of_a_file_raises_in_every_mode(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    for mode in ("new", "resume", "overwrite"):
        with pytest.raises(ValueError, match="out is a file"):
            opened(tmp_path / "out").begin(mode, [])  # type: ignore[arg-type]


def test_finish_with_large_entries_uses_a_tenth_of_the_file_size_in_memory(tmp_path: Path) -> None:
    """Three thousand images with entries of 4 kB each make a JSON file of 12 MB."""
    path, source = tmp_path / "out", tmp_path / "a.jpg"
    source.write_bytes(b"x")
    images = [InputImage(f"{n}", f"{n}.jpg", source) for n in range(3_000)]
    entry = {"file_name": "a", "segments_info": ["x" * 4000]}
    folder = opened(path)
    folder.begin("new", [])
    for image in images:
        folder.note(image, ItemOutput((), {"images": [{"file_name": image.file_name}], "annotations": [entry]}))
    tracemalloc.start()
    folder.finish(images, [], {})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    folder.close()
    assert (path / "panoptic.json").stat().st_size > 12e6
    assert most < 1.2e6
