"""Writes docs/settings.md from the settings themselves: python scripts/settings_reference.py"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from seamseg.config import Experiment

TARGET = Path(__file__).resolve().parents[1] / "docs" / "settings.md"
HEAD = """# Settings

Every setting of an experiment with its type, default and meaning. A YAML file names those that differ from the
defaults, and `KEY=VALUE` on the command line changes single ones, such as `optimizer.lr=0.02`. A key that a file
gives twice is an error; of several arguments for one key, the last one counts. This page is written by
`python scripts/settings_reference.py`.
"""


def reference() -> str:
    """The whole page."""
    return HEAD + "".join(_group(name, field) for name, field in Experiment.model_fields.items())


def _group(name: str, field: FieldInfo) -> str:
    text = f"\n## {name}\n"
    for model in _models(field.annotation):
        text += f"\n{_words(model.__doc__)}\n\n| key | type | default | meaning |\n|---|---|---|---|\n"
        text += "".join(f"{line}\n" for line in _lines(model, name))
    return text


def _lines(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = f"{prefix}.{name}"
        inner = _models(field.annotation)
        if inner:
            yield from _lines(inner[0], key)
            continue
        default = "required" if field.is_required() else f"`{_plain(field.default)}`"
        yield f"| `{key}` | {_type(field.annotation)} | {default} | {_words(field.description)} |"


def _models(annotation: Any) -> list[type[BaseModel]]:
    kinds = get_args(annotation) or (annotation,)
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _type(annotation: Any) -> str:
    """A type in the words of someone who writes YAML."""
    kind, inner = get_origin(annotation), get_args(annotation)
    if kind is Annotated:
        return _type(inner[0])
    if kind is Literal:
        return " / ".join(str(value) for value in inner)
    if kind in (Union, UnionType):
        return " or ".join(_type(value) for value in inner)
    if kind is tuple:
        return f"list of {_type(inner[0])}" if inner[-1] is Ellipsis else f"[{', '.join(map(_type, inner))}]"
    return {bool: "true / false", int: "integer", float: "number", str: "text", type(None): "null"}[annotation]


def _plain(value: Any) -> str:
    if value is None:
        return "null"
    return str(list(value) if isinstance(value, tuple) else value).replace("True", "true").replace("False", "false")


def _words(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(reference(), encoding="utf-8")
