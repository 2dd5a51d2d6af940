"""Every file in configs/: its content, and one training step."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.tiny_experiment import NARROW, narrow_body, write_tiny_splits
from support.tiny_training import Watcher, tiny_trainer

from seamseg.builders import build_network
from seamseg.config import Experiment, differing_keys, known_configs, load_experiment
from seamseg.config.load import known_keys
from seamseg.runtime.training_progress import TrainingProgress

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.yaml"))
NAMES = [path.stem for path in CONFIGS]
each_config = pytest.mark.parametrize("path", CONFIGS, ids=NAMES)

PUBLISHED = ("vistas_r50", "vistas_v2_r50", "cityscapes_r50")
TASKS = {
    "coco_r50_instance": "coco_r50_1x",
    "coco_r50_detection": "coco_r50_1x",
    "cityscapes_r50_instance": "cityscapes_r50",
    "cityscapes_r50_semantic": "cityscapes_r50",
}
"""Configs of other tasks, and the panoptic config with the same data and training."""
OTHERS = (
    *("coco_r50_1x", "coco_r50_3x", "custom_r50", "scenes_r18", "coco128_overfit", "coco128_transfer"),
    *("coco128_people", "vistas_wrn38_semantic"),
    *("cityscapes_r50_plus", "vistas_r50_plus", "coco_r50_plus", "scenes_r18_best"),
)
MEAN, STD = (0.41738699, 0.45732192, 0.46886091), (0.25685097, 0.26509955, 0.29067996)
VISTAS = {
    "fpn.strides": (4, 8, 16, 32, 64, 128),
    "rpn.anchor_ratios": (0.2, 0.5, 1.0, 2.0, 5.0),
    "rpn.anchor_scale": 2,
    "roi.max_predictions": 256,
    "data.shortest_side": 1920,
    "data.longest_side": 2304,
    "data.random_scale": (0.8, 1.25),
    "schedule.milestones": (144000, 176000),
    "training.epochs": 85,
}
CITYSCAPES = {
    "fpn.strides": (4, 8, 16, 32, 64),
    "rpn.anchor_ratios": (1.0, 0.5, 2.0),
    "rpn.anchor_scale": 8,
    "roi.max_predictions": 100,
    "data.shortest_side": 1024,
    "data.longest_side": 4096,
    "data.random_scale": (0.5, 2.0),
    "schedule.milestones": (36000, 44000),
    "training.epochs": 130,
}
BOTH = {
    "norm.name": "syncbn",
    "norm.scale": "signed",
    "body.name": "resnet50",
    "body.weights": "imagenet",
    "body.frozen": ("mod1", "mod2"),
    "body.norm_frozen": False,
    "rpn.training.before_nms": 12000,
    "rpn.training.after_nms": 2000,
    "rpn.inference.before_nms": 6000,
    "rpn.inference.after_nms": 1000,
    "rpn.nms_threshold": 0.7,
    "rpn.min_size": 0,
    "rpn.void_threshold": 0.7,
    "roi.negative_low": 0,
    "roi.negative_high": 0.5,
    "roi.void_threshold": 0.7,
    "roi.num_samples": 512,
    "roi.nms_threshold": 0.5,
    "fusion.score_threshold": 0.5,
    "fusion.overlap_threshold": 0.5,
    "fusion.min_stuff_area": 4096,
    "data.random_flip": True,
    "data.train_batch_size": 1,
    "data.mean": MEAN,
    "data.std": STD,
    "optimizer.name": "sgd",
    "optimizer.lr": 0.01,
    "optimizer.momentum": 0.9,
    "optimizer.nesterov": True,
    "optimizer.weight_decay": 1e-4,
    "optimizer.weight_decay_norm": False,
    "schedule.name": "steps",
    "schedule.gamma": 0.1,
    "schedule.warmup.iterations": 200,
    "schedule.warmup.factor": 1 / 3,
}
SEMANTIC = {
    "task": "semantic",
    "sem.head": "deeplab",
    "body.name": "wide_resnet38_a2_dilated",
    "norm.name": "syncbn",
    "norm.scale": "abs",
    "norm.activation": "leaky_relu",
    "norm.slope": 0.01,
    "data.format": "vistas_v1.2",
    "data.shortest_side": 2048,
    "data.mean": MEAN,
    "data.std": STD,
}
TABLE = [
    *(("vistas_wrn38_semantic", key, value) for key, value in SEMANTIC.items()),
    *(("vistas_v2_r50", key, value) for key, value in (VISTAS | BOTH | {"data.format": "vistas_v2.0"}).items()),
    ("vistas_r50", "data.format", "vistas_v1.2"),
    ("cityscapes_r50", "data.format", None),
    *(("vistas_r50", key, value) for key, value in (VISTAS | BOTH).items()),
    *(("cityscapes_r50", key, value) for key, value in (CITYSCAPES | BOTH).items()),
]


def test_configs_are_the_known_ones() -> None:
    assert set(NAMES) == {*PUBLISHED, *OTHERS, *TASKS} == set(known_configs())


@pytest.mark.parametrize("name", TASKS)
def test_config_of_another_task_differs_from_the_panoptic_one_only_in_the_task_and_its_heads(name: str) -> None:
    own, panoptic = (load_experiment(CONFIGS[NAMES.index(one)]) for one in (name, TASKS[name]))
    assert own.task == name.rpartition("_")[2]
    unused = ("rpn.", "roi.", "fpn.extra_levels") if own.task == "semantic" else ("sem.",)
    assert {key for key in differing_keys(own, panoptic) if not key.startswith(unused)} <= {"task", "data.format"}


def test_coco_3x_config_differs_from_1x_only_in_length_and_scale() -> None:
    short, long = (load_experiment(CONFIGS[NAMES.index(f"coco_r50_{times}")]) for times in ("1x", "3x"))
    assert differing_keys(short, long) == ["data.random_scale", "schedule.milestones", "training.epochs"]
    steps = 118287 // (8 * short.data.train_batch_size)
    assert [round(step / steps, 6) for step in (*short.schedule.milestones, *long.schedule.milestones)] == [
        8,
        11,
        28,
        33,
    ]
    assert long.training.epochs == 3 * short.training.epochs


@each_config
def test_config_with_imagenet_weights_uses_the_signed_scale(path: Path) -> None:
    experiment = load_experiment(path)
    assert experiment.body.weights is None or experiment.norm.scale == "signed"


def test_configs_readme_lists_every_config() -> None:
    text = (CONFIGS[0].parent / "README.md").read_text()
    assert [name for name in NAMES if f"| `{name}` |" not in text] == []


@pytest.mark.parametrize(("name", "key", "value"), TABLE, ids=[f"{name}-{key}" for name, key, _ in TABLE])
def test_published_config_has_the_published_value(name: str, key: str, value: Any) -> None:
    found: Any = load_experiment(CONFIGS[NAMES.index(name)])
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


@each_config
def test_config_starts_with_its_command_and_expected_score(path: Path) -> None:
    command, expected = path.read_text().splitlines()[:2]
    assert re.search(rf"^# .*seamseg train {path.stem} data.root=[\w/]+ --run-dir runs/\w+$", command)
    assert re.search(r"^# Hardware: .+\. (Expected|Published score)", expected)


@each_config
def test_config_has_no_values_that_yaml_reads_as_booleans(path: Path) -> None:
    scalars = [token.value for token in yaml.scan(path.read_text()) if isinstance(token, yaml.ScalarToken)]
    assert not [value for value in scalars if value.lower() in ("on", "off", "yes", "no", "y", "n")]


def test_settings_have_no_choices_that_yaml_reads_as_booleans() -> None:
    schema = Experiment.model_json_schema()
    choices = re.findall(r'"(?:enum|const)": (\[[^]]*\]|"[^"]*")', str(schema).replace("'", '"'))
    assert choices
    assert not re.search(r'"(on|off|yes|no|y|n|true|false|null)"', " ".join(choices), re.IGNORECASE)


@each_config
def test_config_contains_only_known_keys(path: Path) -> None:
    keys = set(known_keys(Experiment))
    content = yaml.safe_load(path.read_text())
    groups = {group: settings for group, settings in content.items() if isinstance(settings, dict)}
    assert set(content) - set(groups) <= {"task"}
    assert {f"{group}.{key}" for group, settings in groups.items() for key in settings} <= keys


@each_config
def test_config_builds_a_network(path: Path) -> None:
    experiment = load_experiment(path)
    with torch.device("meta"):
        network = build_network(experiment, 28, 37)
    assert all(parameter.is_meta for parameter in network.parameters())
    state = network.state_dict()
    has_things, has_pixels = experiment.task != "semantic", experiment.task in ("panoptic", "semantic")
    if has_pixels:
        assert state["cls.weight" if experiment.sem.head == "deeplab" else "sem_head.conv_sem.weight"].shape[0] == 65
    if has_things:
        assert state["roi_head.roi_cls.weight"].shape == (38, experiment.roi.fc_channels)
    assert ("sem_head.conv_sem.weight" in state or "cls.weight" in state) == has_pixels
    assert ("roi_head.roi_msk.weight" in state) == (experiment.task in ("panoptic", "instance"))


def test_config_with_the_largest_backbone_builds() -> None:
    experiment = load_experiment(CONFIGS[NAMES.index("vistas_r50")], ["body.name=resnet152"])
    with torch.device("meta"):
        network = build_network(experiment, 28, 37)
    # torchvision's network of that name has 60 192 808 parameters, 2 049 000 of them in its classifier.
    assert sum(parameter.numel() for parameter in network.body.backbone.parameters()) == 60192808 - 2049000


REDUCED = (
    *(override for override in NARROW if not override.startswith("body")),
    "body.weights=null",
    "data.format=null",
    "body.frozen=[]",
    "body.norm_frozen=false",
    "data.train_split=train",
    "data.val_split=val",
    "data.train_batch_size=2",
    "training.epochs=1",
    "training.validate_every=0",
    "training.log_every=1",
)


@each_config
def test_config_trains_one_step_at_reduced_size(path: Path, tmp_path: Path) -> None:
    data = write_tiny_splits(tmp_path / "data", num_train=2)
    experiment = load_experiment(path, [*REDUCED, f"data.root={data}"])
    with narrow_body(channels=16):
        trainer = tiny_trainer(experiment, tmp_path / "run")
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    watcher = Watcher(trainer)
    position = trainer.run(TrainingProgress(), watcher, watcher.stop)
    assert (position.epoch, position.iteration, position.best_quality) == (1, 1, 0.5)
    assert all(math.isfinite(value) for value in watcher.losses[1].values())
    after = trainer.network.state_dict()
    body = next(name for name in before if name.startswith("body.") and name.endswith(".weight"))
    head = "sem_head.conv_sem.weight"
    if experiment.sem.head == "deeplab":
        head = "cls.weight"
    elif experiment.task in ("instance", "detection"):
        head = "roi_head.roi_cls.weight"
    assert not torch.equal(before[head], after[head])
    assert not torch.equal(before[body], after[body])
