"""The CUDA kernels of fusion, run thread by thread on the CPU, compared with the oracles and the CPU kernels."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from native.fusion_kernels import FusionKernels
from native.harness import TYPES, build, in_place_of_operators
from support.fusion_cases import (
    CLASS_SHAPES,
    Scene,
    check_classes,
    check_exact_classes,
    check_mask,
    check_scene,
    exact_scores,
    scenes,
    special_scores,
)
from torch import Tensor

from seamseg.algos.fusion import fuse
from seamseg.ops import fusion
from seamseg.ops.fusion import upsample_argmax
from seamseg.structures import Detections, SemanticLogits

SHAPES = {
    "upsample_argmax": fusion._upsample_argmax_shape,
    "paste_mask": fusion._paste_shape,
    "panoptic_fusion": fusion._fusion_shapes,
}


@pytest.fixture(scope="module", autouse=True)
def on_gpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Replace the operators by the CUDA kernels in this file."""
    kernels = FusionKernels(build("fusion.cpp", tmp_path_factory.mktemp("fusion")))
    with in_place_of_operators(kernels, SHAPES):
        yield


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize(("shape", "output"), [case for case in CLASS_SHAPES if case[0][0] < 100], ids=str)
def test_upsample_argmax_equals_oracle(
    shape: tuple[int, int, int], output: tuple[int, int], dtype: torch.dtype
) -> None:
    check_classes(shape, output, dtype)


@given(exact_scores())
@settings(max_examples=25)
def test_upsample_argmax_of_equal_scores_equals_the_oracle(case: tuple[SemanticLogits, tuple[int, int]]) -> None:
    check_exact_classes(case)


@given(special_scores())
@settings(max_examples=40)
def test_upsample_argmax_of_infinity_and_nan_equals_the_oracle(
    case: tuple[SemanticLogits, tuple[int, int]],
) -> None:
    check_exact_classes(case)


def test_upsample_argmax_never_chooses_a_class_with_nan() -> None:
    logits = torch.tensor([torch.nan, -3.0, -2.0, torch.nan])[:, None, None].expand(4, 2, 2).contiguous()
    assert (upsample_argmax(SemanticLogits(logits, (4, 4), (4, 4)), (4, 4)) == 2).all()


@pytest.mark.parametrize("seed", range(12))
def test_paste_mask_equals_the_oracle(seed: int) -> None:
    check_mask([1, 2, 7, 28][seed % 4], seed)


@given(scenes())
@settings(max_examples=40)
def test_panoptic_fusion_equals_the_oracle(scene: Scene) -> None:
    check_scene(scene)


def many_objects(num: int, size: tuple[int, int]) -> tuple[Detections, Tensor]:
    generator = torch.Generator().manual_seed(num)
    corners = torch.rand(num, 2, 2, generator=generator) * torch.tensor(size)
    detections = Detections(
        torch.cat([corners.amin(1), corners.amax(1)], dim=1),
        torch.randint(0, 4, (num,), generator=generator),
        torch.rand(num, generator=generator),
        torch.randn(num, 14, 14, generator=generator) + 1,
    )
    return detections, torch.randint(0, 254, size, generator=generator)


def test_panoptic_fusion_of_more_objects_than_a_block_has_threads_equals_the_cpu() -> None:
    detections, semantics = many_objects(300, (60, 70))
    found, _ = fuse(detections, semantics, num_stuff=9, score_threshold=0, overlap_threshold=0.5, min_stuff_area=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(torch.ops.seamseg, "panoptic_fusion")  # back to the CPU kernel
        expected, _ = fuse(
            detections, semantics, num_stuff=9, score_threshold=0, overlap_threshold=0.5, min_stuff_area=3
        )
    assert len(found.classes) > 100
    assert torch.equal(found.ids, expected.ids)
    assert torch.equal(found.classes, expected.classes)


def test_panoptic_fusion_of_pixels_without_a_class_is_refused() -> None:
    semantics = torch.tensor([[0, 256, 1], [-1, 2**40, 255]])
    with pytest.raises(ValueError, match="3 pixels of the class map have no class in 0 … 255"):
        fuse(
            many_objects(0, (2, 3))[0], semantics, num_stuff=1, score_threshold=0, overlap_threshold=1, min_stuff_area=1
        )
