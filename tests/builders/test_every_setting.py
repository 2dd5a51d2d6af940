"""Every setting has an effect: changing it changes the objects that are built."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.described_trainer import described
from support.tiny_experiment import narrow_body, tiny_experiment, write_tiny_splits
from support.tiny_training import ALONE

from seamseg.builders import build_trainer
from seamseg.config import Experiment

CHANGES = {
    "task": "semantic",
    "data.train_split": "val",
    "data.val_split": "train",
    "data.train_limit": "2",
    "data.val_limit": "1",
    "data.shortest_side": "60",
    "data.longest_side": "95",
    "data.random_scale": "null",
    "data.scale_sampling": "uniform",
    "data.class_sampling": "repeat",
    "data.repeat_threshold": "1.0",
    "data.random_flip": "false",
    "data.random_crop": "[40, 50]",
    "data.crop_min_visible": "0.3",
    "data.copy_paste": "0.3",
    "data.color_jitter.brightness": "0.1",
    "data.color_jitter.contrast": "0.2",
    "data.color_jitter.saturation": "0.3",
    "data.color_jitter.hue": "0.4",
    "data.mean": "[0.1, 0.2, 0.3]",
    "data.std": "[0.1, 0.2, 0.3]",
    "data.train_batch_size": "1",
    "data.val_batch_size": "1",
    "data.num_workers": "1",
    "data.worker_timeout": "300",
    "norm.name": "affine",
    "norm.heads": "gn",
    "norm.activation": "elu",
    "norm.slope": "0.5",
    "norm.scale": "signed",
    "norm.groups": "8",
    "norm.standardize_weights": "true",
    "norm.momentum": "0.2",
    "norm.sync": "active",
    "norm.mabn.window": "4",
    "norm.mabn.momentum": "0.1",
    "norm.mabn.plain_iterations": "7",
    "norm.mabn.warmup_iterations": "70",
    "norm.brn.max_scale": "2",
    "norm.brn.max_shift": "2",
    "norm.brn.plain_iterations": "7",
    "norm.brn.warmup_iterations": "70",
    "body.name": "resnet34",
    "fpn.channels": "32",
    "fpn.extra_levels": "1",
    "rpn.channels": "32",
    "rpn.anchor_ratios": "[1]",
    "rpn.anchor_scale": "5",
    "rpn.training": "{before_nms: 201, after_nms: 30}",
    "rpn.inference": "{before_nms: 200, after_nms: 21}",
    "rpn.nms_threshold": "0.6",
    "rpn.min_size": "1",
    "rpn.num_samples": "33",
    "rpn.positive_fraction": "0.4",
    "rpn.positive_threshold": "0.6",
    "rpn.negative_threshold": "0.2",
    "rpn.void_threshold": "0.6",
    "rpn.border_anchors": "true",
    "rpn.box_loss": "crop_aware",
    "roi.box_head": "conv4",
    "roi.box_channels": "32",
    "roi.fc_channels": "48",
    "roi.mask_channels": "32",
    "roi.mask_head": "pointrend",
    "roi.mask_scoring": "true",
    "roi.cascade": "[0.5, 0.6]",
    "roi.num_samples": "17",
    "roi.positive_fraction": "0.2",
    "roi.positive_threshold": "0.6",
    "roi.negative_low": "0.1",
    "roi.negative_high": "0.4",
    "roi.void_threshold": "0.6",
    "roi.background_images": "true",
    "roi.masks_of_positives_only": "true",
    "roi.void_is_background": "true",
    "roi.box_loss": "crop_aware",
    "roi.nms_threshold": "0.4",
    "roi.score_threshold": "0.1",
    "roi.max_predictions": "11",
    "roi.focal_gamma": "2",
    "sem.head": "deeplab",
    "sem.channels": "32",
    "sem.window": "32",
    "sem.hardest_fraction": "0.5",
    "sem.focal_gamma": "2",
    "fusion.score_threshold": "0.6",
    "fusion.overlap_threshold": "0.6",
    "fusion.min_stuff_area": "17",
    "loss_weights.rpn_objectness": "2",
    "loss_weights.rpn_boxes": "2",
    "loss_weights.roi_classes": "2",
    "loss_weights.roi_boxes": "2",
    "loss_weights.roi_masks": "2",
    "loss_weights.roi_points": "2",
    "loss_weights.roi_mask_scores": "2",
    "loss_weights.semantic": "2",
    "optimizer.lr": "0.5",
    "optimizer.weight_decay": "0.5",
    "optimizer.weight_decay_norm": "true",
    "loss.normalize": "global",
    "loss.class_weights": "{car: 2}",
    "optimizer.clip_norm": "5",
    "optimizer.lr_batch": "5",
    "optimizer.name": "adamw",
    "optimizer.momentum": "0.5",
    "optimizer.nesterov": "false",
    "schedule.name": "cosine",
    "schedule.power": "0.5",
    "schedule.warmup.iterations": "7",
    "schedule.warmup.factor": "0.5",
    "training.epochs": "3",
    "training.seed": "1",
    "training.validate_every": "2",
    "training.checkpoint_every": "2",
    "training.keep_checkpoints": "3",
    "training.log_every": "2",
    "training.num_pictures": "2",
    "training.precision": "bf16",
    "training.channels_last": "true",
    "training.memory": "checkpoint",
    "training.compile_budget": "0.3",
    "training.compile": "true",
    "training.accumulate": "2",
    "training.weight_average": "0.9",
}
ELSEWHERE = {
    "data.root": "folder that is read",
    "data.format": "format of this folder",
    "data.empty_images": "tests of open_training_split",
    "body.weights": "tests of build_initialized_network",
    "body.frozen": "tests of build_initialized_network",
    "body.norm_frozen": "tests of build_initialized_network",
    "init_from": "tests of build_initialized_network",
    "training.frozen": "tests of build_initialized_network",
}
CONDITIONS = {
    "data.scale_sampling": "data.random_scale=[0.5, 2.0]",
    "data.repeat_threshold": "data.class_sampling=repeat",
    "norm.groups": "norm.name=gn",
    "norm.standardize_weights": "norm.name=gn",
    **{key: "norm.name=mabn" for key in CHANGES if key.startswith("norm.mabn.")},
    **{key: "norm.name=brn" for key in CHANGES if key.startswith("norm.brn.")},
    "roi.box_channels": "roi.box_head=conv4",
    "training.compile_budget": "training.memory=compile",
    "sem.head": "task=semantic",
}
"""Overrides without which a setting has no effect or is refused."""


def built(experiment: Experiment, folder: Path) -> dict[str, Any]:
    with narrow_body(channels=16):
        trainer, record = build_trainer(experiment, folder, ALONE, None)
    return described(trainer, record)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_splits(tmp_path_factory.mktemp("settings") / "data")


@pytest.fixture(scope="module")
def unchanged(folder: Path) -> dict[str, Any]:
    return built(tiny_experiment(folder), folder.parent / "run")


def test_build_trainer_equal_settings_build_equal_objects(folder: Path, unchanged: dict[str, Any]) -> None:
    assert built(tiny_experiment(folder), folder.parent / "run") == unchanged
    assert len(unchanged) > 1000


@pytest.mark.parametrize("key", CHANGES)
def test_build_trainer_changed_setting_changes_the_objects(key: str, folder: Path, unchanged: dict[str, Any]) -> None:
    before = unchanged
    overrides = [f"{key}={CHANGES[key]}"]
    if key in CONDITIONS:
        overrides.append(CONDITIONS[key])
        before = built(tiny_experiment(folder, CONDITIONS[key]), folder.parent / "run")
    assert built(tiny_experiment(folder, *overrides), folder.parent / "run") != before


def test_changes_cover_every_setting() -> None:
    def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
        for name, value in tree.items():
            if isinstance(value, dict) and name not in ("training", "inference"):
                yield from leaves(value, f"{prefix}{name}.")
            elif prefix or not isinstance(value, dict):
                yield prefix + name
            else:
                yield from leaves(value, f"{name}.")

    assert set(leaves(Experiment().model_dump())) == set(CHANGES) | set(ELSEWHERE)
