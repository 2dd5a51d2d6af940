"""Defaults of all settings, and checks that involve several groups."""

from __future__ import annotations

import re
from typing import Any

import pydantic
import pytest
from support.tiny_experiment import tiny_experiment

from seamseg.config import ClassifierExperiment, Experiment, parse_experiment, parse_settings, save_experiment

PUBLISHED = {
    "task": "panoptic",
    "norm.name": "syncbn",
    "norm.activation": "leaky_relu",
    "norm.slope": 0.01,
    "norm.scale": "abs",
    "norm.groups": 16,
    "norm.momentum": 0.1,
    "body.name": "resnet50",
    "fpn.channels": 256,
    "fpn.extra_levels": 0,
    "fpn.strides": (4, 8, 16, 32),
    "rpn.channels": 256,
    "rpn.anchor_ratios": (1.0, 0.5, 2.0),
    "rpn.anchor_scale": 8,
    "rpn.training.before_nms": 12000,
    "rpn.training.after_nms": 2000,
    "rpn.inference.before_nms": 6000,
    "rpn.inference.after_nms": 300,
    "rpn.nms_threshold": 0.7,
    "rpn.min_size": 16,
    "rpn.num_samples": 256,
    "rpn.positive_fraction": 0.5,
    "rpn.positive_threshold": 0.7,
    "rpn.negative_threshold": 0.3,
    "rpn.void_threshold": 0.7,
    "roi.fc_channels": 1024,
    "roi.mask_channels": 256,
    "roi.num_samples": 128,
    "roi.positive_fraction": 0.25,
    "roi.positive_threshold": 0.5,
    "roi.negative_low": 0,
    "roi.negative_high": 0.5,
    "roi.void_threshold": 0.7,
    "roi.background_images": False,
    "roi.masks_of_positives_only": False,
    "roi.void_is_background": False,
    "roi.nms_threshold": 0.3,
    "roi.score_threshold": 0.05,
    "roi.max_predictions": 100,
    "sem.head": "mini_deeplab",
    "sem.channels": 128,
    "sem.window": 64,
    "sem.hardest_fraction": 0.25,
    "fusion.score_threshold": 0.5,
    "fusion.overlap_threshold": 0.5,
    "fusion.min_stuff_area": 4096,
    "data.shortest_side": 1024,
    "data.longest_side": 2048,
    "data.random_scale": (0.8, 1.0),
    "data.random_flip": True,
    "data.mean": (0.485, 0.456, 0.406),
    "data.std": (0.229, 0.224, 0.225),
    "data.train_batch_size": 1,
    "data.val_batch_size": 1,
    "loss_weights.rpn_objectness": 1,
    "loss_weights.rpn_boxes": 1,
    "loss_weights.roi_classes": 1,
    "loss_weights.roi_boxes": 1,
    "loss_weights.roi_masks": 1,
    "loss_weights.semantic": 1,
    "optimizer.name": "sgd",
    "optimizer.lr": 0.01,
    "optimizer.momentum": 0.9,
    "optimizer.nesterov": True,
    "optimizer.weight_decay": 1e-4,
    "optimizer.weight_decay_norm": True,
    "schedule.name": "poly",
    "schedule.power": 0.9,
    "schedule.warmup.iterations": 500,
    "schedule.warmup.factor": 1 / 3,
    "training.epochs": 90,
}
OURS = {
    # Published: ImageNet weights, with mod1, mod2 and the norms frozen. Without weights, nothing can be frozen.
    "body.weights": None,
    "body.frozen": (),
    "body.norm_frozen": False,
    # The published system does not have these settings.
    "norm.heads": None,
    "norm.sync": "masked",
    "norm.standardize_weights": False,
    "norm.mabn.window": 16,
    "norm.mabn.momentum": 0.02,
    "norm.mabn.plain_iterations": 100,
    "norm.mabn.warmup_iterations": 1000,
    "norm.brn.max_scale": 3.0,
    "norm.brn.max_shift": 5.0,
    "norm.brn.plain_iterations": 5000,
    "norm.brn.warmup_iterations": 40000,
    "data.root": None,
    "data.format": None,
    "data.train_split": "train",
    "data.val_split": "val",
    "data.train_limit": None,
    "data.val_limit": None,
    "data.empty_images": "keep",
    "data.random_crop": None,
    "data.scale_sampling": "random",
    "data.class_sampling": "none",
    "data.repeat_threshold": 0.001,
    "rpn.border_anchors": False,
    "rpn.box_loss": "smooth_l1",
    "roi.box_loss": "smooth_l1",
    "data.crop_min_visible": 0.1,
    "data.copy_paste": 0.0,
    "data.color_jitter.brightness": 0.0,
    "data.color_jitter.contrast": 0.0,
    "data.color_jitter.saturation": 0.0,
    "data.color_jitter.hue": 0.0,
    "data.num_workers": 2,
    "data.worker_timeout": 600.0,
    "roi.box_head": "fc2",
    "roi.box_channels": 256,
    "roi.mask_head": "conv",
    "roi.mask_scoring": False,
    "roi.cascade": None,
    "loss_weights.roi_points": 1.0,
    "loss_weights.roi_mask_scores": 1.0,
    "loss.normalize": "rank",
    "loss.class_weights": None,
    "sem.focal_gamma": 0.0,
    "roi.focal_gamma": 0.0,
    "optimizer.clip_norm": None,
    "optimizer.lr_batch": None,
    "training.precision": "auto",
    "training.channels_last": "auto",
    "training.accumulate": 1,
    "training.seed": 0,
    "training.validate_every": 1,
    "training.checkpoint_every": 1,
    "training.memory": "auto",
    "training.compile_budget": 0.5,
    "training.compile": False,
    "training.keep_checkpoints": 2,
    "training.log_every": 20,
    "training.num_pictures": 4,
    "training.weight_average": None,
    "training.frozen": (),
    "init_from": (),
}


def value_of(settings: Any, key: str) -> Any:
    for name in key.split("."):
        settings = getattr(settings, name)
    return settings


def leaves(tree: dict[str, Any], prefix: str = "") -> set[str]:
    """Return the dotted keys of all values that are not groups."""
    found = set()
    for name, value in tree.items():
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name}
    return found


@pytest.mark.parametrize("key", PUBLISHED)
def test_experiment_default_equals_the_published_value(key: str) -> None:
    assert value_of(Experiment(), key) == PUBLISHED[key]


@pytest.mark.parametrize("key", OURS)
def test_experiment_default_without_published_value_is_unchanged(key: str) -> None:
    assert value_of(Experiment(), key) == OURS[key]


def test_experiment_tables_of_defaults_cover_every_setting() -> None:
    assert (set(PUBLISHED) | set(OURS)) - {"fpn.strides"} == leaves(Experiment().model_dump())


def test_experiment_empty_file_gives_the_defaults() -> None:
    assert parse_experiment("", "empty.yaml") == Experiment()


@pytest.mark.parametrize(("extra_levels", "strides"), [(1, (4, 8, 16, 32, 64)), (2, (4, 8, 16, 32, 64, 128))])
def test_pyramid_strides_follow_from_the_extra_levels(extra_levels: int, strides: tuple[int, ...]) -> None:
    assert tiny_experiment(None, f"fpn.extra_levels={extra_levels}").fpn.strides == strides


@pytest.mark.parametrize("group", [None, "data", "norm", "rpn.training", "optimizer", "schedule.warmup"])
def test_settings_assignment_is_refused(group: str | None) -> None:
    settings = value_of(Experiment(), group) if group else Experiment()
    name = next(iter(type(settings).model_fields))
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        setattr(settings, name, getattr(settings, name))


def test_settings_all_have_a_docstring() -> None:
    undocumented = []
    for group_name, group in Experiment.model_fields.items():
        kinds = getattr(group.annotation, "__args__", (group.annotation,))
        groups = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)]
        for kind in groups:
            fields = kind.model_fields.items()
            undocumented += [f"{kind.__name__}.{name}" for name, field in fields if not field.description]
        if not groups and not group.description:
            undocumented.append(group_name)
    assert undocumented == []


@pytest.mark.parametrize("setting", ["frozen=[mod1]", "norm_frozen=true"])
def test_experiment_freezing_without_weights_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=r"require body\.weights"):
        parse_experiment("", "x", [f"body.{setting}"])
    parse_experiment("", "x", [f"body.{setting}", "body.weights=imagenet"])


def test_experiment_group_norm_with_pretrained_weights_is_refused() -> None:
    with pytest.raises(ValueError, match=r"body\.weights=imagenet .* norm\.name=gn .* choose another norm"):
        parse_experiment("", "x", ["norm.name=gn", "body.weights=imagenet"])
    parse_experiment("", "x", ["norm.heads=gn", "body.weights=imagenet"])


def test_experiment_deeplab_head_without_the_semantic_task_is_refused() -> None:
    with pytest.raises(ValueError, match=r"sem\.head=deeplab .* task=panoptic .* set task=semantic"):
        parse_experiment("", "x", ["sem.head=deeplab"])
    parse_experiment("", "x", ["sem.head=deeplab", "task=semantic"])


@pytest.mark.parametrize(
    ("option", "off", "refused"),
    [
        ("roi.mask_scoring=true", "roi.mask_scoring=false", ("detection", "semantic")),
        ("roi.mask_head=pointrend", "roi.mask_head=conv", ("detection", "semantic")),
        ("roi.cascade=[0.5,0.6]", "roi.cascade=null", ("semantic",)),
        ("roi.box_head=conv4", "roi.box_head=fc2", ("semantic",)),
        ("roi.box_loss=crop_aware", "roi.box_loss=smooth_l1", ("semantic",)),
        ("rpn.box_loss=crop_aware", "rpn.box_loss=smooth_l1", ("semantic",)),
        ("rpn.border_anchors=true", "rpn.border_anchors=false", ("semantic",)),
        ("roi.focal_gamma=2", "roi.focal_gamma=0", ("semantic",)),
        ("sem.focal_gamma=2", "sem.focal_gamma=0", ("instance", "detection")),
    ],
)
def test_experiment_option_of_a_head_that_the_task_lacks_is_refused(
    option: str, off: str, refused: tuple[str, ...]
) -> None:
    tasks = "panoptic", "instance", "detection", "semantic"
    *first, last = (task for task in tasks if task not in refused)
    for task in tasks:
        if task in refused:
            with pytest.raises(ValueError, match=rf"{re.escape(option.split('=')[0])} .*, which task={task} ") as error:
                tiny_experiment(None, option, f"task={task}")
            assert f"set task={', '.join(first)} or {last}, or {off}" in str(error.value)
            tiny_experiment(None, off, f"task={task}")
        else:
            tiny_experiment(None, option, f"task={task}")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[0.7, 0.6, 0.5]", r"roi\.cascade=.*ascending order, such as \[0\.5, 0\.6, 0\.7\]"),
        ("[0.5, 0.5]", r"roi\.cascade=.*ascending order"),
        ("[0.5, 1]", r"roi\.cascade\.1=1: input should be less than 1"),
        ("[0, 0.5]", r"roi\.cascade\.0=0: input should be greater than 0"),
        ("[0.5, 60]", r"roi\.cascade\.1=60: input should be less than 1"),
        ("[.nan]", r"roi\.cascade\.0=nan: "),
        ("[]", r"roi\.cascade=.*at least 1 item"),
        ("[0.4, 0.5, 0.6, 0.7]", r"roi\.cascade=.*at most 3 items"),
        ("true", r"roi\.cascade=True: input should be a valid tuple"),
        ("0.5", r"roi\.cascade=0\.5: input should be a valid tuple"),
    ],
)
def test_experiment_cascade_without_ascending_ious_is_refused(value: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_experiment("", "x", [f"roi.cascade={value}"])


@pytest.mark.parametrize("value", [(0.5,), (0.5, 0.6, 0.7)])
def test_experiment_cascade_survives_a_file(value: tuple[float, ...]) -> None:
    experiment = tiny_experiment(None, f"roi.cascade={list(value)}")
    assert experiment.roi.cascade == value
    assert parse_experiment(save_experiment(experiment), "saved") == experiment


def test_experiment_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"task='depth'.*'panoptic', 'instance', 'detection' or 'semantic'"):
        parse_experiment("", "x", ["task=depth"])


def test_experiment_task_is_a_single_setting() -> None:
    with pytest.raises(ValueError, match=r"task.* is a single setting"):
        parse_experiment("task: semantic", "x", ["task.name=semantic"])


def test_relu_is_allowed_unless_a_norm_works_in_place() -> None:
    for name in ("plain", "gn", "affine"):
        assert tiny_experiment(None, f"norm={{name: {name}, activation: relu}}").norm.activation == "relu"
    for norm in ("{activation: relu}", "{name: plain, heads: syncbn, activation: relu}"):
        with pytest.raises(ValueError, match=r"norm\.activation='relu': relu has no inverse"):
            tiny_experiment(None, f"norm={norm}")


def test_settings_of_a_classifier_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"training\.precision=fp16 .* norm\.name=mabn"):
        parse_settings(ClassifierExperiment, "{norm: {name: mabn}, training: {precision: fp16}}", "test")
    with pytest.raises(ValueError, match=r"require body\.weights"):
        parse_settings(ClassifierExperiment, "body: {frozen: [mod1]}", "test")
    with pytest.raises(ValueError, match=r"resize=100 is less than crop=224"):
        parse_settings(ClassifierExperiment, "data: {resize: 100}", "test")
    with pytest.raises(ValueError, match=r"random_area=\[0\.5, 0\.1\]"):
        parse_settings(ClassifierExperiment, "data: {random_area: [0.5, 0.1]}", "test")
    with pytest.raises(ValueError, match=r"data\.std=.*divide values in 0 … 255 by 255"):
        parse_settings(ClassifierExperiment, "data: {std: [58, 57, 57]}", "test")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["norm.name=mabn", "body.weights=imagenet"], r"body\.weights=imagenet .* norm\.name=mabn"),
        (["norm.name=mabn", "body.weights=imagenet_v2"], r"body\.weights=imagenet_v2 .* norm\.name=mabn"),
        (["norm.name=mabn", "training.precision=fp16"], r"training\.precision=fp16 .* norm\.name=mabn"),
        (["norm.heads=mabn", "training.precision=fp16"], r"training\.precision=fp16"),
        (["norm.name=bn", "norm.standardize_weights=true"], r"norm\.standardize_weights=true .* norm\.name=bn"),
        (["training.memory=compile"], r"training\.memory=compile .* norm\.name=syncbn"),
        (["training.memory=compile", "norm.name=mabn"], r"training\.memory=compile .* norm\.name=mabn"),
        (["training.compile=true"], r"training\.compile=true .* norm\.name=syncbn"),
        (["training.compile=true", "norm={name: bn, heads: brn}"], r"training\.compile=true .* norm\.heads=brn"),
        (["training={compile: true, memory: checkpoint}", "norm.name=bn"], r"training\.memory=checkpoint"),
        (["training.compile=true", "norm={name: plain, momentum: null}"], r"norm\.momentum=null"),
        (["norm.mabn.window=0"], r"norm\.mabn\.window=0"),
        (["norm.brn.max_scale=0.5"], r"norm\.brn\.max_scale=0\.5"),
    ],
)
def test_norm_for_small_batches_with_settings_that_do_not_fit_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_experiment("", "x", overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["norm.name=mabn", "body={name: 'torchvision:mobilenet_v2', weights: imagenet}"],
        ["norm.name=mabn", "body.weights=runs/imagenet"],
        ["norm.name=mabn", "training.precision=bf16"],
        ["norm.name=brn", "training.precision=fp16", "body.weights=imagenet"],
        ["norm.heads=gn", "norm.standardize_weights=true"],
        ["norm={name: bn, heads: syncbn}", "training.memory=compile"],
        ["body={name: 'torchvision:mobilenet_v2'}", "training.memory=compile"],
        ["norm={name: bn, heads: gn}", "training.compile=true"],
        ["norm={name: affine, momentum: null}", "training.compile=true"],
    ],
)
def test_norm_for_small_batches_with_settings_that_fit_is_accepted(overrides: list[str]) -> None:
    parse_experiment("", "x", overrides)
