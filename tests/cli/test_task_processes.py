"""Networks of other tasks in processes of their own: one learns street scenes, and two processes train one together."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.command_processes import in_two_processes, run
from support.tiny_experiment import write_tiny_config, write_tiny_splits

from seamseg.runtime.log import read_metrics

LEARNING = (
    "task=semantic",
    "data.longest_side=128",
    "data.random_scale=null",
    "data.train_batch_size=4",
    "sem={channels: 32, hardest_fraction: 1}",
    "optimizer={name: adamw, lr: 0.003}",
    "training={epochs: 8, validate_every: 0, num_pictures: 0}",
)


@pytest.mark.slow
def test_semantic_network_learns_scenes_and_predicts_new_ones(tmp_path: Path) -> None:
    run("make-scenes", "scenes", *["--train", "32", "--val", "6", "--size", "64x128", "--seed", "3"], folder=tmp_path)
    config = write_tiny_config(tmp_path / "tiny.yaml", "scenes", *LEARNING)
    run("train", config.name, "--run-dir", "run", "--device", "cpu", folder=tmp_path)
    evaluate = ("evaluate", "run", "--data", "scenes", "--split", "val", "--json", "scores.json", "--device", "cpu")
    run(*evaluate, folder=tmp_path)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["pixel_accuracy"] > 0.5, "the most frequent class has less than a third of the pixels"
    assert scores["miou"] > 0.15
    assert scores["per_class"]["road"]["iou"] > 0.5
    options = ("--scales", "0.7,1,1.2", "--flip", "--merge", "mean", "--device", "cpu")
    printed, _ = run("predict", "run", "scenes/images/val", "out", *options, folder=tmp_path)
    assert "6 images segmented" in printed
    names = [category["name"] for category in json.loads((tmp_path / "out" / "categories.json").read_text())]
    maps = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted((tmp_path / "out" / "semantic").iterdir())]
    below, above = (np.concatenate([one[rows].ravel() for one in maps]) for rows in (slice(52, 64), slice(0, 12)))
    assert (below == names.index("road")).mean() > 0.5
    assert (above == names.index("road")).mean() < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "score"),
    [
        (("task=semantic",), "miou"),
        (("task=semantic", "sem.head=deeplab"), "miou"),
        (("task=instance", "fpn.extra_levels=1"), "mask_ap"),
        (("task=detection",), "box_ar100"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else value,
)
def test_network_in_two_processes_trains_and_scores_like_one(tmp_path: Path, task: tuple[str, ...], score: str) -> None:
    """No parameter is unused, which would stop several processes; the scores of both are joined."""
    data = write_tiny_splits(tmp_path / "data", num_val=3)
    overrides = (*task, "norm.name=syncbn", "training.epochs=1", "data.train_batch_size=1")
    config = write_tiny_config(tmp_path / "tiny.yaml", data, *overrides)
    in_two_processes(tmp_path, [["train", str(config), "--run-dir", str(tmp_path / "run")]] * 2)
    evaluate = ["evaluate", "run", "--data", str(data), "--split", "val", "--device", "cpu", "--json"]
    run(*evaluate, "alone.json", folder=tmp_path)
    alone, validated = json.loads((tmp_path / "alone.json").read_text()), read_metrics(tmp_path / "run")[-1]
    assert (alone["num_images"], validated["kind"]) == (3, "validation")
    part, _, figure = score.partition("_")
    assert (alone[part][figure] if figure else alone[score]) == validated[score]
