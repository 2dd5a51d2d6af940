from __future__ import annotations

from pathlib import Path

import pytest

from seamseg.ops import native


def test_an_unbuilt_library_is_an_error_that_says_how_to_build_it(tmp_path: Path) -> None:
    with pytest.raises(ImportError, match=r"is not built .* run `make setup`"):
        native.load_library(tmp_path)


def test_a_library_that_does_not_load_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "_native.abi3.so").write_bytes(b"not a library")
    with pytest.raises(ImportError, match=r"does not load .*torch .* rebuild it"):
        native.load_library(tmp_path)


def test_an_operator_that_the_library_lacks_is_an_error() -> None:
    with pytest.raises(ImportError, match="has no operator no_such_thing, so it is out of date"):
        native.require("no_such_thing", lambda: None)


def test_the_library_is_loaded_once() -> None:
    assert native.load_library() is native.load_library()


def test_refused_arguments_are_value_errors_whatever_torch_makes_of_them() -> None:
    error = native.argument_error(RuntimeError("segment_boxes: ids must be int64"), "segment_boxes")
    assert type(error) is ValueError
    assert str(error) == "segment_boxes: ids must be int64"


@pytest.mark.parametrize("error", [NotImplementedError("no kernel for CUDA"), RuntimeError("out of memory")])
def test_other_errors_of_an_operator_stay_what_they_are(error: RuntimeError) -> None:
    assert native.argument_error(error, "segment_boxes") is error
