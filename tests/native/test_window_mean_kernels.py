"""The CUDA kernels of the mean over a window, run thread by thread on the CPU, compared with average pooling."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest
import torch
from native import harness
from native.harness import Kernels, build
from oracles import window_mean as oracle
from torch import Tensor

from seamseg.ops.window_mean import window_mean

TYPES = [*harness.TYPES, torch.float64]
FORMATS = pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
Run = Callable[[Tensor, int, bool], Tensor]


class _Call(ctypes.Structure):
    """Arguments of the kernels, as in cuda_host/window_mean.cpp."""

    _fields_ = [
        *[(name, ctypes.c_void_p) for name in ("source", "sums", "target")],
        *[(name, ctypes.c_int64) for name in ("type", "planes", "height", "width", "inner", "window", "backward")],
    ]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return build("window_mean.cpp", tmp_path_factory.mktemp("window_mean"))


@pytest.fixture
def run(kernels: Kernels) -> Run:
    """Return a function with the arguments of the operator and whether to compute the gradient."""

    def run_kernels(x: Tensor, window: int, backward: bool) -> Tensor:
        images, channels, height, width = x.shape
        planes, inner = (images * channels, 1) if x.is_contiguous() else (images, channels)
        target = torch.full_like(x, torch.nan)
        sums = torch.full((x.numel(),), torch.nan, dtype=torch.float64 if x.dtype == torch.float64 else torch.float32)
        pointers = (tensor.data_ptr() for tensor in (x, sums, target))
        call = _Call(*pointers, TYPES.index(x.dtype), planes, height, width, inner, window, backward)
        kernels.call("window_mean", ctypes.byref(call))
        return target

    return run_kernels


def random(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def check(run: Run, x: Tensor, window: int) -> None:
    """Compare mean and gradient."""
    memory_format = torch.contiguous_format if x.is_contiguous() else torch.channels_last
    exact = x.double().requires_grad_()
    expected = oracle.window_mean(exact, window)
    upstream = random(*x.shape, dtype=x.dtype).contiguous(memory_format=memory_format)
    (gradient,) = torch.autograd.grad(expected, exact, upstream.double())
    tolerance = max(8 * torch.finfo(x.dtype).eps, 1e-12)
    torch.testing.assert_close(run(x, window, False).double(), expected, rtol=tolerance, atol=tolerance)
    scale = max(1.0, float(gradient.abs().max()))
    torch.testing.assert_close(
        run(upstream, window, True).double(), gradient, rtol=tolerance, atol=2 * tolerance * scale
    )


@FORMATS
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("window", [1, 4, 5, 64])
def test_means_and_gradients_equal_average_pooling(
    run: Run, window: int, dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    check(run, random(2, 3, 8, 7, dtype=dtype).contiguous(memory_format=memory_format), window)


@FORMATS
@pytest.mark.parametrize("size", [(63, 64), (65, 64), (130, 10), (3, 200)])
def test_axes_of_several_runs_equal_average_pooling(
    run: Run, size: tuple[int, int], memory_format: torch.memory_format
) -> None:
    check(run, random(1, 2, *size).contiguous(memory_format=memory_format), 64)
    check(run, random(1, 2, *size).contiguous(memory_format=memory_format), 7)


@FORMATS
def test_more_lines_than_threads_of_a_block_equal_the_cpu(run: Run, memory_format: torch.memory_format) -> None:
    x = random(2, 30, 20, 9).contiguous(memory_format=memory_format).requires_grad_()
    mean = window_mean(x, 6)
    torch.testing.assert_close(run(x.detach(), 6, False), mean.detach(), rtol=1e-5, atol=1e-5)
    upstream = random(*x.shape).contiguous(memory_format=memory_format)
    (gradient,) = torch.autograd.grad(mean, x, upstream)
    torch.testing.assert_close(run(upstream, 6, True), gradient, rtol=1e-5, atol=1e-5)
