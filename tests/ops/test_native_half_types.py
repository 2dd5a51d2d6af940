from __future__ import annotations

import pytest
import torch

from seamseg.ops.native import at_least_float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_become_float32(dtype: torch.dtype) -> None:
    x = torch.tensor([1.5, -2.0], dtype=dtype)
    assert at_least_float32(x).dtype == torch.float32
    assert at_least_float32(x).tolist() == [1.5, -2.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_others_stay(dtype: torch.dtype) -> None:
    x = torch.ones(3, dtype=dtype)
    assert at_least_float32(x) is x
