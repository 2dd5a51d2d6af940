"""The operator of fusion: results, refusals, registration with torch, and memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.memory import peak_bytes
from seamseg.ops import native
from seamseg.ops.fusion import panoptic_fusion


def solid(*boxes: list[float]) -> tuple[Tensor, Tensor]:
    return torch.full((len(boxes), 4, 4), 30.0), torch.tensor(boxes).reshape(-1, 4)


def operands(num: int = 3) -> list[Tensor]:
    """Return the arguments of the operator except for the thresholds."""
    boxes = torch.tensor([[0.0, 0, 2, 2]] * num, dtype=torch.float64).reshape(num, 4)
    return [torch.rand(num, 4, 4), boxes, boxes.long(), torch.randint(0, 5, (6, 7))]


def test_panoptic_fusion_of_a_drawn_map_keeps_objects_then_classes() -> None:
    semantics = torch.tensor([[1, 1, 7, 7], [1, 1, 255, 3]])
    found = panoptic_fusion(*solid([0, 0, 1, 2], [0, 0, 1, 3], [0, 0, 1, 1]), semantics, 0.6, 2)
    assert found.ids.tolist() == [[1, 1, 3, 3], [2, 2, 0, 0]]
    assert found.kept.tolist() == [True, False, False]
    assert found.classes.tolist() == [1, 7]


@pytest.mark.parametrize("outsider", [-1, 256, 2**40, -(2**62)])
def test_panoptic_fusion_of_a_class_out_of_range_is_refused_where_it_is_visible(outsider: int) -> None:
    semantics = torch.zeros(4, 5, dtype=torch.int64)
    semantics[2, 3] = outsider
    with pytest.raises(ValueError, match="1 pixels of the class map have no class in 0 … 255; 255 means none"):
        panoptic_fusion(*solid([0, 0, 1, 1]), semantics, 0.5, 1)
    covered = panoptic_fusion(*solid([2, 3, 3, 4]), semantics, 0.5, 1)  # an object covers the pixel
    assert covered.ids[2, 3] == 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_panoptic_fusion_takes_class_maps_of_other_integer_types(dtype: torch.dtype) -> None:
    semantics = torch.randint(0, 9, (6, 7))
    expected = panoptic_fusion(*solid([0, 0, 2, 2]), semantics, 0.5, 1)
    assert torch.equal(panoptic_fusion(*solid([0, 0, 2, 2]), semantics.to(dtype), 0.5, 1).ids, expected.ids)


@pytest.mark.parametrize("shape", [(0, 0), (0, 7), (7, 0)])
def test_panoptic_fusion_of_a_map_without_pixels_is_empty(shape: tuple[int, int]) -> None:
    found = panoptic_fusion(*solid([0, 0, 2, 2]), torch.zeros(shape, dtype=torch.int64), 0.5, 1)
    assert found.ids.shape == shape
    assert (found.kept.tolist(), found.classes.tolist()) == ([True], [])


def test_panoptic_fusion_allocates_only_ids_and_owners() -> None:
    masks, boxes = torch.randn(50, 28, 28), torch.rand(50, 2).mul(100).repeat(1, 2) + torch.tensor([0.0, 0, 90, 90])
    semantics = torch.zeros(300, 400, dtype=torch.int64)
    pixels = 300 * 400
    assert peak_bytes(lambda: panoptic_fusion(masks, boxes, semantics, 0.5, 1)) < (8 + 4) * pixels + 16 * masks.numel()


@pytest.mark.parametrize(
    ("position", "wrong", "message"),
    [
        (0, torch.rand(3, 4, 5), "masks must be square"),
        (0, torch.rand(4, 4), "masks must be square"),
        (0, torch.rand(3, 0, 0), "at least one cell"),
        (0, torch.rand(3, 4, 4).double(), "masks must be float32"),
        (1, torch.rand(2, 4).double(), "boxes must be four float64 numbers per mask"),
        (1, torch.rand(3, 4), "boxes must be four float64 numbers per mask"),
        (2, torch.zeros(3, 3, dtype=torch.int64), "windows must be four int64 numbers per mask"),
        (2, torch.tensor([[0, 0, 7, 2]] * 3), "a window must lie in the image"),
        (2, torch.tensor([[0, -1, 2, 2]] * 3), "a window must lie in the image"),
        (2, torch.tensor([[0, 3, 2, 2]] * 3), "a window must lie in the image"),
        (3, torch.zeros(6, 7, dtype=torch.int32), "the class map must be two-dimensional int64"),
        (3, torch.zeros(1, 6, 7, dtype=torch.int64), "the class map must be two-dimensional int64"),
    ],
)
def test_operator_refuses_arguments_that_do_not_fit(position: int, wrong: Tensor, message: str) -> None:
    panoptic_fusion(*solid(), torch.zeros(1, 1, dtype=torch.int64), 0.5, 1)  # loads it
    arguments = operands()
    arguments[position] = wrong
    with pytest.raises((ValueError, RuntimeError), match=f"panoptic_fusion: .*{message}"):
        torch.ops.seamseg.panoptic_fusion(*arguments, 0.5, 1.0)


@pytest.mark.parametrize("num", [0, 3])
def test_operator_passes_opcheck(num: int) -> None:
    panoptic_fusion(*solid(), torch.zeros(1, 1, dtype=torch.int64), 0.5, 1)  # loads it
    torch.library.opcheck(torch.ops.seamseg.panoptic_fusion.default, (*operands(num), 0.5, 1.0))


def test_panoptic_fusion_on_a_device_without_kernels_runs_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "cuda_architectures", lambda: ())
    assert native.device_with_kernels(torch.device("cuda", 1)) == torch.device("cpu")
    assert native.device_with_kernels(torch.device("mps")) == torch.device("cpu")
    monkeypatch.setattr(native, "cuda_architectures", lambda: ("9.0",))
    assert native.device_with_kernels(torch.device("cuda", 1)) == torch.device("cuda", 1)
    assert native.device_with_kernels(torch.device("cpu")) == torch.device("cpu")
