"""Detection of infinities and NaNs in a nested state."""

from __future__ import annotations

import math

import pytest
import torch

from seamseg.runtime.finite import check_finite, nonfinite_tensors

STATE = {
    "network": {"weight": torch.tensor([1.0, math.inf]), "counter": torch.tensor(3), "empty": torch.empty(0)},
    "optimizer": {"state": {0: {"momentum": torch.tensor(math.nan, dtype=torch.bfloat16)}}, "groups": [{"lr": 1.0}]},
    "parts": (torch.ones(2), [torch.tensor(-math.inf)]),
    "average": None,
}


def test_nonfinite_tensors_finds_them_at_any_depth() -> None:
    assert nonfinite_tensors(STATE) == ["network.weight", "optimizer.state.0.momentum", "parts.1.0"]
    assert nonfinite_tensors({"weight": torch.tensor(3.4e38)}) == []
    assert nonfinite_tensors(None) == []


def test_check_finite_error_names_the_first_tensor_and_counts_the_others() -> None:
    with pytest.raises(FloatingPointError, match=r"the state has .* in network\.weight and 2 more$"):
        check_finite("the state", STATE)
    with pytest.raises(FloatingPointError, match=r"in 0$"):
        check_finite("the state", [torch.tensor(math.nan)])
    check_finite("the state", {"weight": torch.ones(1)})
