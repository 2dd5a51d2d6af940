"""The hierarchy of user errors."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path

import pytest

from seamseg import errors
from seamseg.errors import BrokenImageError, DataError, SeamsegError

CLASSES = [found for _, found in inspect.getmembers(errors, inspect.isclass) if found.__module__ == errors.__name__]


def test_every_user_error_is_a_seamseg_error_and_value_error() -> None:
    assert len(CLASSES) == 7
    assert all(issubclass(found, SeamsegError) and issubclass(found, ValueError) for found in CLASSES)
    assert issubclass(BrokenImageError, DataError)


def test_the_hierarchy_in_the_docstring_names_every_class() -> None:
    assert all(found.__name__ in (errors.__doc__ or "") for found in CLASSES)


@pytest.mark.parametrize("error", [DataError("a.json is wrong"), BrokenImageError(Path("a.png"), "is an empty file")])
def test_error_after_pickling_is_unchanged(error: SeamsegError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
