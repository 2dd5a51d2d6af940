"""Multilevel RoIAlign on a GPU, where there is one, compared with the CPU."""

from __future__ import annotations

import pytest
import torch
from support.roi_align_cases import COUNTS, Case
from torch import Tensor

from seamseg.algos.roi_pooling import RoIPooler
from seamseg.ops.multilevel_roi_align import has_kernel, multilevel_roi_align
from seamseg.structures import PackedSequence

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use"),
]
LAYOUTS = pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])


def results(case: Case, device: str) -> list[Tensor]:
    """Return features and gradients of the levels."""
    levels = [level.detach().to(device).requires_grad_() for level in case.levels()]
    assert has_kernel(levels)
    boxes, image_index, level_index = (tensor.to(device) for tensor in case.regions())
    features = multilevel_roi_align(levels, boxes, image_index, level_index, case.output_size)
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(2)).to(device, case.dtype)
    return [features, *torch.autograd.grad(features, levels, weights)]


@LAYOUTS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("channels", "size"), COUNTS)
def test_features_and_gradients_on_a_gpu_equal_the_cpu(
    channels: int, size: int, dtype: torch.dtype, channels_last: bool
) -> None:
    case = Case(channels, size, dtype, channels_last)
    rounding = 1e-2 if dtype == torch.bfloat16 else 1e-5
    for on_gpu, on_cpu in zip(results(case, "cuda"), results(case, "cpu"), strict=True):
        assert (on_gpu.dtype, on_gpu.stride()) == (on_cpu.dtype, on_cpu.stride())
        torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=rounding, atol=rounding)


@LAYOUTS
def test_float16_on_a_gpu_equals_float32_up_to_rounding(channels_last: bool) -> None:
    half, single = (Case(16, 7, dtype, channels_last) for dtype in (torch.float16, torch.float32))
    for on_gpu, expected in zip(results(half, "cuda"), results(single, "cuda"), strict=True):
        torch.testing.assert_close(on_gpu.float(), expected, rtol=1e-2, atol=1e-2)


@LAYOUTS
def test_no_regions_on_a_gpu_give_zero_rows_and_zero_gradients(channels_last: bool) -> None:
    features, *gradients = results(Case(5, 7, channels_last=channels_last, num_regions=0), "cuda")
    assert features.shape == (0, 5, 7, 7)
    assert not any(gradient.any() for gradient in gradients)


def test_roi_align_of_tensors_on_two_devices_is_refused() -> None:
    case = Case(3, 2)
    levels = [level.detach().cuda() for level in case.levels()]
    with pytest.raises(ValueError, match="must be on the same device"):
        multilevel_roi_align(levels, *case.regions(), 2)


def test_roi_align_does_not_wait_for_the_gpu() -> None:
    case = Case(16, 7)
    levels = [level.detach().cuda().requires_grad_() for level in case.levels()]
    boxes, image_index, level_index = (tensor.cuda() for tensor in case.regions())
    torch.cuda.set_sync_debug_mode("error")
    try:
        features = multilevel_roi_align(levels, boxes, image_index, level_index, 7)
        torch.autograd.grad(features.sum(), levels)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_roi_pooler_on_a_gpu_equals_the_cpu() -> None:
    levels = [level.detach() for level in Case(16, 7).levels()]
    boxes = [torch.tensor([[3.0, 4, 60, 70], [0, 0, 10, 300]]), torch.tensor([[10.0, 20, 70, 330]])]
    expected = RoIPooler(7)(levels, PackedSequence(boxes), (76, 332))
    on_gpu = PackedSequence(box.cuda() for box in boxes)
    found = RoIPooler(7)([level.cuda() for level in levels], on_gpu, (76, 332))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-5)
