"""Rows of the accuracy benchmark, and what it repeats after an interruption."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.tiny_experiment import NARROW, narrow_body

from benchmarks import accuracy, accuracy_peer
from benchmarks.accuracy import FULL, QUICK, Comparison, Plan, check_conditions
from seamseg.cli import main
from seamseg.config import load_experiment, settings_file


class Programs:
    """Stand-in for the programs: a training takes 10 s and 5 s per epoch for ours, 4 s for the peer.

    Attributes:
        trained: Name and epochs of each training that ended.
        failing: Name of a training that is interrupted.
    """

    def __init__(self) -> None:
        self.trained: list[tuple[str, int]] = []
        self.settings: dict[str, list[str]] = {}
        self.failing = ""

    def execute(self, command: Sequence[object], run: Path, threads: int) -> float:
        words = [str(word) for word in command]
        if "train" not in words:
            if "--json" in words:
                scores = {"box_ap": 0.4, "mask_ap": None, "all": {"pq": 0.75}, "box": {"ap": 0.2}, "mask": {"ap": 0.1}}
                Path(words[words.index("--json") + 1]).write_text(json.dumps(scores))
            return 1.0
        if run.name == self.failing:
            raise KeyboardInterrupt
        run.mkdir()
        given = dict(word.split("=", 1) for word in words if "=" in word)
        epochs = int(given["training.epochs"])
        self.trained.append((run.name, epochs))
        self.settings[run.name] = words
        length = epochs * int(given.get("data.train_limit", FULL.num_train)) / FULL.num_train
        return 10 + length * (5 if run.name.startswith("seamseg") else 4)


TIMING = [("torchvision-timing", 1)] * 2


@pytest.fixture
def compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A comparison whose programs are stand-ins."""
    monkeypatch.setattr(accuracy, "write_scenes", lambda folder, *_, seed: folder.mkdir())

    def make(programs: Programs, minutes: float | None = None) -> Comparison:
        return Comparison(FULL, tmp_path, minutes, programs.execute)

    return make


def test_peer_gets_the_time_of_the_config(compared: Any) -> None:
    programs = Programs()
    rows = {row.slug: row for row in compared(programs).rows()}
    # Ours: 10 + 4 · 5 = 30 s; the peer: 10 + 5 · 4 s.
    assert programs.trained == [("seamseg", 4), *TIMING, ("torchvision", 5), ("seamseg-limited", 5)]
    assert (rows["cpu-time"].ours, rows["cpu-time"].peer) == pytest.approx((30 / 60, 30 / 60))
    assert rows["cpu-time"].must is None


def test_rows_have_percent_and_lower_limits(compared: Any) -> None:
    rows = {row.slug: row for row in compared(Programs()).rows()}
    box, mask, quality = (rows[slug] for slug in ("box-ap", "mask-ap", "pq-1600"))
    assert (box.ours, box.peer, box.ratio) == pytest.approx((40, 20, 2))
    assert (box.must, box.at_least, box.holds) == (1.1, True, True)
    assert "4 epochs, 0.5 CPU minutes; torchvision's Mask R-CNN" in box.measure
    assert (mask.ours, mask.peer, mask.holds) == (None, 10, False)
    assert (quality.ours, quality.peer) == (75, 62.5)
    assert (quality.must, quality.aim, quality.holds) == (1.15, 1.25, True)
    assert "1600 steps (5 epochs of the first 320 scenes)" in quality.measure
    assert "recorded, not measured" in quality.measure


@pytest.mark.parametrize(
    ("minutes", "ours", "peer"),
    [(0.9, 20, 25), (0.3, 5, 6), (0.01, 1, 1)],  # 108 s: 20 epochs in 110 s, 25 of the peer in the same time
)
def test_minutes_are_those_of_both_cores(compared: Any, minutes: float, ours: int, peer: int) -> None:
    programs = Programs()
    compared(programs, minutes).rows()
    trained = dict(programs.trained)
    assert trained["seamseg"] == ours
    assert trained["torchvision"] == peer
    assert programs.trained[:2] == [("seamseg-timing", 1)] * 2


def test_both_sides_get_the_same_settings(compared: Any) -> None:
    programs = Programs()
    compared(programs).rows()
    first, second = ({w for w in programs.settings[name] if "=" in w} for name in ("seamseg", "torchvision"))
    assert {word.split("=")[0] for word in first ^ second} == {"training.epochs"}
    assert any(word.startswith("data.root=") for word in first)
    assert "data.train_limit=320" in programs.settings["seamseg-limited"]


def test_interrupted_comparison_continues_with_the_unfinished_training(compared: Any) -> None:
    programs = Programs()
    programs.failing = "torchvision"
    with pytest.raises(KeyboardInterrupt):
        compared(programs).rows()
    assert programs.trained == [("seamseg", 4), *TIMING]
    again = Programs()
    rows = compared(again).rows()
    assert again.trained == [("torchvision", 5), ("seamseg-limited", 5)]
    assert compared(Programs()).rows() == rows


def test_training_for_pq_has_1600_steps_of_the_config() -> None:
    experiment = load_experiment(settings_file(accuracy_peer.CONFIG))
    assert experiment.data.train_batch_size == experiment.training.accumulate == 1
    assert FULL.limited_scenes * FULL.limited_epochs == 1600
    assert FULL.limited_scenes <= FULL.num_train


def test_folder_of_other_conditions_is_refused(tmp_path: Path) -> None:
    options = Namespace(runs=tmp_path / "runs", minutes=None)
    for _ in range(2):
        check_conditions(options)
    with pytest.raises(SystemExit, match=r"runs has trainings of another machine, version or length"):
        check_conditions(Namespace(runs=tmp_path / "runs", minutes=5.0))


def test_quick_plan_trains_and_scores_both_sides(tmp_path: Path) -> None:
    def execute(command: Sequence[object], run: Path, threads: int) -> float:
        module, *words = [str(word) for word in command][2:]
        if module == "seamseg":
            assert main(words) == 0
        else:
            accuracy_peer.main(words)
        return time.process_time()  # grows, so that the longer training takes longer

    assert (QUICK.limited_epochs, QUICK.epochs) == (1, 1)
    plan = Plan(3, 2, (64, 96), 2, 1, 1, NARROW)
    with narrow_body(16):
        rows = {row.slug: row for row in Comparison(plan, tmp_path, 0.1, execute).rows()}
    assert list(rows) == ["box-ap", "mask-ap", "cpu-time", "pq-1600"]
    for slug in ("box-ap", "mask-ap", "pq-1600"):
        assert rows[slug].ours is not None
        assert rows[slug].peer is not None
    assert rows["box-ap"].measure.count("after 1 epoch, ") == 2
