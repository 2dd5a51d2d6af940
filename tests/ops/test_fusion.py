"""The operator of fusion: what it refuses, what torch sees of it, memory, and the instruction sets it is built for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from support import fusion_cases
from torch import Tensor

from benchmarks.memory import peak_bytes
from seamseg.ops import native
from seamseg.ops.fusion import panoptic_fusion

CAPABILITIES = ["baseline", "avx2", "avx512", "avx512_bf16"]


def solid(*boxes: list[float]) -> tuple[Tensor, Tensor]:
    return torch.full((len(boxes), 4, 4), 30.0), torch.tensor(boxes).reshape(-1, 4)


def operands(num: int = 3) -> list[Tensor]:
    """What the operator itself takes before the thresholds."""
    boxes = torch.tensor([[0.0, 0, 2, 2]] * num, dtype=torch.float64).reshape(num, 4)
    return [torch.rand(num, 4, 4), boxes, boxes.long(), torch.randint(0, 5, (6, 7))]


def test_objects_then_classes() -> None:
    semantics = torch.tensor([[1, 1, 7, 7], [1, 1, 255, 3]])
    found = panoptic_fusion(*solid([0, 0, 1, 2], [0, 0, 1, 3], [0, 0, 1, 1]), semantics, 0.6, 2)
    assert found.ids.tolist() == [[1, 1, 3, 3], [2, 2, 0, 0]]
    assert found.kept.tolist() == [True, False, False]
    assert found.classes.tolist() == [1, 7]


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_instruction_set_passes_the_same_cases(capability: str) -> None:
    environment = os.environ | {"SEAMSEG_CPU_CAPABILITY": capability, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, fusion_cases.__file__]
    run = subprocess.run(command, env=environment, check=False, text=True, capture_output=True, timeout=300)
    assert run.returncode == 0, run.stderr
    used = run.stdout.strip()
    if used != capability:
        assert CAPABILITIES.index(used) < CAPABILITIES.index(capability)
        pytest.skip(f"this machine has no {capability}; its widest is {used}")


@pytest.mark.parametrize("outsider", [-1, 256, 2**40, -(2**62)])
def test_a_class_that_cannot_be_is_an_error(outsider: int) -> None:
    semantics = torch.zeros(4, 5, dtype=torch.int64)
    semantics[2, 3] = outsider
    with pytest.raises(ValueError, match="1 pixels of the class map have no class in 0 … 255; 255 means none"):
        panoptic_fusion(*solid([0, 0, 1, 1]), semantics, 0.5, 1)
    covered = panoptic_fusion(*solid([2, 3, 3, 4]), semantics, 0.5, 1)  # nobody asks for its class
    assert covered.ids[2, 3] == 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_class_maps_of_other_integers(dtype: torch.dtype) -> None:
    semantics = torch.randint(0, 9, (6, 7))
    expected = panoptic_fusion(*solid([0, 0, 2, 2]), semantics, 0.5, 1)
    assert torch.equal(panoptic_fusion(*solid([0, 0, 2, 2]), semantics.to(dtype), 0.5, 1).ids, expected.ids)


@pytest.mark.parametrize("shape", [(0, 0), (0, 7), (7, 0)])
def test_a_map_without_pixels(shape: tuple[int, int]) -> None:
    found = panoptic_fusion(*solid([0, 0, 2, 2]), torch.zeros(shape, dtype=torch.int64), 0.5, 1)
    assert found.ids.shape == shape
    assert (found.kept.tolist(), found.classes.tolist()) == ([True], [])


def test_memory_is_that_of_ids_and_owners() -> None:
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
        (1, torch.rand(2, 4).double(), "boxes must be four float64 per mask"),
        (1, torch.rand(3, 4), "boxes must be four float64 per mask"),
        (2, torch.zeros(3, 3, dtype=torch.int64), "windows must be four int64 per mask"),
        (2, torch.tensor([[0, 0, 7, 2]] * 3), "a window must lie in the image"),
        (2, torch.tensor([[0, -1, 2, 2]] * 3), "a window must lie in the image"),
        (2, torch.tensor([[0, 3, 2, 2]] * 3), "a window must lie in the image"),
        (3, torch.zeros(6, 7, dtype=torch.int32), "the class map must be int64 of two dimensions"),
        (3, torch.zeros(1, 6, 7, dtype=torch.int64), "the class map must be int64 of two dimensions"),
    ],
)
def test_what_the_operator_refuses(position: int, wrong: Tensor, message: str) -> None:
    panoptic_fusion(*solid(), torch.zeros(1, 1, dtype=torch.int64), 0.5, 1)  # loads it
    arguments = operands()
    arguments[position] = wrong
    with pytest.raises((ValueError, RuntimeError), match=f"panoptic_fusion: .*{message}"):
        torch.ops.seamseg.panoptic_fusion(*arguments, 0.5, 1.0)


@pytest.mark.parametrize("num", [0, 3])
def test_opcheck(num: int) -> None:
    panoptic_fusion(*solid(), torch.zeros(1, 1, dtype=torch.int64), 0.5, 1)  # loads it
    torch.library.opcheck(torch.ops.seamseg.panoptic_fusion.default, (*operands(num), 0.5, 1.0))


def test_a_device_without_kernels_leaves_the_work_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "cuda_architectures", lambda: "")
    assert native.device_with_kernels(torch.device("cuda", 1)) == torch.device("cpu")
    assert native.device_with_kernels(torch.device("mps")) == torch.device("cpu")
    monkeypatch.setattr(native, "cuda_architectures", lambda: "9.0")
    assert native.device_with_kernels(torch.device("cuda", 1)) == torch.device("cuda", 1)
    assert native.device_with_kernels(torch.device("cpu")) == torch.device("cpu")
