"""Mean over a window on a GPU, where there is one, compared with the CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seamseg.ops.window_mean import window_mean

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use"),
]
FORMATS = pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)


def mean_and_gradient(x: Tensor, upstream: Tensor, window: int) -> tuple[Tensor, Tensor]:
    leaf = x.detach().requires_grad_()
    mean = window_mean(leaf, window)
    mean.backward(upstream)
    assert leaf.grad is not None
    return mean.detach(), leaf.grad


@FORMATS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("window", [1, 6, 64])
@pytest.mark.parametrize("shape", [(2, 3, 8, 7), (1, 128, 120, 144), (2, 5, 65, 300), (0, 3, 4, 4)], ids=str)
def test_means_and_gradients_on_a_gpu_equal_the_cpu(
    shape: tuple[int, int, int, int], window: int, dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, upstream = (
        torch.randn(shape, generator=generator).to(dtype).contiguous(memory_format=memory_format) for _ in range(2)
    )
    expected = mean_and_gradient(x, upstream, window)
    found = mean_and_gradient(x.cuda(), upstream.cuda(), window)
    tolerance = max(8 * torch.finfo(dtype).eps, 1e-5)
    for on_gpu, on_cpu in zip(found, expected, strict=True):
        assert on_gpu.stride() == on_cpu.stride()
        torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=tolerance, atol=tolerance)


def test_window_mean_does_not_wait_for_the_gpu() -> None:
    x = torch.randn(1, 8, 40, 50, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        mean_and_gradient(x, torch.ones_like(x), 6)
    finally:
        torch.cuda.set_sync_debug_mode("default")
