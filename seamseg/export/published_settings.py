"""From the ``config.ini`` of a published model to settings of ours.

What would change predictions and cannot be had here is refused; what serves training alone is left out and told.
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
"""Of ``body_params``: the values that change nothing, None for any."""


@dataclass
class Translation:
    """Settings under their names here.

    Attributes:
        given: the text of every value that stands in the file, by ``section.key``.
        values: of all keys of the table, read, with defaults; None where nothing stands and nothing is the default.
        settings: by dotted name.
        notes: what has no counterpart, a sentence each.
    """

    given: dict[str, str]
    values: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=lambda: {"norm.scale": "abs"})
    notes: list[str] = field(default_factory=list)

    def shown(self, key: str) -> str:
        """A setting as it would stand in the file."""
        return _shown(key, self.values[key])


def translate_settings(text: str) -> Translation:
    """The settings that a published ``config.ini`` means.

    Raises:
        SeamsegError: it is no INI file, a value is malformed, or one that changes predictions cannot be had here.
    """
    given = read_ini(text)
    values = {key: _value(key, given.get(key, row.default), row) for key, row in TABLE.items()}
    translation = Translation(given, values)
    for key, row in TABLE.items():
        _apply(key, row, translation)
    for join in JOINERS:
        join(translation)
    unknown = [_shown(key, value) for key, value in given.items() if key not in TABLE]
    translation.notes += [f"{setting} is no setting that the published program reads" for setting in unknown]
    return translation


def read_ini(text: str) -> dict[str, str]:
    """Every value of an INI file by ``section.key``.

    Raises:
        SeamsegError: it is none.
    """
    parser = configparser.ConfigParser(allow_no_value=True, interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ModelError(f"it is no INI file: {' '.join(str(error).split())[:200]}") from error
    return {f"{section}.{key}": value or "" for section in parser.sections() for key, value in parser.items(section)}


def _value(key: str, text: str, row: Row) -> Any:
    if isinstance(row, Unused):
        return text
    if not text:
        if row.default:
            raise ModelError(f"{_shown(key, '')} lacks its value")
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
            translation.notes.append(f"{translation.shown(key)} has no counterpart: {row.reason}")
    elif isinstance(row, Fixed) and value != row.read(row.default):
        if not row.in_training_only:
            raise ModelError(f"{translation.shown(key)} cannot be had here, where it is {row.default} always")
        translation.notes.append(f"{translation.shown(key)} is left out: training here has {row.default} always")


def _norms(translation: Translation) -> None:
    mode = translation.values["body.normalization_mode"]
    if mode not in NORMS:
        raise ModelError(f"{translation.shown('body.normalization_mode')} is none of {', '.join(NORMS)}")
    translation.settings |= NORMS[mode]


def _start_of_training(translation: Translation) -> None:
    """What the body started from, and what stayed as it was: our settings ask for the one with the other."""
    values, settings = translation.values, translation.settings
    parts = [f"mod{number}" for number in range(1, min(values["body.num_frozen"], 5) + 1)]
    if values["body.weights"] is not None and settings["norm.name"] != "gn":
        settings |= {"body.weights": "imagenet", "body.frozen": parts, "body.norm_frozen": values["body.bn_frozen"]}
        translation.notes.append(
            f"{translation.shown('body.weights')} is taken for the converted ImageNet weights: a training anew would "
            "start from body.weights=imagenet"
        )
    elif parts or values["body.bn_frozen"]:
        translation.notes.append(
            f"{translation.shown('body.num_frozen')} and {translation.shown('body.bn_frozen')} are left out: they keep "
            "parts as they start, which asks for weights to start from, of a batch norm"
        )


def _body_parameters(translation: Translation) -> None:
    for name, value in translation.values["body.body_params"].items():
        if name not in WITHOUT_EFFECT or WITHOUT_EFFECT[name] not in (None, value):
            raise ModelError(f"{translation.shown('body.body_params')} asks for another body than there is: {name}")


def _levels(translation: Translation) -> None:
    extra, strides = translation.values["fpn.extra_scales"], translation.values["fpn.out_strides"]
    number = 4 + extra
    for key, found in (("fpn.out_strides", len(strides)), ("rpn.fpn_levels", translation.values["rpn.fpn_levels"])):
        if found != number:
            raise ModelError(
                f"{translation.shown('fpn.extra_scales')} makes {number} levels, which proposals come from, but "
                f"{translation.shown(key)} speaks of {found}"
            )
    if strides != [4 * 2**level for level in range(number)]:
        raise ModelError(f"{translation.shown('fpn.out_strides')} cannot be had here, where strides double from 4")


def _anchor_scale(translation: Translation) -> None:
    """Early files call it ``anchor_scales``; then it must be one number, the default being a list nobody could use."""
    early = translation.values["rpn.anchor_scales"]
    use_early = isinstance(early, int | float) and "rpn.anchor_scale" not in translation.given
    translation.settings["rpn.anchor_scale"] = early if use_early else translation.values["rpn.anchor_scale"]
    if early is not None and not use_early:
        translation.notes.append(f"{translation.shown('rpn.anchor_scales')} is left out: anchor_scale counts")


def _window(translation: Translation) -> None:
    size = translation.values["sem.pooling_size"]
    sides = size if isinstance(size, list) else [size, size]
    if len(sides) != 2 or sides[0] != sides[1]:
        raise ModelError(f"{translation.shown('sem.pooling_size')} cannot be had here, where the window is a square")
    translation.settings["sem.window"] = sides[0]


def _loss_weights(translation: Translation) -> None:
    weights = translation.values["optimizer.loss_weights"]
    if len(weights) != len(LOSSES):
        raise ModelError(f"{translation.shown('optimizer.loss_weights')} holds {len(weights)} weights instead of 6")
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
        raise ModelError(f"{translation.shown('scheduler.params')} lacks what type = {kind} asks for")
    if found is not None:
        translation.settings |= found
    if found is None or translation.values["scheduler.update_mode"] != "batch":
        keys = ("scheduler.type", "scheduler.params", "scheduler.update_mode")
        said = ", ".join(translation.shown(key) for key in keys)
        instead = "poly" if found is None else f"{found['schedule.name']}, step by step"
        translation.notes.append(f"{said}: there is no such schedule; a training anew would use {instead}")


JOINERS = (_norms, _start_of_training, _body_parameters, _levels, _anchor_scale, _window, _loss_weights, _schedule)


def _shown(key: str, value: Any) -> str:
    section, _, name = key.partition(".")
    text = "" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    return f"[{section}] {name} = {text}"
