"""Rows of the benchmark of prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_experiment import narrow_body

from benchmarks.data_sets import SPLIT, made_up
from benchmarks.predict import rows, street_predictor
from benchmarks.predict_memory import small_predictor
from seamseg.data.images import read_image
from seamseg.predict.folder_run import FolderOutcome, predict_images


def test_rows_time_all_images_of_a_folder_without_resizing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(tmp_path / "scenes", (64, 128), num_scenes=2, enlarge=1)
    images = tmp_path / "scenes" / "images" / SPLIT
    with narrow_body():
        predictor = street_predictor((64, 128), torch.device("cpu"))
    (path, *_) = sorted(images.glob("*.jpg"))
    assert predictor.prepare(read_image(path)).shapes == (torch.Size([3, 64, 128]),)
    outcomes: list[FolderOutcome] = []

    def recorded(*given: Any) -> FolderOutcome:
        outcomes.append(predict_images(*given))
        return outcomes[-1]

    monkeypatch.setattr("benchmarks.predict.predict_images", recorded)
    limited, everything = rows(small_predictor(), images, tmp_path, 1)
    assert (limited.slug, limited.must) == ("throughput", pytest.approx(1 / 0.9))
    assert (everything.slug, everything.must) == ("throughput-all", None)
    for row in (limited, everything):
        assert row.ratio is not None
        assert "2 images of 64×128 on cpu" in row.measure
    assert {(one.num_done, one.num_kept, one.unreadable) for one in outcomes} == {(2, 0, ())}
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]
