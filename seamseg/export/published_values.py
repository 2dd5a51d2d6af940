"""Values in a published ``config.ini``: numbers, yes or no, bare words, Python literals."""

from __future__ import annotations

import ast
from typing import Any

LONGEST = 10_000
"""Characters of a value; the longest in use, a dict of five widths, has 70."""

_TRUTH = {"1": True, "yes": True, "true": True, "on": True, "0": False, "no": False, "false": False, "off": False}


def word(text: str) -> str:
    """As it stands."""
    return text


def whole(text: str) -> int:
    """A whole number.

    Raises:
        ValueError: it is none; like all errors here, the end of a sentence that begins with the setting.
    """
    try:
        return int(text)
    except ValueError:
        raise ValueError("is no whole number") from None


def number(text: str) -> float:
    """A number such as ``.5``, ``3.`` or ``1e-4``."""
    try:
        return float(text)
    except ValueError:
        raise ValueError("is no number") from None


def yes_no(text: str) -> bool:
    """One of yes, no, true, false, on, off, 1 and 0, in letters of any size."""
    if text.lower() not in _TRUTH:
        raise ValueError("is neither yes nor no")
    return _TRUTH[text.lower()]


def literal(text: str) -> Any:
    """A Python literal, which is read without being run; tuples become lists."""
    try:
        if len(text) > LONGEST:
            raise ValueError
        return _plain(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError("is no Python literal, such as (1, 2) or {'gamma': 0.1}") from None


def numbers(text: str) -> list[float]:
    """A tuple or list of numbers."""
    values = literal(text)
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise ValueError("is no list of numbers, such as (0.5, 1, 2)")
    return values


def table(text: str) -> dict[str, Any]:
    """A dict whose keys are text."""
    values = literal(text)
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ValueError("is no dict, such as {'gamma': 0.1}")
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
