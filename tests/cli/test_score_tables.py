"""Printing of scores."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from seamseg.cli.score_tables import print_scores
from seamseg.metrics.analysis import Confusion, analyze
from seamseg.metrics.outcomes import CASES
from seamseg.metrics.panoptic_quality import Quality
from seamseg.metrics.resampling import Interval, PQIntervals
from seamseg.metrics.scores import BoundaryQuality, ClassScores, Scores

NAN = math.nan
SCORES = Scores(
    all=Quality(0.5, 0.75, 0.625, 2),
    things=Quality(0.25, 0.7, 0.4, 1),
    stuff=Quality(0.75, 0.8, 0.9, 1),
    per_class={
        "sky": ClassScores(0.75, 0.8, 0.9, 3, 1, 2, 0.61, 0.6, 0.7, 0.6),
        "unseen": ClassScores(NAN, NAN, NAN, 0, 0, 0, NAN, NAN, NAN, NAN),
        "car": ClassScores(0.25, 0.7, 0.4, 1, 0, 4, 0.5, 0.4, 0.25, 0.2),
    },
    miou=0.555,
    miou_semantic=0.5,
    box_ap=0.123,
    mask_ap=NAN,
    pq_dagger=0.481,
    boundary=BoundaryQuality(*(Quality(pq, 0.5, 0.5, 1) for pq in (0.402, 0.2, 0.6))),
    images=(),
    analysis=replace(
        analyze([], np.zeros(0, CASES), torch.zeros(3, 4, dtype=torch.int64), ("sky", "unseen", "car"), 2),
        intervals=PQIntervals(Interval(0.4, 0.6), Interval(0.1, 0.3), Interval(0.7, 0.8)),
        confusion=Confusion(
            ("sky", "unseen", "car"), np.array([[3, 0, 2, 0], [0] * 4, [0] * 4, [0] * 4]), np.zeros((3, 4))
        ),
    ),
)


@pytest.fixture
def rows(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, list[str]], str]:
    print_scores(SCORES)
    out = capsys.readouterr().out
    table = [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if line.startswith("│")]
    return {cells[0]: cells[1:] for cells in table}, out


def test_print_scores_class_rows_are_in_percent(rows: tuple[dict[str, list[str]], str]) -> None:
    table, _ = rows
    assert table["sky"] == ["75.0", "80.0", "90.0", "61.0", "3", "1", "2"]
    assert table["car"] == ["25.0", "70.0", "40.0", "50.0", "1", "0", "4"]


def test_print_scores_means_are_in_percent(rows: tuple[dict[str, list[str]], str]) -> None:
    table, _ = rows
    assert [cell for cell in table["all (2 classes)"] if cell] == ["50.0", "75.0", "62.5", "55.5"]
    assert [cell for cell in table["things (1 classes)"] if cell] == ["25.0", "70.0", "40.0"]
    assert [cell for cell in table["stuff (1 classes)"] if cell] == ["75.0", "80.0", "90.0"]


def test_print_scores_summary_lines_follow_the_table(rows: tuple[dict[str, list[str]], str]) -> None:
    _, out = rows
    assert "mIoU of the semantic head 50.0, box AP 12.3, mask AP -" in " ".join(out.split())
    assert "PQ† 48.1, boundary PQ 40.2 (things 20.0, stuff 60.0)" in " ".join(out.split())
    assert "95% bootstrap intervals: PQ 40.0 … 60.0, things 10.0 … 30.0, stuff 70.0 … 80.0" in " ".join(out.split())
    assert "PQ by size: small -, medium -, large -" in out
    assert "most frequent confusions: sky as car (2)" in out
    assert "nan" not in out.lower()


def test_print_scores_names_with_markup_are_printed_verbatim(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("[sky]", "human[/rider]", ":car: [bold]x\\")
    per_class = dict(zip(names, [SCORES.per_class[name] for name in ("sky", "car", "car")], strict=True))
    confusion = Confusion(names, np.array([[3, 0, 2, 0], [1, 0, 0, 0], [0] * 4, [0] * 4]), np.zeros((3, 4)))
    print_scores(replace(SCORES, per_class=per_class, analysis=replace(SCORES.analysis, confusion=confusion)))
    out = capsys.readouterr().out
    rows = [line.strip("│").split("│")[0].strip() for line in out.splitlines() if line.startswith("│")]
    assert rows[:3] == list(names)
    assert f"{names[0]} as {names[2]} (2), {names[1]} as {names[0]} (1)" in " ".join(out.split())
