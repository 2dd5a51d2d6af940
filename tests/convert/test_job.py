"""Conversion jobs that are interrupted, repeated, or run in several processes."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.tiny_dataset import write_tiny_panoptic

from seamseg.convert import job as job_module
from seamseg.convert.from_panoptic import to_detection_job, to_semantic_job
from seamseg.convert.job import ConversionSummary, Job, run_job
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.io import workers
from seamseg.io.journal import ItemOutput

NUMBER = 9


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_panoptic(tmp_path_factory.mktemp("job") / "data", num_images=NUMBER).folder


def semantic(source: Path, out: Path) -> Job[Any]:
    return to_semantic_job(CocoPanoptic(source, "train"), "train", out)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_run_job_writes_same_bytes_with_any_number_of_workers(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "ITEMS_PER_WORKER", 1)
    for number in (1, 3):
        run_job(semantic(source, tmp_path / str(number)), number)
        run_job(to_detection_job(CocoPanoptic(source, "train"), "train", tmp_path / str(number)), number)
    assert contents(tmp_path / "1") == contents(tmp_path / "3")
    assert len(contents(tmp_path / "1")) == NUMBER + 2


class _Interrupted(Exception):
    pass


def interrupt_after(number: int) -> Any:
    def progress(done: int) -> None:
        if done == number:
            raise _Interrupted

    return progress


def test_run_job_after_interruption_resumes(source: Path, tmp_path: Path) -> None:
    run_job(semantic(source, tmp_path / "whole"))
    job = semantic(source, tmp_path / "out")
    with pytest.raises(_Interrupted):
        run_job(job, on_progress=interrupt_after(4))
    assert not job.result.exists()
    seen: list[int] = []
    assert run_job(job, on_progress=seen.append) == ConversionSummary(NUMBER, num_kept=4)
    assert seen == [4, 5, 6, 7, 8, 9]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert run_job(job) == ConversionSummary(NUMBER, complete_already=True)


def journal_of(job: Job[Any]) -> Path:
    return job.result.with_name(f".{job.result.name}.journal")


@pytest.mark.parametrize("damage", ["torn", "garbage", "file gone", "file cut", "source changed"])
def test_run_job_after_damage_repeats_affected_items(source: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "data"
    shutil.copytree(source, folder)
    run_job(semantic(folder, tmp_path / "whole"))
    job = semantic(folder, tmp_path / "out")
    with pytest.raises(_Interrupted):
        run_job(job, on_progress=interrupt_after(4))
    journal, first = journal_of(job), tmp_path / "out/annotations/semantic_train/000.png"
    kept = 3
    if damage == "torn":
        journal.write_bytes(journal.read_bytes()[:-7])
    elif damage == "garbage":
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join([*lines[:3], b"\x00\x00\n", *lines[4:]]))
        kept = 2
    elif damage == "file gone":
        first.unlink()
    elif damage == "file cut":
        first.write_bytes(b"")
    else:
        os.utime(folder / "annotations/panoptic_train/000.png", (1, 1))
    assert run_job(job).num_kept == kept
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_run_job_ignores_journal_of_another_job(source: Path, tmp_path: Path) -> None:
    data = CocoPanoptic(source, "train")
    with pytest.raises(_Interrupted):
        run_job(to_detection_job(data, "train", tmp_path, with_stuff=True), on_progress=interrupt_after(4))
    assert run_job(to_detection_job(data, "train", tmp_path)).num_kept == 0


def test_run_job_keeps_result_of_another_conversion_unless_overwrite(source: Path, tmp_path: Path) -> None:
    data = CocoPanoptic(source, "train")
    run_job(to_detection_job(data, "train", tmp_path))
    other = to_detection_job(data, "train", tmp_path, with_stuff=True)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"instances_train\.json already exists .*--overwrite"):
        run_job(other)
    assert contents(tmp_path) == before
    assert run_job(other, overwrite=True) == ConversionSummary(NUMBER)
    assert run_job(other) == ConversionSummary(NUMBER, complete_already=True)


def test_run_job_while_another_process_converts_raises(source: Path, tmp_path: Path) -> None:
    job = semantic(source, tmp_path)
    job.result.parent.mkdir(parents=True)
    with journal_of(job).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process"):
            run_job(job)
    run_job(job)


def test_run_job_with_failed_images_keeps_the_others(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(source, folder)
    broken = [folder / f"annotations/panoptic_train/00{number}.png" for number in (2, 5)]
    whole = [path.read_bytes() for path in broken]
    job = semantic(folder, tmp_path / "out")
    for path in broken:
        path.write_bytes(b"")
    messages: list[str] = []
    with pytest.raises(ValueError, match=r"2 images cannot be converted.*002\.png .*the others are kept"):
        run_job(job, on_failure=messages.append)
    assert [Path(sentence.split()[0]) for sentence in messages] == broken
    broken[1].write_bytes(whole[1])
    with pytest.raises(ValueError, match=r"002\.png .*the other images are kept"):
        run_job(job)
    assert not job.result.exists()
    broken[0].write_bytes(whole[0])
    assert run_job(job).num_kept == NUMBER - 1


def test_run_job_with_many_failures_stops(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "MOST_FAILURES", 3)
    folder = tmp_path / "data"
    shutil.copytree(source, folder)
    job = semantic(folder, tmp_path / "out")
    shutil.rmtree(folder / "annotations/panoptic_train")
    messages: list[str] = []
    with pytest.raises(ValueError, match="3 images"):
        run_job(job, on_failure=messages.append)
    assert len(messages) == 3


def test_run_job_without_images_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"val: .*no images .*a\.json"):
        run_job(Job("val", "", tmp_path / "a.json", {}, [], print))  # type: ignore[arg-type]


@pytest.mark.slow
def test_run_job_when_killed_never_leaves_a_partial_result(tmp_path: Path) -> None:
    """The conversion is killed at different times; in the end, it gives the same bytes as an uninterrupted one."""
    source = write_tiny_panoptic(tmp_path / "data", num_images=90, sizes=[(100, 150)]).folder
    command = [sys.executable, "-m", "seamseg", "convert", "to-semantic", str(source)]
    root = Path(__file__).resolve().parents[2]
    result = tmp_path / "out/annotations/semantic_train.json"
    for pictures in (5, 60):
        with subprocess.Popen(
            [*command, str(tmp_path / "out"), "--workers", "2"],
            cwd=root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            while process.poll() is None and len(list(result.with_suffix("").glob("*.png"))) < pictures:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        assert not result.exists() or len(json.loads(result.read_text())["images"]) == 90
    for out in ("out", "whole"):
        run_job(semantic(source, tmp_path / out))
    found, expected = contents(tmp_path / "out"), contents(tmp_path / "whole")
    assert {name for name in found if ".journal" not in name} == set(expected)
    assert all(found[name] == expected[name] for name in expected)


def test_run_job_given_unreadable_names_raises_before_converting(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Named:
        name: str
        sources: tuple[Path, ...] = ()

    def convert(item: Named) -> ItemOutput:
        raise AssertionError("no item must be converted")

    for name in ("a\tb.jpg", "a\nb.jpg", "caf\udce9.jpg"):
        items = [Named("fine.jpg"), Named(name)]
        job = Job("train", "", tmp_path / "out" / "train.json", {}, items, convert)
        with pytest.raises(ValueError, match="rename") as caught:
            run_job(job)
        assert repr(name) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_run_job_given_duplicate_names_raises_before_converting(source: Path, tmp_path: Path) -> None:
    job = semantic(source, tmp_path / "out")
    twin = dataclasses.replace(job.items[0], index=1, annotation=job.items[1].annotation)
    with pytest.raises(ValueError, match=r"000\.png and .*001\.png .*000\.png"):
        run_job(dataclasses.replace(job, items=[job.items[0], twin]))
    assert not (tmp_path / "out").exists()
