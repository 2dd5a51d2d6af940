"""Settings from files and overrides, and the messages for invalid ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamseg.config import (
    Experiment,
    differing_keys,
    differing_values,
    load_experiment,
    parse_experiment,
    save_experiment,
)
from seamseg.config.training import AdamWSettings, CosineSchedule, PolySchedule, SGDSettings, StepSchedule, Warmup


def refused(text: str, *overrides: str) -> str:
    """Return the error message without the file name at its start."""
    with pytest.raises(ValueError, match=r"^tiny\.yaml") as caught:
        parse_experiment(text, "tiny.yaml", overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert "pydantic" not in message
    return message.removeprefix("tiny.yaml").removeprefix(": ")


@pytest.mark.parametrize(
    ("text", "wrong", "nearest"),
    [
        ("optimzer: {lr: 0.1}", "optimzer", "optimizer"),
        ("optimizer: {l: 0.1}", "optimizer.l", "optimizer.lr"),
        ("optimizer: {name: adamw, beta: 0.1}", "optimizer.beta", "optimizer.betas"),
        ("rpn: {nms_treshold: 0.5}", "rpn.nms_treshold", "rpn.nms_threshold"),
        ("rpn: {training: {pre_nms: 1, before_nms: 1, after_nms: 1}}", "rpn.training.pre_nms", "rpn.training"),
        ("schedule: {warmup: {iteration: 5}}", "schedule.warmup.iteration", "schedule.warmup.iterations"),
        ("data: {short_side: 5}", "data.short_side", "data.shortest_side"),
        ("training: {epoch: 5}", "training.epoch", "training.epochs"),
    ],
)
def test_parse_unknown_key_suggests_the_nearest(text: str, wrong: str, nearest: str) -> None:
    found = re.fullmatch(r"there is no setting (\S+); did you mean (\S+)\?", refused(text))
    assert found is not None
    assert found[1] == wrong
    assert found[2].startswith(nearest)


def test_parse_unknown_key_without_a_similar_one_suggests_nothing() -> None:
    assert refused("xyzzy: 1") == "there is no setting xyzzy"


def test_parse_unknown_body_names_the_nearest_or_only_all() -> None:
    assert "no such body; did you mean resnet50? Choose resnet18, resnet34, " in refused("body: {name: resnet05}")
    assert "no such body; choose resnet18, resnet34, " in refused("body: {name: mobilenetv2}")


def test_parse_key_of_another_alternative_is_refused() -> None:
    assert refused("schedule: {milestones: [1]}") == "schedule.milestones does not exist for schedule.name=poly"
    sentence = refused("optimizer: {name: adamw, momentum: 0.9}")
    assert sentence == "optimizer.momentum does not exist for optimizer.name=adamw"


REFUSED = [
    ("data.root", "5"),
    ("data.train_limit", "0"),
    ("data.shortest_side", "0"),
    ("data.longest_side", "-1"),
    ("data.random_scale", "[0, 1]"),
    ("data.random_scale", "fast"),
    ("data.random_flip", "maybe"),
    ("data.mean", "[0.5, 0.5]"),
    ("data.mean", "[.nan, 0.5, 0.5]"),
    ("data.mean", "[-0.1, 0.5, 0.5]"),
    ("data.mean", "[123.7, 116.3, 103.5]"),
    ("data.std", "[0, 0.2, 0.2]"),
    ("data.std", "[58.4, 57.1, 57.4]"),
    ("data.train_batch_size", "0"),
    ("data.val_batch_size", "1.5"),
    ("data.num_workers", "-1"),
    ("data.worker_timeout", "0"),
    ("norm.name", "batch"),
    ("norm.name", "off"),
    ("norm.heads", "syncgn"),
    ("norm.slope", "0"),
    ("norm.scale", "plain"),
    ("norm.groups", "0"),
    ("norm.momentum", "1.5"),
    ("body.name", "resnet42"),
    ("body.weights", "5"),
    ("body.name", "resnet51"),
    ("fpn.channels", "0"),
    ("fpn.extra_levels", "-1"),
    ("rpn.anchor_ratios", "[]"),
    ("rpn.anchor_ratios", "[0]"),
    ("rpn.anchor_scale", "0"),
    ("rpn.nms_threshold", "1.5"),
    ("rpn.min_size", "-1"),
    ("rpn.positive_fraction", "-0.5"),
    ("rpn.training", "{before_nms: 5}"),
    ("rpn.training", "5"),
    ("roi.num_samples", "0"),
    ("roi.nms_threshold", "2"),
    ("roi.max_predictions", "many"),
    ("sem.window", "0"),
    ("sem.hardest_fraction", "0"),
    ("fusion.min_stuff_area", "-1"),
    ("fusion.score_threshold", "1.1"),
    ("loss_weights.semantic", "-1"),
    ("optimizer.lr", "0"),
    ("optimizer.lr", ".inf"),
    ("optimizer.weight_decay", "-1"),
    ("optimizer.clip_norm", "0"),
    ("optimizer.momentum", "2"),
    ("optimizer", "3"),
    ("schedule.power", "0"),
    ("schedule.warmup.iterations", "-1"),
    ("schedule.warmup.factor", "2"),
    ("training.epochs", "0"),
    ("training.seed", "-1"),
    ("training.log_every", "0"),
    ("training.weight_average", "1"),
    ("training", "null"),
]


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_parse_invalid_value_is_refused_with_its_key(key: str, value: str) -> None:
    sentence = refused("", f"{key}={value}")
    assert re.match(rf"{re.escape(key)}(\.\w+)?(=[^:]+)?: \S", sentence), sentence


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("training.epochs=0", "training.epochs=0: input should be greater than 0"),
        (
            "norm.name=off",
            "norm.name=False: input should be 'bn', 'syncbn', 'plain', 'gn', 'affine', 'brn' or 'mabn'",
        ),
        ("data=5", "data=5: data is a group and must contain settings by name"),
        ("rpn.inference={after_nms: 2}", "rpn.inference.before_nms: field required"),
    ],
)
def test_parse_invalid_value_gives_this_message(override: str, sentence: str) -> None:
    assert refused("", override) == sentence


def test_parse_relu_is_refused_with_the_reason() -> None:
    assert "no inverse" in refused("norm: {activation: relu}")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "data: {shortest_side: 9, longest_side: 8}",
            "data: longest_side=8 is less than shortest_side=9; swap the two values",
        ),
        ("data: {random_scale: [2, 1]}", "data: random_scale=[2.0, 1.0] must be a range with the lower bound first"),
        (
            "data: {scale_sampling: uniform, random_scale: null}",
            "data: scale_sampling=uniform chooses scales in the range of random_scale, but that is null",
        ),
        (
            "data: {scale_sampling: uniform, class_sampling: repeat}",
            "data: scale_sampling=uniform already draws classes uniformly, so that class_sampling=repeat would have no "
            "effect; set class_sampling=none",
        ),
        (
            "training: {epochs: 1, validate_every: 2}",
            "training: validate_every=2 is more than epochs=1; set 0 to validate at the end",
        ),
        (
            "rpn: {positive_threshold: 0.2}",
            "rpn: negative_threshold=0.3 is greater than positive_threshold=0.2, so that anchors between them would be "
            "both; lower it",
        ),
        (
            "roi: {negative_low: 0.5}",
            "roi: negative_low=0.5 leaves no negative regions, because these have an IoU of less than 0.5 "
            "(negative_high); lower it",
        ),
        (
            "roi: {negative_low: 0.4, cascade: [0.4, 0.6]}",
            "roi: negative_low=0.4 leaves no negative regions, because these have an IoU of less than 0.4 (cascade); "
            "lower it",
        ),
    ],
)
def test_parse_contradictory_values_are_refused(text: str, sentence: str) -> None:
    assert refused(text) == sentence


def test_all_that_is_wrong_is_said_at_once() -> None:
    sentence = refused("training: {epochs: 0}\noptimizer: {lr: -1}")
    assert "training.epochs=0" in sentence
    assert "optimizer.lr=-1" in sentence


@pytest.mark.parametrize("name", ["step", "[1]", "true"])
def test_parse_unknown_alternative_lists_the_known_ones(name: str) -> None:
    sentence = refused("", f"schedule.name={name}")
    assert sentence.startswith("schedule: ")
    assert all(choice in sentence for choice in ("poly", "steps", "cosine"))


@pytest.mark.parametrize("text", ["- 1", "5", "just words"])
def test_parse_file_without_a_mapping_is_refused(text: str) -> None:
    assert refused(text).startswith(" must contain settings by name")


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "\t- x", "data: {root: \x00}"])
def test_parse_invalid_yaml_is_refused(text: str) -> None:
    assert refused(text).startswith(" is not valid YAML")


def test_parse_yaml_tags_cannot_run_code(tmp_path: Path) -> None:
    text = f"data: {{root: !!python/object/apply:os.mkdir ['{tmp_path / 'owned'}']}}"
    assert "not valid YAML" in refused(text)
    with pytest.raises(ValueError, match="not valid YAML"):
        parse_experiment("", "x", ["data.root=" + text.removeprefix("data: {root: ").removesuffix("}")])
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("override", ["data.root", "=5", "", "data"])
def test_parse_override_without_key_or_value_is_refused(override: str) -> None:
    with pytest.raises(ValueError, match=f"'{override}' must have the form key=value"):
        parse_experiment("", "x", [override])


def test_parse_override_with_invalid_yaml_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the value of 'data\.root=\[' is not valid YAML"):
        parse_experiment("", "x", ["data.root=["])


def test_parse_override_below_a_single_setting_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'training\.epochs\.x=1': 'epochs' is a single setting and has no key 'x'"):
        parse_experiment("training: {epochs: 3}", "x", ["training.epochs.x=1"])


def test_load_missing_file_folder_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read the settings .*none\.yaml: No such file or directory"):
        load_experiment(tmp_path / "none.yaml")
    with pytest.raises(ValueError, match=r"cannot read the settings .*: Is a directory"):
        load_experiment(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ValueError, match=r"cannot read the settings .*bytes\.yaml: .*codec"):
        load_experiment(tmp_path / "bytes.yaml")


def test_load_overrides_take_precedence_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("training: {epochs: 3, seed: 5}\n")
    experiment = load_experiment(
        path, ["training.epochs=7", "optimizer.lr=1e-3", "data.mean=[0, 1, 0.5]", "data.root=x"]
    )
    assert (experiment.training.epochs, experiment.training.seed) == (7, 5)
    assert experiment.optimizer.lr == 1e-3
    assert experiment.data.mean == (0, 1, 0.5)
    assert experiment.data.root == "x"


@pytest.mark.parametrize("value", ["mean: [123.7, 116.3, 103.5]", "std: [58.4, 57.1, 57.4]"])
def test_parse_mean_and_std_in_bytes_are_refused_with_the_range(value: str) -> None:
    message = refused(f"data: {{{value}}}")
    assert message.startswith(f"data.{value.replace(': ', '=')}")
    assert "0 … 1" in message or "at most 1" in message
    assert "by 255" in message


def test_parse_duplicate_key_is_refused_with_its_lines() -> None:
    message = refused("optimizer:\n  lr: 0.02\n  momentum: 0.8\n  lr: 0.2\n")
    assert "optimizer.lr" in message
    assert "lines 2 and 4" in message
    assert "optimizer" in refused("optimizer: {lr: 0.02}\ntraining: {epochs: 1}\noptimizer: {momentum: 0.8}\n")
    with pytest.raises(ValueError, match=r"schedule\.warmup=.*factor"):
        parse_experiment("", "tiny.yaml", ["schedule.warmup={factor: 0.1, factor: 0.2}"])


def test_parse_last_override_of_a_key_wins() -> None:
    assert parse_experiment("", "x", ["training.epochs=3", "training.epochs=4"]).training.epochs == 4


def test_parse_null_and_empty_values_are_none() -> None:
    assert parse_experiment("", "x", ["data.random_scale=null"]).data.random_scale is None
    assert parse_experiment("data: {root: here}", "x", ["data.root="]).data.root is None


STEPS = "schedule: {name: steps, milestones: [5, 9], gamma: 0.5, warmup: {iterations: 3}}"


def test_parse_another_alternative_discards_settings_of_the_old_one() -> None:
    experiment = parse_experiment(STEPS, "x", ["schedule.name=cosine"])
    assert experiment.schedule == CosineSchedule()
    experiment = parse_experiment("optimizer: {lr: 0.5, momentum: 0.1}", "x", ["optimizer.name=adamw"])
    assert experiment.optimizer == AdamWSettings()


def test_parse_same_alternative_keeps_its_settings() -> None:
    assert parse_experiment(STEPS, "x", ["schedule.name=steps"]) == parse_experiment(STEPS, "x")
    unnamed = "optimizer: {lr: 0.5}\nschedule: {power: 2}"
    chosen = parse_experiment(unnamed, "x", ["optimizer.name=sgd", "schedule.name=poly"])
    assert chosen.optimizer == SGDSettings(lr=0.5)
    assert chosen.schedule == PolySchedule(power=2)


@pytest.mark.parametrize("name_first", [True, False])
def test_parse_overrides_of_an_alternative_are_accepted_in_any_order(name_first: bool) -> None:
    overrides = ["schedule.name=steps", "schedule.milestones=[7]", "schedule.warmup.iterations=4"]
    experiment = parse_experiment("", "x", overrides if name_first else overrides[::-1])
    assert experiment.schedule == StepSchedule(milestones=(7,), warmup=Warmup(iterations=4))


def test_parse_alternatives_are_chosen_by_name() -> None:
    assert isinstance(parse_experiment("optimizer: {name: adamw}", "x").optimizer, AdamWSettings)
    assert isinstance(parse_experiment("optimizer: {lr: 1}", "x").optimizer, SGDSettings)
    assert isinstance(parse_experiment("schedule: {warmup: {iterations: 1}}", "x").schedule, PolySchedule)


CHANGED = """
data: {root: "dätä/ördner: #1", train_limit: 3, random_scale: null, mean: [0.1, 0.2, 0.3]}
norm: {name: gn, heads: bn, momentum: null}
body: {name: resnet18}
rpn: {anchor_ratios: [0.2, 1], training: {before_nms: 3, after_nms: 2}}
optimizer: {name: adamw, lr: 1e-3, betas: [0.8, 0.9]}
schedule: {name: steps, milestones: [1, 2]}
training: {weight_average: 0.99}
"""


@pytest.mark.parametrize("text", ["", CHANGED, STEPS, "body: {weights: imagenet, frozen: [mod1, mod2]}"])
def test_save_settings_are_read_back_equal(text: str) -> None:
    experiment = parse_experiment(text, "x")
    saved = save_experiment(experiment)
    assert parse_experiment(saved, "saved") == experiment
    assert save_experiment(parse_experiment(saved, "saved")) == saved


def test_parse_changed_settings_have_the_new_values() -> None:
    experiment = parse_experiment(CHANGED, "x")
    assert experiment.data.root == "dätä/ördner: #1"
    assert experiment.norm.momentum is None
    assert experiment.optimizer == AdamWSettings(lr=1e-3, betas=(0.8, 0.9))


@settings(deadline=None, max_examples=30)
@given(
    lr=st.floats(1e-300, 1e300),
    root=st.text(st.characters(exclude_categories=["C", "Zl", "Zp"])),
    ratios=st.lists(st.floats(1e-9, 1e9), min_size=1).map(tuple),
    epochs=st.integers(1, 10**12),
)
def test_save_random_values_are_read_back_equal(lr: float, root: str, ratios: tuple[float, ...], epochs: int) -> None:
    experiment = Experiment.model_validate(
        {
            "data": {"root": root},
            "optimizer": {"lr": lr},
            "rpn": {"anchor_ratios": ratios},
            "training": {"epochs": epochs},
        }
    )
    assert parse_experiment(save_experiment(experiment), "saved") == experiment


def test_differing_keys_and_values_of_two_experiments() -> None:
    one = parse_experiment("", "one.yaml")
    assert differing_keys(one, parse_experiment(save_experiment(one), "same.yaml")) == []
    other = parse_experiment("{optimizer: {lr: 0.5}, schedule: {name: steps, milestones: [3]}}", "other.yaml")
    schedule = ["gamma", "milestones", "name", "power", "unit"]
    changed = ["optimizer.lr", *(f"schedule.{name}" for name in schedule)]
    assert differing_keys(one, other) == changed
    values = differing_values(one, other)
    assert (values["optimizer.lr"], values["schedule.gamma"]) == ((one.optimizer.lr, 0.5), (None, 0.1))


def test_parse_tilde_in_paths_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    given = parse_experiment("data: {root: ~/set}", "tiny.yaml", ["body.weights=~/weights.pth"])
    assert (given.data.root, given.body.weights) == ("/home/me/set", "/home/me/weights.pth")
    assert parse_experiment("", "tiny.yaml", ["body.weights=imagenet"]).body.weights == "imagenet"
