"""Small constants on the device of other tensors."""

from __future__ import annotations

import pytest
import torch

from seamseg.ops.constants import constant_like


def test_constant_has_the_type_of_the_tensor_or_the_given_one() -> None:
    x = torch.zeros(2, dtype=torch.bfloat16)
    assert torch.equal(constant_like(x, [[1.5, 2], [3, 4]]), torch.tensor([[1.5, 2], [3, 4]], dtype=torch.bfloat16))
    assert torch.equal(constant_like(x, 7, torch.float32), torch.tensor(7.0))
    assert constant_like(torch.zeros(2, device="meta"), [1.0]).is_meta


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use")
def test_constant_on_a_gpu_is_copied_without_waiting_for_it() -> None:
    x = torch.zeros(2, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = constant_like(x, [1.0, 2.0])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert found.is_cuda
    assert found.tolist() == [1, 2]
