"""Loading of the native library, its errors, and the types of its arguments."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

import pytest
import torch
from torch.torch_version import TorchVersion
from zlib_ng import zlib_ng

from seamseg.errors import NativeLibraryError
from seamseg.ops import native

ROOT = Path(__file__).resolve().parents[2]


def test_load_library_that_is_missing_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(NativeLibraryError) as caught:
        native.load_library(tmp_path)
    assert isinstance(caught.value, ImportError)
    for fact in (str(tmp_path), "install a wheel", platform.machine(), "`make setup`", "apt-get install g++"):
        assert fact in str(caught.value)


def _message_of(library: bytes, folder: Path) -> str:
    """Message of the error that loading a library with this content raises."""
    (folder / "_native.abi3.so").write_bytes(library)
    with pytest.raises(NativeLibraryError) as caught:
        native.load_library(folder)
    return str(caught.value)


def test_load_library_of_a_damaged_file_says_why_and_how_to_replace_it(tmp_path: Path) -> None:
    message = _message_of(b"not a library", tmp_path)
    for fact in (str(tmp_path), f"torch {torch.__version__}", "file too short", "install a wheel", "rebuild it"):
        assert fact in message


@pytest.mark.skipif(sys.platform != "linux", reason="the message is that of glibc")
def test_load_library_for_another_processor_says_so(tmp_path: Path) -> None:
    with native.load_library().open("rb") as file:
        header = bytearray(file.read(1024))
    header[18:20] = b"\xff\xfe"  # no processor has this number
    message = _message_of(header, tmp_path)
    assert f"built for another processor than {platform.machine()}" in message
    assert "No such file" not in message
    assert "install a wheel for this platform" in message


def test_load_library_with_a_torch_that_is_too_old_says_which_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.9.1+cpu"))
    message = _message_of(b"not a library", tmp_path)
    assert "torch 2.9.1" in message
    (oldest,) = re.findall(r'^    "torch(>=[\d.]+)", +# tensors', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert message.endswith(f"install torch {oldest.replace('>=', '>= ')}")


@pytest.mark.parametrize("cuda", [None, "13.0"])
def test_load_library_with_cuda_kernels_in_a_torch_without_cuda_says_which_wheel_to_install(
    cuda: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(path: Path) -> None:
        raise OSError(f"Could not load this library: {path}") from OSError(
            "libtorch_cuda.so: cannot open shared object"
        )

    monkeypatch.setattr(torch.ops, "load_library", load)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    message = _message_of(b"", tmp_path)
    assert "libtorch_cuda.so" in message
    assert ("the wheel without `+cu`" in message) == (cuda is None)


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


@pytest.mark.parametrize(("built", "names"), [("", ()), ("9.0", ("9.0",)), ("7.5,8.0+PTX", ("7.5", "8.0+PTX"))])
def test_cuda_architectures_are_those_that_the_build_names(
    monkeypatch: pytest.MonkeyPatch, built: str, names: tuple[str, ...]
) -> None:
    assert "','.join(architectures)" in (ROOT / "setup.py").read_text()
    monkeypatch.setattr(native, "_call_query", lambda operator: built)
    assert native.cuda_architectures.__wrapped__() == names
