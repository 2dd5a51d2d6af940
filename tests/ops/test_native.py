"""Loading of the native library, its errors, and the types of its arguments."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch
from zlib_ng import zlib_ng

from seamseg.errors import NativeLibraryError
from seamseg.ops import native


def test_load_library_that_is_missing_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(NativeLibraryError) as caught:
        native.load_library(tmp_path)
    assert isinstance(caught.value, ImportError)
    for fact in (str(tmp_path), "install a wheel", platform.machine(), "`make setup`", "apt-get install g++"):
        assert fact in str(caught.value)


def test_load_library_of_a_damaged_file_says_how_to_rebuild_it(tmp_path: Path) -> None:
    (tmp_path / "_native.abi3.so").write_bytes(b"not a library")
    with pytest.raises(NativeLibraryError, match=r"does not load .*torch .* rebuild it"):
        native.load_library(tmp_path)


def test_require_of_a_missing_operator_says_that_the_library_is_out_of_date() -> None:
    with pytest.raises(NativeLibraryError, match="has no operator no_such_thing, so it is out of date"):
        native.require("no_such_thing", lambda: None)


def test_use_zlib_ng_without_its_functions_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zlib_ng, "__file__", native.load_library())
    with pytest.raises(NativeLibraryError, match=r"_native.* does not export .*zng_inflateInit2.*: install .*zlib-ng"):
        native.use_zlib_ng.__wrapped__()


def test_load_library_loads_it_once() -> None:
    assert native.load_library() is native.load_library()


def test_argument_error_of_a_refused_argument_is_a_value_error() -> None:
    error = native.argument_error(RuntimeError("segment_boxes: ids must be int64"), "segment_boxes")
    assert type(error) is ValueError
    assert str(error) == "segment_boxes: ids must be int64"


@pytest.mark.parametrize("error", [NotImplementedError("no kernel for CUDA"), RuntimeError("out of memory")])
def test_argument_error_of_another_error_is_that_error(error: RuntimeError) -> None:
    assert native.argument_error(error, "segment_boxes") is error


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_at_least_float32_of_half_precision_is_float32(dtype: torch.dtype) -> None:
    x = torch.tensor([1.5, -2.0], dtype=dtype)
    assert native.at_least_float32(x).dtype == torch.float32
    assert native.at_least_float32(x).tolist() == [1.5, -2.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_least_float32_of_other_types_is_the_same_tensor(dtype: torch.dtype) -> None:
    x = torch.ones(3, dtype=dtype)
    assert native.at_least_float32(x) is x
