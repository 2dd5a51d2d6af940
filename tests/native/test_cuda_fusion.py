"""Fusion on a GPU, where there is one, compared with the CPU."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from support.cross_entropy_cases import class_weights, random_case, values_and_gradient
from support.fusion_cases import CLASS_SHAPES, Scene, exact_scores, scenes

from seamseg.algos.fusion import fuse
from seamseg.ops.bootstrapped_cross_entropy import bootstrapped_cross_entropy
from seamseg.ops.fusion import paste_mask, upsample_argmax
from seamseg.structures import Detections, SemanticLogits

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use"),
]


def on_gpu(detections: Detections) -> Detections:
    return Detections(
        detections.boxes.cuda(), detections.classes.cuda(), detections.scores.cuda(), detections.masks.cuda()
    )


@given(exact_scores())
@settings(max_examples=50)
def test_upsample_argmax_of_exact_scores_on_a_gpu_equals_the_cpu(case: tuple[SemanticLogits, tuple[int, int]]) -> None:
    semantics, output = case
    moved = SemanticLogits(semantics.logits.cuda(), semantics.padded_size, semantics.size)
    found = upsample_argmax(moved, output)
    assert found.is_cuda
    assert torch.equal(found.cpu(), upsample_argmax(semantics, output))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("shape", "output"), CLASS_SHAPES, ids=str)
def test_upsample_argmax_on_a_gpu_equals_the_cpu_but_for_rounding(
    shape: tuple[int, int, int], output: tuple[int, int], dtype: torch.dtype
) -> None:
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    sizes = (4 * shape[1], 4 * shape[2])
    found = upsample_argmax(SemanticLogits(logits.cuda(), sizes, sizes), output).cpu()
    differs = found != upsample_argmax(SemanticLogits(logits, sizes, sizes), output)
    assert differs.double().mean() < 0.01  # equal up to rounding


@given(scenes())
@settings(max_examples=50)
def test_panoptic_fusion_on_a_gpu_equals_the_cpu(scene: Scene) -> None:
    expected, _ = fuse(scene.detections, scene.semantics, **scene.settings())
    found, _ = fuse(on_gpu(scene.detections), scene.semantics.cuda(), **scene.settings())
    assert found.ids.is_cuda
    assert torch.equal(found.ids.cpu(), expected.ids)
    assert torch.equal(found.classes.cpu(), expected.classes)
    assert torch.equal(found.scores.cpu(), expected.scores)
    assert torch.equal(found.crowd.cpu(), expected.crowd)


@pytest.mark.parametrize("seed", range(8))
def test_paste_mask_on_a_gpu_equals_the_cpu_up_to_rounding(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, corners = torch.randn(28, 28, generator=generator), torch.rand(2, 2, generator=generator) * 90
    box = torch.cat([corners.amin(0), corners.amax(0)])
    patch, expected = paste_mask(logits.cuda(), box.cuda(), (80, 90)), paste_mask(logits, box, (80, 90))
    assert (patch.mask.is_cuda, patch.top, patch.left) == (True, expected.top, expected.left)
    assert (patch.mask.cpu() != expected.mask).sum() <= 2  # equal up to rounding


@pytest.mark.parametrize("gamma", [None, 0.0, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_bootstrapped_cross_entropy_on_a_gpu_equals_the_cpu(dtype: torch.dtype, gamma: float | None) -> None:
    logits, targets = random_case(19, (20, 31), [(79, 121), (80, 100)], dtype)
    found, expected = (
        values_and_gradient(
            bootstrapped_cross_entropy,
            logits.to(device),
            [target.to(device) for target in targets],
            (80, 124),
            0.25,
            *(() if gamma is None else (class_weights(19).to(device), gamma)),
        )
        for device in ("cuda", "cpu")
    )
    for on_gpu, on_cpu in zip(found, expected, strict=True):
        is_half = dtype in (torch.bfloat16, torch.float16)
        torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=1e-2 if is_half else 1e-4, atol=1e-6)


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_bootstrapped_cross_entropy_on_a_gpu_is_deterministic_and_does_not_wait_for_it(
    memory_format: torch.memory_format, is_weighted: bool
) -> None:
    logits, targets = random_case(19, (40, 61), [(320, 488), (300, 400)])
    emphasis = (class_weights(19).cuda(), 2.0) if is_weighted else ()
    logits, targets = logits.cuda().to(memory_format=memory_format), [target.cuda() for target in targets]
    results = []
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(2):
            arguments = (logits, targets, (320, 488), 0.25, *emphasis)
            results.append(values_and_gradient(bootstrapped_cross_entropy, *arguments))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_bootstrapped_cross_entropy_on_a_gpu_never_holds_the_upsampled_logits() -> None:
    logits, targets = random_case(64, (64, 64), [(512, 512)])
    logits, targets = logits.cuda().requires_grad_(), [target.cuda() for target in targets]
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    bootstrapped_cross_entropy(logits, targets, (512, 512), 0.25).sum().backward()
    assert torch.cuda.max_memory_allocated() - before < 0.5 * 4 * 64 * 512 * 512


def test_upsampled_cross_entropy_of_tensors_on_two_devices_is_refused() -> None:
    logits, (target,) = random_case(5, (4, 6), [(16, 24)])
    with pytest.raises(ValueError, match="must be on the same device"):
        bootstrapped_cross_entropy(logits.cuda(), [target], (16, 24), 0.25)
