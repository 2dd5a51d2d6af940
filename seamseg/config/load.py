"""Settings files, overrides, and the configs that come with the package."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from seamseg.config.classifier import ClassifierExperiment
from seamseg.config.experiment import Experiment
from seamseg.config.settings import Settings
from seamseg.config.training import PolySchedule, SGDSettings
from seamseg.errors import SettingsError
from seamseg.io.yaml_files import load_yaml

SettingsT = TypeVar("SettingsT", bound=Settings)

_PACKAGE = Path(__file__).resolve().parents[1]
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")
"""Folders of the configs: in an installed package, into which the build copies them, and in a checkout."""


def known_configs(subfolder: str = "") -> dict[str, Path]:
    """Return the files of the built-in configs by name, sorted.

    Args:
        subfolder: ``classifier`` for the configs of classification networks; empty for those that segment.
    """
    folder = next((folder for folder in _FOLDERS if folder.is_dir()), None)
    return {} if folder is None else {path.stem: path for path in sorted((folder / subfolder).glob("*.yaml"))}


def settings_file(given: str, subfolder: str = "") -> Path:
    """Find a settings file by path or by config name.

    Args:
        given: Path of a file, or name of a built-in config such as ``vistas_r50``. An existing file takes precedence.
        subfolder: Subfolder of the built-in configs; see :func:`known_configs`.

    Raises:
        SeamsegError: There is neither a file nor a config with this name.
    """
    path, known = Path(os.path.expanduser(given)), known_configs(subfolder)
    if path.is_file() or given not in known:
        if not path.exists() and given in known_configs("" if subfolder else CLASSIFIER):
            raise SettingsError(f"{given} is a config of {_OTHER_NETWORK[not subfolder]}")
        if not path.exists() and path.name == given and not path.suffix:
            nearest = difflib.get_close_matches(given, known, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"the configs are {', '.join(known)}"
            raise SettingsError(f"there is neither a config nor a file {given}; {hint}")
        return path
    return known[given]


CLASSIFIER = "classifier"
"""Subfolder of the built-in configs of classification networks."""
_OTHER_NETWORK = {
    True: "a classification network, which segments nothing; use `seamseg train-classifier` and `seamseg "
    "test-classifier`, and body.weights=RUN to start a network that segments from its body",
    False: "a network that segments; use `seamseg train` and `seamseg evaluate`",
}
"""End of a sentence on settings of the wrong kind, by whether they describe a classification network."""

ALTERNATIVES = {"schedule.name": PolySchedule().name, "optimizer.name": SGDSettings().name}
"""Keys that choose between alternative groups of settings, with their defaults."""
ALTERNATIVE_NAMES = ("poly", "steps", "cosine", "sgd", "adamw")


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read the settings of an experiment; see :func:`load_settings`."""
    return load_settings(Experiment, path, overrides)


def load_settings(kind: type[SettingsT], path: Path, overrides: Sequence[str] = ()) -> SettingsT:
    """Read a YAML file of settings and apply ``key=value`` overrides.

    Args:
        kind: Class of the settings.
        path: Path of the file. Missing keys keep their defaults.
        overrides: Overrides such as ``optimizer.lr=0.02``; values are parsed as YAML.

    Raises:
        SeamsegError: The file is missing or is not a YAML mapping, a key is duplicated or unknown (the message names
            the nearest one), or a value is invalid.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read the settings {path}: {_reason(error)}") from error
    return parse_settings(kind, text, source=str(path), overrides=overrides)


def parse_experiment(text: str, source: str, overrides: Sequence[str] = ()) -> Experiment:
    """Parse the settings of an experiment; see :func:`parse_settings`."""
    return parse_settings(Experiment, text, source, overrides)


def parse_settings(kind: type[SettingsT], text: str, source: str, overrides: Sequence[str] = ()) -> SettingsT:
    """Parse the text of a settings file and apply ``key=value`` overrides.

    Args:
        kind: Class of the settings.
        text: YAML text. Missing keys keep their defaults.
        source: Name of the text in error messages.
        overrides: Overrides such as ``optimizer.lr=0.02``; values are parsed as YAML.

    Raises:
        SeamsegError: The text is not a YAML mapping, a key is duplicated or unknown, or a value is invalid.
    """
    tree = load_yaml(text, source)
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise SettingsError(f"{source} must contain settings by name, such as `optimizer: {{lr: 0.02}}`, not {tree!r}")
    _check_task(kind, tree, source)
    # Choices come first, because the overrides that depend on them may be given in any order.
    for override in sorted(overrides, key=lambda override: override.partition("=")[0] not in ALTERNATIVES):
        _apply(tree, override)
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise SettingsError(f"{source}: " + "; ".join(_sentence(kind, entry) for entry in error.errors())) from error


def _check_task(kind: type[Settings], tree: dict[str, Any], source: str) -> None:
    """Raise an error if the settings describe a classification network and should not, or the reverse."""
    classifies = tree.get("task") == "classification"
    segments = (
        not classifies and tree.keys() & Experiment.model_fields.keys() - ClassifierExperiment.model_fields.keys()
    )
    if (kind is Experiment and classifies) or (kind is ClassifierExperiment and segments):
        raise SettingsError(f"{source}: these are settings of {_OTHER_NETWORK[classifies]}")


def save_experiment(experiment: Settings) -> str:
    """Write all settings as YAML, which :func:`parse_settings` reads back."""
    return yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def differing_keys(one: Settings, other: Settings) -> list[str]:
    """Return the dotted keys whose values differ, sorted."""
    return list(differing_values(one, other))


def differing_values(one: Settings, other: Settings) -> dict[str, tuple[Any, Any]]:
    """Return the dotted keys whose values differ, sorted, with both values; the value of a missing key is None."""
    flat_one, flat_other = _flat(one.model_dump()), _flat(other.model_dump())
    keys = sorted(flat_one.keys() | flat_other.keys())
    return {
        key: (flat_one.get(key), flat_other.get(key))
        for key in keys
        if flat_one.get(key, ...) != flat_other.get(key, ...)
    }


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return flat


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise SettingsError(f"{override!r} must have the form key=value, such as optimizer.lr=0.02")
    parsed = load_yaml(value, f"the value of {override!r}")
    *groups, name = key.split(".")
    for group in groups:
        inner = tree.setdefault(group, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"{override!r}: {group!r} is a single setting and has no key {name!r}")
        tree = inner
    if key in ALTERNATIVES and tree.get("name", ALTERNATIVES[key]) != parsed:
        # The existing settings belong to the previous schedule or optimizer.
        tree.clear()
    tree[name] = parsed


def _sentence(kind: type[Settings], entry: Any) -> str:
    """Describe one validation error in terms of the settings file."""
    # Pydantic includes the name of the chosen alternative in the location, but the file does not.
    key = ".".join(str(part) for part in entry["loc"] if part not in ALTERNATIVE_NAMES)
    if entry["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(key, list(known_keys(kind)), n=1, cutoff=0.5)
        if nearest == [key]:
            return f"{key} does not exist for {entry['loc'][0]}.name={entry['loc'][1]}"
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        return f"there is no setting {key}{hint}"
    if entry["type"] in ("model_type", "model_attributes_type"):
        return f"{key}={entry['input']!r}: {key} is a group and must contain settings by name"
    message = entry["msg"].removeprefix("Value error, ")
    shown = entry["type"] != "missing" and not isinstance(entry["input"], (dict, BaseModel))
    value = f"={entry['input']!r}" if shown else ""
    place = f"{key}{value}: " if key else ""
    return f"{place}{message[:1].lower()}{message[1:]}"


def known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Iterate over all dotted keys of the settings.

    Args:
        model: Settings class.
        prefix: Prefix of every key, which ends with a dot if it is not empty.
    """
    for name, field in model.model_fields.items():
        yield prefix + name
        for inner in _models(field):
            yield from known_keys(inner, f"{prefix}{name}.")


def _models(field: FieldInfo) -> list[type[BaseModel]]:
    kinds = get_args(field.annotation) if isinstance(field.annotation, UnionType) else (field.annotation,)
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
