"""Translation of a published `config.ini` to our settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.published_archive import VISTAS

from seamseg.config import Experiment, differing_keys, load_experiment, parse_experiment, settings_file
from seamseg.config.load import known_keys
from seamseg.export.published import nested
from seamseg.export.published_settings import NORMS, Translation, read_ini, translate_settings
from seamseg.export.published_table import TABLE, Fixed, Renamed, Unused

CITYSCAPES = """
[body]
bn_frozen = no
[fpn]
extra_scales = 1
out_strides = (4, 8, 16, 32, 64)
[rpn]
num_post_nms_val = 1000
min_size = 0
fpn_levels = 5
[roi]
num_samples = 512
nms_threshold = 0.5
[optimizer]
weight_decay_norm = no
[scheduler]
epochs = 130
type = multistep
params = {"gamma": 0.1, "milestones": [36000, 44000]}
burn_in_steps = 200
[dataloader]
longest_max_size = 4096
rgb_mean = (0.41738699, 0.45732192, 0.46886091)
rgb_std = (0.25685097, 0.26509955, 0.29067996)
random_scale = (0.5, 2.0)
"""
# Settings that our configs set differently on purpose, and settings that do not change the result.
OURS = {
    "body.frozen",
    "body.weights",
    "data.format",
    "data.num_workers",
    "data.train_split",
    "data.val_split",
    "norm.scale",
    "schedule.warmup.factor",
    "training.log_every",
    "training.validate_every",
}


def experiment(translation: Translation) -> Experiment:
    return parse_experiment(yaml.safe_dump(nested(translation.settings)), "config.ini")


def translated(text: str) -> Translation:
    """Translate and check that the settings are valid."""
    translation = translate_settings(text)
    experiment(translation)
    return translation


def refused(text: str) -> str:
    with pytest.raises(ValueError, match=r"\[\w+\] \w+ =") as caught:
        translate_settings(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("text", "config_name"), [(VISTAS, "vistas_r50"), (CITYSCAPES, "cityscapes_r50")])
def test_translate_published_configs_equal_ours(text: str, config_name: str) -> None:
    found, expected = experiment(translate_settings(text)), load_experiment(settings_file(config_name))
    assert set(differing_keys(found, expected)) <= OURS
    assert found.norm.scale == "abs"
    assert found.schedule.warmup.factor == pytest.approx(1 / 3, abs=1e-3)


def test_translate_empty_file_gives_the_published_defaults() -> None:
    found = experiment(translate_settings(""))
    assert set(differing_keys(found, Experiment())) == {
        "data.num_workers",
        "schedule.warmup.factor",
        "training.channels_last",
        "training.log_every",
        "training.precision",
    }


def test_translate_vistas_config_frozen_parts_are_reported() -> None:
    (note,) = translate_settings(VISTAS).notes
    assert note.startswith("[body] num_frozen = 2 and [body] bn_frozen = no are ignored")


def test_translate_weights_keep_the_frozen_parts() -> None:
    translation = translate_settings("[body]\nweights = /data/resnet50.pth\nnum_frozen = 3\nbn_frozen = YES\n")
    found = experiment(translation)
    assert (found.body.weights, found.body.frozen, found.body.norm_frozen) == (
        "imagenet",
        ("mod1", "mod2", "mod3"),
        True,
    )
    assert len(translation.notes) == 1
    assert "[body] weights = /data/resnet50.pth is replaced by body.weights=imagenet" in translation.notes[0]


@pytest.mark.parametrize(
    ("mode", "name", "heads"),
    [
        ("bn", "bn", None),
        ("syncbn", "syncbn", None),
        ("syncbn+bn", "syncbn", "bn"),
        ("gn", "gn", None),
        ("syncbn+gn", "syncbn", "gn"),
        ("off", "affine", None),
    ],
)
def test_translate_every_normalization_mode(mode: str, name: str, heads: str | None) -> None:
    found = experiment(translate_settings(f"[body]\nnormalization_mode = {mode}\ngn_groups = 8\nweights = x.pth"))
    assert (found.norm.name, found.norm.heads, found.norm.groups) == (name, heads, 8)
    assert mode in NORMS


RENAMED = {key: row for key, row in TABLE.items() if isinstance(row, Renamed)}
OTHER_VALUES = {
    "body.body": ("resnet101", "resnet101"),
    "body.activation": ("elu", "elu"),
    "rpn.anchor_ratios": ("[1, .25]", (1, 0.25)),
    "rpn.pos_threshold": (".9", 0.9),
    "roi.void_is_background": ("on", True),
    "optimizer.weight_decay_norm": ("No", False),
    "optimizer.nesterov": ("0", False),
    "dataloader.longest_max_size": ("3000", 3000),
    "dataloader.rgb_mean": ("(.1, .2, .3)", (0.1, 0.2, 0.3)),
    "dataloader.rgb_std": ("[.1, .2, .3]", (0.1, 0.2, 0.3)),
    "dataloader.random_flip": ("false", False),
    "dataloader.random_scale": ("(0.7, 1)", (0.7, 1)),
    "dataloader.train_set": ("training", "training"),
    "dataloader.val_set": ("validation", "validation"),
}


@pytest.mark.parametrize("key", [key for key in RENAMED if key != "fpn.extra_scales"])
def test_translate_renamed_setting_arrives_at_its_new_name(key: str) -> None:
    section, _, name = key.partition(".")
    row = RENAMED[key]
    text, expected = OTHER_VALUES.get(key, ("3", 3) if row.read.__name__ == "whole" else (".125", 0.125))
    found: Any = experiment(translate_settings(f"[{section}]\n{name} = {text}"))
    for part in row.name.split("."):
        found = getattr(found, part)
    assert found == expected


def test_table_names_existing_settings_once_each() -> None:
    names = [row.name for row in RENAMED.values()]
    assert set(names) <= set(known_keys(Experiment)) | {"schedule.warmup.iterations", "schedule.warmup.factor"}
    assert len(set(names)) == len(names)
    assert all(value.split(".")[0] for value in names)


def test_table_contains_every_setting_of_the_migration_page() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "migrating.md").read_text()
    rows = re.findall(r"^\| ((?:`\[|`)[^|]*) \|", page.split("## Settings")[1].split("## The library")[0], re.MULTILINE)
    words = {word for row in rows for word in re.findall(r"`(\w+)(?: = [^`]*)?`", row)}
    keys = {key.partition(".")[2] for key in TABLE}
    assert words - keys - {"bn", "syncbn", "gn", "off"} - {"config"} == set()
    assert len(words & keys) > 50


@pytest.mark.parametrize("key", [key for key, row in TABLE.items() if isinstance(row, Fixed)])
def test_translate_fixed_setting_with_another_value_is_refused_or_reported(key: str) -> None:
    row, (section, _, name) = TABLE[key], key.partition(".")
    same = translated(f"[{section}]\n{name} = {row.default}")
    assert same.notes == translate_settings("").notes
    other = f"[{section}]\n{name} = " + {"literal": "(7, 7)", "numbers": "(1, 2)"}.get(row.read.__name__, "5")
    if isinstance(row, Fixed) and row.in_training_only:
        assert any(f"[{section}] {name} = 5" in note for note in translated(other).notes)
    else:
        assert f"[{section}] {name} = " in refused(other)


@pytest.mark.parametrize("key", [key for key, row in TABLE.items() if isinstance(row, Unused)])
def test_translate_unused_setting_is_reported(key: str) -> None:
    section, _, name = key.partition(".")
    assert any(f"[{section}] {name} = odd is ignored" in note for note in translated(f"[{section}]\n{name}=odd").notes)
    for text in (TABLE[key].default, ""):
        assert translated(f"[{section}]\n{name} = {text}").notes == translate_settings("").notes


def test_translate_unknown_settings_are_reported() -> None:
    notes = translated("[roi]\nnew = 3\n[surprise]\nbox = 1\n[body]\nbn_frozen = no\nnum_frozen = 0").notes
    assert [note.partition(" is ignored")[0] for note in notes] == ["[roi] new = 3", "[surprise] box = 1"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type = poly\nparams = {'gamma': 2}", {"name": "poly", "power": 2}),
        ("type = linear\nparams = {'from': 1, 'to': 0}", {"name": "poly", "power": 1}),
        (
            "type=multistep\nparams={'milestones': (3, 5), 'gamma': .5}",
            {"name": "steps", "milestones": (3, 5), "gamma": 0.5},
        ),
    ],
)
def test_translate_supported_schedules(text: str, expected: dict[str, Any]) -> None:
    translation = translated(f"[scheduler]\n{text}")
    schedule = experiment(translation).schedule.model_dump()
    assert {key: schedule[key] for key in expected} == expected
    assert not any("schedule" in note for note in translation.notes)


@pytest.mark.parametrize(
    "text",
    [
        "type = step\nparams = {'step_size': 3, 'gamma': .1}",
        "type = linear\nparams = {'from': 1, 'to': 0.5}",
        "type = multistep\nupdate_mode = epoch\nparams = {'milestones': [3], 'gamma': .1}",
        "update_mode = epoch",
    ],
)
def test_translate_unsupported_schedules_are_reported(text: str) -> None:
    translation = translated(f"[scheduler]\n{text}")
    assert experiment(translation).schedule.name == "poly"
    assert any("this schedule is not supported" in note for note in translation.notes)


def test_translate_loss_weights_are_in_the_published_order() -> None:
    weights = experiment(translate_settings("[optimizer]\nloss_weights = (1, 2, 3, 4, 5, 6)")).loss_weights
    assert weights.model_dump(exclude_unset=True) == {
        "rpn_objectness": 1,
        "rpn_boxes": 2,
        "roi_classes": 3,
        "roi_boxes": 4,
        "roi_masks": 5,
        "semantic": 6,
    }


@pytest.mark.parametrize(
    ("text", "scale", "num_notes"),
    [
        ("anchor_scale = 2", 2, 0),
        ("anchor_scales = 2", 2, 0),
        ("anchor_scales = (8., 16., 32.)", 8, 1),
        ("anchor_scales = (8., 16., 32.)\nanchor_scale = 2", 2, 1),
        ("anchor_scales = 4\nanchor_scale = 8", 8, 1),
    ],
)
def test_translate_early_name_of_the_anchor_scale(text: str, scale: float, num_notes: int) -> None:
    translation = translated(f"[rpn]\n{text}")
    assert experiment(translation).rpn.anchor_scale == scale
    assert sum("anchor_scales" in note for note in translation.notes) == num_notes


def test_translate_body_params_without_effect_are_accepted() -> None:
    translated("[body]\nbody_params = {'keep_outputs': True, 'classes': 0, 'dilation': 1, 'caffe_mode': False}")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[body]\nnormalization_mode = batch", "[body] normalization_mode = batch must be one of bn, syncbn"),
        ("[body]\nbody_params = {'dilation': (1, 1, 2, 4)}", "unsupported body: dilation"),
        ("[body]\nbody_params = []", "must be a dict"),
        ("[fpn]\nextra_scales = 2", "gives 6 levels"),
        ("[fpn]\nout_strides = (4, 8, 16)", "implies 3"),
        ("[fpn]\nout_strides = (4, 8, 16, 16)", "strides must double"),
        ("[rpn]\nfpn_levels = 3", "implies 3"),
        ("[rpn]\nmin_size =", "has no value"),
        ("[rpn]\nnum_samples", "has no value"),
        ("[rpn]\nnum_samples = 2.5", "must be an integer"),
        ("[rpn]\nnms_threshold = high", "must be a number"),
        ("[roi]\nvoid_is_background = maybe", "must be yes or no"),
        ("[rpn]\nanchor_ratios = (1, 'a')", "must be a list of numbers"),
        ("[rpn]\nanchor_ratios = 3", "must be a list of numbers"),
        ("[rpn]\nanchor_ratios = (1,", "must be a Python literal"),
        ("[sem]\npooling_size = (64, 32)", "the window must be a square"),
        ("[optimizer]\nloss_weights = (1, 1)", "2 weights instead of 6"),
        ("[scheduler]\ntype = multistep", "has no value that type = multistep requires"),
        ("[scheduler]\nparams = {1: 2}", "must be a dict"),
    ],
)
def test_translate_malformed_or_unsupported_values_are_refused(text: str, part: str) -> None:
    assert part in refused(text)


@pytest.mark.parametrize(
    "value",
    [
        "__import__('os').system('true')",
        "open('owned', 'w')",
        "(lambda: 1)()",
        "[" * 5000,
        "-" * 9000 + "1",
        "9" * 9000,
        "(" + "1," * 100_000 + ")",
        "{" + "'a':{" * 3000,
        "[].__class__",
        "{[]: 1}",
    ],
)
def test_translate_hostile_literals_cannot_run_code(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(refused(f"[fpn]\ninputs = {value}")) < 300
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["no section = 1", "[a]\nx=1\nx=2", "[a]\n[a]\n", "\x00\x01", "[a\n"])
def test_read_ini_invalid_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="it is not an INI file"):
        read_ini(text)


def test_read_ini_percent_signs_are_kept() -> None:
    assert read_ini("[body]\nweights = a%(b)s%d") == {"body.weights": "a%(b)s%d"}


@given(st.sampled_from(sorted(TABLE)), st.text(max_size=30))
def test_translate_random_value_is_accepted_or_refused_in_one_line(key: str, value: str) -> None:
    section, _, name = key.partition(".")
    message = ""
    try:
        translate_settings(f"[{section}]\n{name} = {value}")
    except ValueError as error:
        message = str(error)
    assert "\n" not in message
