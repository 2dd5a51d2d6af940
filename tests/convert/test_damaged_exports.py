"""Damaged exports of labeling tools are converted or refused in one sentence that names a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz.mutations import damaged_json
from support.tool_exports import TOOLS, write_classes, write_export

from seamseg.convert.coco_export import read_coco_export
from seamseg.convert.cvat import cvat_jobs
from seamseg.convert.drawn import ImageFinder
from seamseg.convert.drawn_job import DrawnOptions, drawn_jobs
from seamseg.convert.job import Job, run_job
from seamseg.convert.label_studio import read_label_studio
from seamseg.convert.labelme import read_labelme
from seamseg.errors import SeamsegError

NUM_CASES = 50


def jobs_of(tool: str, folder: Path, path: Path, out: Path) -> list[Job[Any]]:
    options, finder = DrawnOptions(out, folder / "labels.yaml", without_outline="skip"), ImageFinder(folder)
    if tool == "cvat":
        return cvat_jobs(path, folder, options)
    if tool == "labelme":
        return drawn_jobs({"train": read_labelme(path, finder, out / "unpacked")}, options)
    if tool == "label-studio":
        return drawn_jobs({"train": read_label_studio(path, finder)}, options)
    return drawn_jobs({"train": read_coco_export(path, finder, "coco-annotator")}, options)


def refusal_of(tool: str, folder: Path, path: Path, out: Path) -> str | None:
    """Convert an export, and return the sentence that refuses it; None if it is converted."""
    try:
        for job in jobs_of(tool, folder, path, out):
            run_job(job, 1)
    except SeamsegError as error:
        return str(error)
    return None


@pytest.mark.parametrize("tool", TOOLS)
def test_damaged_export_is_converted_or_refused_in_one_sentence(tmp_path: Path, tool: str) -> None:
    write_export(tool, tmp_path)
    write_classes(tmp_path, "stuff: [road]\nthings: [car]")
    path = next(iter(sorted(tmp_path.rglob("*.json"))))
    content = json.loads(path.read_text())
    generator = np.random.default_rng(0)
    num_refused = 0
    for number in range(NUM_CASES):
        path.write_bytes(damaged_json(content, generator))
        refusal = refusal_of(tool, tmp_path, path, tmp_path / f"out-{number}")
        num_refused += refusal is not None
        if refusal is not None:
            assert str(tmp_path) in refusal
            assert "\n" not in refusal
            assert len(refusal) < 1000
            assert not list((tmp_path / f"out-{number}").glob("annotations/*.json"))
    assert NUM_CASES // 10 < num_refused < NUM_CASES * 9 // 10
