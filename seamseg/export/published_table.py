"""The table of settings of a published ``config.ini``, and the parsers of their values."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from seamseg.errors import ModelError

LONGEST = 10_000
"""Maximum number of characters of a value. The longest value in use, a dict of five widths, has 70."""

_TRUTH = {"1": True, "yes": True, "true": True, "on": True, "0": False, "no": False, "false": False, "off": False}


def word(text: str) -> str:
    """Return a bare word unchanged."""
    return text


def whole(text: str) -> int:
    """Parse an integer.

    Raises:
        SeamsegError: The text is not an integer. Like all messages of these parsers, this one is the end of a sentence
            that starts with the setting.
    """
    try:
        return int(text)
    except ValueError:
        raise ModelError("must be an integer") from None


def number(text: str) -> float:
    """Parse a number such as ``.5``, ``3.`` or ``1e-4``."""
    try:
        return float(text)
    except ValueError:
        raise ModelError("must be a number") from None


def yes_no(text: str) -> bool:
    """Parse yes, no, true, false, on, off, 1 or 0, case-insensitively."""
    if text.lower() not in _TRUTH:
        raise ModelError("must be yes or no")
    return _TRUTH[text.lower()]


def literal(text: str) -> Any:
    """Parse a Python literal without running code; tuples become lists."""
    try:
        if len(text) > LONGEST:
            raise ValueError
        return _plain(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ModelError("must be a Python literal, such as (1, 2) or {'gamma': 0.1}") from None


def numbers(text: str) -> list[float]:
    """Parse a tuple or list of numbers."""
    values = literal(text)
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise ModelError("must be a list of numbers, such as (0.5, 1, 2)")
    return values


def table(text: str) -> dict[str, Any]:
    """Parse a dict with string keys."""
    values = literal(text)
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ModelError("must be a dict, such as {'gamma': 0.1}")
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


@dataclass(frozen=True)
class Renamed:
    """A setting that has another name in our settings.

    Attributes:
        name: Dotted name of our setting.
        read: Parser of the value.
        default: Default of the published program, as text; empty uses our default.
    """

    name: str
    read: Callable[[str], Any]
    default: str


@dataclass(frozen=True)
class Fixed:
    """A setting that we do not have, because our network always uses the default.

    Attributes:
        read: Parser of the value.
        default: The only supported value, as text.
        in_training_only: Whether other values are ignored with a note, because they do not change predictions.
    """

    read: Callable[[str], Any]
    default: str
    in_training_only: bool = False


@dataclass(frozen=True)
class Joint:
    """A setting that is translated together with others or to a different form.

    Attributes:
        read: Parser of the value.
        default: Default of the published program, as text.
    """

    read: Callable[[str], Any]
    default: str


@dataclass(frozen=True)
class Unused:
    """A setting that has no effect here.

    Attributes:
        reason: Why it has no effect, as the end of a sentence that starts with the setting.
        default: Default of the published program, as text.
    """

    reason: str
    default: str


Row = Renamed | Fixed | Joint | Unused

BODY_CHANNELS = '{"mod1": 64, "mod2": 256, "mod3": 512, "mod4": 1024, "mod5": 2048}'
BODY_STRIDES = '{"mod1": 4, "mod2": 4, "mod3": 8, "mod4": 16, "mod5": 32}'
TABLE: dict[str, Row] = {
    "general.val_interval": Renamed("training.validate_every", whole, "1"),
    "general.log_interval": Renamed("training.log_every", whole, "10"),
    "general.score_threshold": Renamed("fusion.score_threshold", number, "0.5"),
    "general.overlap_threshold": Renamed("fusion.overlap_threshold", number, "0.5"),
    "general.min_stuff_area": Renamed("fusion.min_stuff_area", whole, "4096"),
    "general.eval_mode": Unused("all scores are always computed", "panoptic"),
    "general.eval_coco": Unused("all scores are always computed", "no"),
    "general.cudnn_benchmark": Unused("it only changes the speed", "no"),
    "body.body": Renamed("body.name", word, "resnet50"),
    "body.weights": Joint(word, ""),
    "body.num_frozen": Joint(whole, "2"),
    "body.bn_frozen": Joint(yes_no, "yes"),
    "body.normalization_mode": Joint(word, "syncbn"),
    "body.activation": Renamed("norm.activation", word, "leaky_relu"),
    "body.activation_slope": Renamed("norm.slope", number, "0.01"),
    "body.gn_groups": Renamed("norm.groups", whole, "16"),
    "body.body_params": Joint(table, "{}"),
    "body.out_channels": Unused("it follows from the body", BODY_CHANNELS),
    "body.out_strides": Unused("it follows from the body", BODY_STRIDES),
    "fpn.out_channels": Renamed("fpn.channels", whole, "256"),
    "fpn.extra_scales": Renamed("fpn.extra_levels", whole, "0"),
    "fpn.out_strides": Joint(numbers, "(4, 8, 16, 32)"),
    "fpn.inputs": Fixed(literal, "['mod2', 'mod3', 'mod4', 'mod5']"),
    "fpn.interpolation": Fixed(word, "nearest"),
    "rpn.hidden_channels": Renamed("rpn.channels", whole, "256"),
    "rpn.stride": Fixed(whole, "1"),
    "rpn.anchor_ratios": Renamed("rpn.anchor_ratios", numbers, "(1., 0.5, 2.)"),
    "rpn.anchor_scale": Joint(number, "8"),
    "rpn.anchor_scales": Joint(literal, ""),
    "rpn.nms_threshold": Renamed("rpn.nms_threshold", number, "0.7"),
    "rpn.num_pre_nms_train": Renamed("rpn.training.before_nms", whole, "12000"),
    "rpn.num_post_nms_train": Renamed("rpn.training.after_nms", whole, "2000"),
    "rpn.num_pre_nms_val": Renamed("rpn.inference.before_nms", whole, "6000"),
    "rpn.num_post_nms_val": Renamed("rpn.inference.after_nms", whole, "300"),
    "rpn.min_size": Renamed("rpn.min_size", number, "16"),
    "rpn.num_samples": Renamed("rpn.num_samples", whole, "256"),
    "rpn.pos_ratio": Renamed("rpn.positive_fraction", number, ".5"),
    "rpn.pos_threshold": Renamed("rpn.positive_threshold", number, ".7"),
    "rpn.neg_threshold": Renamed("rpn.negative_threshold", number, ".3"),
    "rpn.void_threshold": Renamed("rpn.void_threshold", number, "0.7"),
    "rpn.fpn_min_level": Fixed(whole, "0"),
    "rpn.fpn_levels": Joint(whole, "4"),
    "rpn.sigma": Fixed(number, "3.", in_training_only=True),
    "roi.roi_size": Fixed(literal, "(14, 14)"),
    "roi.num_samples": Renamed("roi.num_samples", whole, "128"),
    "roi.pos_ratio": Renamed("roi.positive_fraction", number, ".25"),
    "roi.pos_threshold": Renamed("roi.positive_threshold", number, ".5"),
    "roi.neg_threshold_lo": Renamed("roi.negative_low", number, "0."),
    "roi.neg_threshold_hi": Renamed("roi.negative_high", number, ".5"),
    "roi.void_threshold": Renamed("roi.void_threshold", number, "0.7"),
    "roi.void_is_background": Renamed("roi.void_is_background", yes_no, "no"),
    "roi.nms_threshold": Renamed("roi.nms_threshold", number, "0.3"),
    "roi.score_threshold": Renamed("roi.score_threshold", number, "0.05"),
    "roi.max_predictions": Renamed("roi.max_predictions", whole, "100"),
    "roi.fpn_min_level": Fixed(whole, "0"),
    "roi.fpn_levels": Fixed(whole, "4"),
    "roi.fpn_canonical_scale": Fixed(number, "224"),
    "roi.fpn_canonical_level": Fixed(whole, "2"),
    "roi.sigma": Fixed(number, "1.", in_training_only=True),
    "roi.bbx_reg_weights": Fixed(numbers, "(10., 10., 5., 5.)"),
    "sem.fpn_min_level": Fixed(whole, "0"),
    "sem.fpn_levels": Fixed(whole, "4"),
    "sem.pooling_size": Joint(literal, "(64, 64)"),
    "sem.ohem": Renamed("sem.hardest_fraction", number, ".25"),
    "optimizer.lr": Renamed("optimizer.lr", number, "0.01"),
    "optimizer.weight_decay": Renamed("optimizer.weight_decay", number, "0.0001"),
    "optimizer.weight_decay_norm": Renamed("optimizer.weight_decay_norm", yes_no, "yes"),
    "optimizer.momentum": Renamed("optimizer.momentum", number, "0.9"),
    "optimizer.nesterov": Renamed("optimizer.nesterov", yes_no, "yes"),
    "optimizer.loss_weights": Joint(numbers, "(1., 1., 1., 1., 1., 1.)"),
    "scheduler.epochs": Renamed("training.epochs", whole, "90"),
    "scheduler.type": Joint(word, "poly"),
    "scheduler.update_mode": Joint(word, "batch"),
    "scheduler.params": Joint(table, "{'gamma': 0.9}"),
    "scheduler.burn_in_steps": Renamed("schedule.warmup.iterations", whole, "500"),
    "scheduler.burn_in_start": Renamed("schedule.warmup.factor", number, "0.333"),
    "dataloader.shortest_size": Renamed("data.shortest_side", whole, "1024"),
    "dataloader.longest_max_size": Renamed("data.longest_side", whole, "2048"),
    "dataloader.train_batch_size": Renamed("data.train_batch_size", whole, ""),
    "dataloader.val_batch_size": Renamed("data.val_batch_size", whole, ""),
    "dataloader.rgb_mean": Renamed("data.mean", numbers, "(0.485, 0.456, 0.406)"),
    "dataloader.rgb_std": Renamed("data.std", numbers, "(0.229, 0.224, 0.225)"),
    "dataloader.random_flip": Renamed("data.random_flip", yes_no, "yes"),
    "dataloader.random_scale": Renamed("data.random_scale", numbers, "(0.8, 1)"),
    "dataloader.num_workers": Renamed("data.num_workers", whole, "8"),
    "dataloader.train_set": Renamed("data.train_split", word, ""),
    "dataloader.val_set": Renamed("data.val_split", word, ""),
    "dataloader.coco_gt": Unused("objects come from the masks", ""),
}
"""Settings of the published program by ``section.key``. An empty default means that our default is used."""
