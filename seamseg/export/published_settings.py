"""Translation of the ``config.ini`` of a published model to our settings.

Unsupported settings that would change predictions are errors. Those that only affect training are dropped with a note.
"""

from __future__ import annotations

import configparser
from dataclasses import dataclass, field
from typing import Any

from seamseg.errors import ModelError
from seamseg.export.published_table import TABLE, Fixed, Renamed, Row, Unused

NORMS: dict[str, dict[str, str]] = {
    "bn": {"norm.name": "bn"},
    "syncbn": {"norm.name": "syncbn"},
    "syncbn+bn": {"norm.name": "syncbn", "norm.heads": "bn"},
    "gn": {"norm.name": "gn"},
    "syncbn+gn": {"norm.name": "syncbn", "norm.heads": "gn"},
    "off": {"norm.name": "affine"},
}
LOSSES = ("rpn_objectness", "rpn_boxes", "roi_classes", "roi_boxes", "roi_masks", "semantic")
WITHOUT_EFFECT = {"keep_outputs": None, "classes": 0, "dilation": 1, "dropout": None, "caffe_mode": False}
"""Entries of ``body_params`` with the value that has no effect; None means any value."""

PUBLISHED = {"norm.scale": "abs", "training.precision": "float32", "training.channels_last": False}
"""Settings of all published networks that their files do not mention."""


@dataclass
class Translation:
    """Result of a translation.

    Attributes:
        given: Text of each value in the file, by ``section.key``.
        values: Parsed values of all keys of the table, with defaults; None if a key is missing and has no default.
        settings: Our settings, by dotted name.
        notes: Notes about settings without a counterpart, one sentence each.
    """

    given: dict[str, str]
    values: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=PUBLISHED.copy)
    notes: list[str] = field(default_factory=list)

    def shown(self, key: str) -> str:
        """Format a setting as in the file."""
        return _shown(key, self.values[key])


def translate_settings(text: str) -> Translation:
    """Translate the text of a published ``config.ini`` to our settings.

    Raises:
        SeamsegError: The text is not an INI file, a value is malformed, or a setting that changes predictions is not
            supported.
    """
    given = read_ini(text)
    values = {key: _value(key, given.get(key, row.default), row) for key, row in TABLE.items()}
    translation = Translation(given, values)
    for key, row in TABLE.items():
        _apply(key, row, translation)
    for join in JOINERS:
        join(translation)
    unknown = [_shown(key, value) for key, value in given.items() if key not in TABLE]
    translation.notes += [f"{setting} is ignored: the published program has no such setting" for setting in unknown]
    return translation


def read_ini(text: str) -> dict[str, str]:
    """Read all values of an INI file, by ``section.key``.

    Raises:
        SeamsegError: The text is not an INI file.
    """
    parser = configparser.ConfigParser(allow_no_value=True, interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ModelError(f"it is not an INI file: {' '.join(str(error).split())[:200]}") from error
    return {f"{section}.{key}": value or "" for section in parser.sections() for key, value in parser.items(section)}


def _value(key: str, text: str, row: Row) -> Any:
    if isinstance(row, Unused):
        return text
    if not text:
        if row.default:
            raise ModelError(f"{_shown(key, '')} has no value")
        return None
    try:
        return row.read(text)
    except ValueError as error:
        raise ModelError(f"{_shown(key, text)[:100]} {error}") from error


def _apply(key: str, row: Row, translation: Translation) -> None:
    value = translation.values[key]
    if isinstance(row, Renamed):
        if value is not None:
            translation.settings[row.name] = value
    elif isinstance(row, Unused):
        if value not in ("", row.default):
            translation.notes.append(f"{translation.shown(key)} is ignored: {row.reason}")
    elif isinstance(row, Fixed) and value != row.read(row.default):
        if not row.in_training_only:
            raise ModelError(f"{translation.shown(key)} is not supported: seamseg always uses {row.default}")
        translation.notes.append(f"{translation.shown(key)} is ignored: training in seamseg always uses {row.default}")


def _norms(translation: Translation) -> None:
    mode = translation.values["body.normalization_mode"]
    if mode not in NORMS:
        raise ModelError(f"{translation.shown('body.normalization_mode')} must be one of {', '.join(NORMS)}")
    translation.settings |= NORMS[mode]


def _start_of_training(translation: Translation) -> None:
    """Translate the initial weights and the frozen parts together, because our frozen parts require weights."""
    values, settings = translation.values, translation.settings
    parts = [f"mod{number}" for number in range(1, min(values["body.num_frozen"], 5) + 1)]
    if values["body.weights"] is not None and settings["norm.name"] != "gn":
        settings |= {"body.weights": "imagenet", "body.frozen": parts, "body.norm_frozen": values["body.bn_frozen"]}
        translation.notes.append(
            f"{translation.shown('body.weights')} is replaced by body.weights=imagenet, which a new training would "
            "start from, because the file is assumed to be the converted ImageNet weights"
        )
    elif parts or values["body.bn_frozen"]:
        translation.notes.append(
            f"{translation.shown('body.num_frozen')} and {translation.shown('body.bn_frozen')} are ignored: frozen "
            "parts require initial weights with batch norms"
        )


def _body_parameters(translation: Translation) -> None:
    for name, value in translation.values["body.body_params"].items():
        if name not in WITHOUT_EFFECT or WITHOUT_EFFECT[name] not in (None, value):
            raise ModelError(f"{translation.shown('body.body_params')} requires an unsupported body: {name}")


def _levels(translation: Translation) -> None:
    extra, strides = translation.values["fpn.extra_scales"], translation.values["fpn.out_strides"]
    number = 4 + extra
    for key, found in (("fpn.out_strides", len(strides)), ("rpn.fpn_levels", translation.values["rpn.fpn_levels"])):
        if found != number:
            raise ModelError(
                f"{translation.shown('fpn.extra_scales')} gives {number} levels, all of them used for proposals, but "
                f"{translation.shown(key)} implies {found}"
            )
    if strides != [4 * 2**level for level in range(number)]:
        raise ModelError(f"{translation.shown('fpn.out_strides')} is not supported: strides must double from 4")


def _anchor_scale(translation: Translation) -> None:
    """Translate the anchor scale.

    Early files call it ``anchor_scales``. It is used only if it is one number: its default was a list, which could
    not be used.
    """
    early = translation.values["rpn.anchor_scales"]
    use_early = isinstance(early, int | float) and "rpn.anchor_scale" not in translation.given
    translation.settings["rpn.anchor_scale"] = early if use_early else translation.values["rpn.anchor_scale"]
    if early is not None and not use_early:
        translation.notes.append(f"{translation.shown('rpn.anchor_scales')} is ignored: anchor_scale is used")


def _window(translation: Translation) -> None:
    size = translation.values["sem.pooling_size"]
    sides = size if isinstance(size, list) else [size, size]
    if len(sides) != 2 or sides[0] != sides[1]:
        raise ModelError(f"{translation.shown('sem.pooling_size')} is not supported: the window must be a square")
    translation.settings["sem.window"] = sides[0]


def _loss_weights(translation: Translation) -> None:
    weights = translation.values["optimizer.loss_weights"]
    if len(weights) != len(LOSSES):
        raise ModelError(f"{translation.shown('optimizer.loss_weights')} has {len(weights)} weights instead of 6")
    translation.settings |= {f"loss_weights.{name}": weight for name, weight in zip(LOSSES, weights, strict=True)}


def _schedule(translation: Translation) -> None:
    kind, parameters = translation.values["scheduler.type"], translation.values["scheduler.params"]
    found: dict[str, Any] | None = None
    if kind == "poly":
        found = {"schedule.name": "poly", "schedule.power": parameters.get("gamma")}
    elif kind == "linear" and (parameters.get("from"), parameters.get("to")) == (1, 0):
        found = {"schedule.name": "poly", "schedule.power": 1.0}
    elif kind == "multistep" and translation.values["scheduler.update_mode"] == "batch":
        milestones, gamma = parameters.get("milestones"), parameters.get("gamma")
        found = {"schedule.name": "steps", "schedule.milestones": milestones, "schedule.gamma": gamma}
    if found is not None and None in found.values():
        raise ModelError(f"{translation.shown('scheduler.params')} has no value that type = {kind} requires")
    if found is not None:
        translation.settings |= found
    if found is None or translation.values["scheduler.update_mode"] != "batch":
        keys = ("scheduler.type", "scheduler.params", "scheduler.update_mode")
        shown = ", ".join(translation.shown(key) for key in keys)
        instead = "poly" if found is None else f"{found['schedule.name']}, updated every step"
        translation.notes.append(f"{shown}: this schedule is not supported; a new training would use {instead}")


JOINERS = (_norms, _start_of_training, _body_parameters, _levels, _anchor_scale, _window, _loss_weights, _schedule)


def _shown(key: str, value: Any) -> str:
    section, _, name = key.partition(".")
    text = "" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    return f"[{section}] {name} = {text}"
