"""What a step computes in, and how a scaled loss moves the parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim import SGD

from seamseg.runtime.precision import Precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(("name", "dtype"), [("float32", torch.float32), ("bf16", torch.bfloat16)])
def test_linear_layers_compute_in_the_type(name: str, dtype: torch.dtype) -> None:
    layer = nn.Linear(3, 2)
    with Precision(name, CPU).autocast():  # type: ignore[arg-type]
        assert layer(torch.ones(1, 3)).dtype == dtype
    assert layer(torch.ones(1, 3)).dtype == torch.float32


def test_fp16_is_refused_on_the_cpu() -> None:
    with pytest.raises(ValueError, match="fp16 needs a GPU; on the CPU use bf16"):
        Precision("fp16", CPU)


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_a_step_is_that_of_the_optimiser_on_the_clipped_gradient(clip_norm: float | None) -> None:
    layer, precision = nn.Linear(2, 1, bias=False), Precision("float32", CPU)
    before = layer.weight.detach().clone()
    precision.backward(layer(torch.tensor([[3.0, 4.0]])).sum())
    precision.step(SGD(layer.parameters(), lr=1), layer, clip_norm)
    gradient = torch.tensor([[3.0, 4.0]]) * (1 if clip_norm is None else clip_norm / 5)
    torch.testing.assert_close(before - layer.weight, gradient, rtol=1e-4, atol=1e-6)


def test_there_is_no_state_without_a_scale() -> None:
    precision = Precision("bf16", CPU)
    assert precision.state_dict() == {}
    precision.load_state_dict({})


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_an_overflowing_step_is_skipped_and_lowers_the_scale() -> None:
    layer = nn.Linear(2, 1).cuda()
    precision, before = Precision("fp16", torch.device("cuda")), layer.weight.detach().clone()
    precision.backward(layer(torch.full((1, 2), 1e30, device="cuda")).sum() * 1e30)
    scale = precision.state_dict()["scale"]
    precision.step(SGD(layer.parameters(), lr=1), layer, 1.0)
    assert torch.equal(layer.weight, before)
    assert precision.state_dict()["scale"] < scale
