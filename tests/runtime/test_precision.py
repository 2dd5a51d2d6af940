"""Number formats of a step, and steps with a scaled loss."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.optim import SGD

from seamseg.runtime.precision import Precision, automatic_precision, choose_precision, prefers_channels_last

CPU = torch.device("cpu")


@pytest.mark.parametrize(("name", "dtype"), [("float32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_computes_linear_layers_in_the_precision(name: str, dtype: torch.dtype) -> None:
    layer = nn.Linear(3, 2)
    with Precision(name, CPU).autocast():  # type: ignore[arg-type]
        assert layer(torch.ones(1, 3)).dtype == dtype
    assert layer(torch.ones(1, 3)).dtype == torch.float32


def test_precision_rejects_fp16_on_the_cpu() -> None:
    with pytest.raises(ValueError, match="fp16 needs a GPU; on the CPU use bf16"):
        Precision("fp16", CPU)


@pytest.mark.parametrize("clip_norm", [None, 0.5, 7.0])
def test_step_applies_the_clipped_gradient(clip_norm: float | None) -> None:
    layer, precision = nn.Linear(2, 1, bias=False), Precision("float32", CPU)
    before = layer.weight.detach().clone()
    precision.backward(layer(torch.tensor([[3.0, 4.0]])).sum())
    optimizer = SGD(layer.parameters(), lr=1)
    precision.step(optimizer, clip_norm, precision.gradient_norm(optimizer))
    gradient = torch.tensor([[3.0, 4.0]]) * (1 if clip_norm is None else min(1, clip_norm / 5))
    torch.testing.assert_close(before - layer.weight, gradient, rtol=1e-4, atol=1e-6)


def test_state_dict_without_loss_scale_is_empty() -> None:
    precision = Precision("bf16", CPU)
    assert precision.state_dict() == {}
    precision.load_state_dict({})


def test_converted_weights_give_the_results_of_autocast() -> None:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ConvTranspose2d(8, 4, 2), nn.Flatten(), nn.Linear(36, 2)
    network, x, precision = nn.Sequential(*layers), torch.randn(2, 3, 4, 4), Precision("bf16", CPU)
    with torch.no_grad(), precision.autocast():
        expected = network(x)
        precision.convert_weights(network)
        assert torch.equal(network(x), expected)
    assert [layer.weight.dtype for layer in (layers[0], layers[2], layers[4])] == [torch.bfloat16] * 3
    assert layers[1].weight.dtype == torch.float32


def test_converted_weights_in_float32_stay() -> None:
    layer = nn.Linear(2, 2)
    Precision("float32", CPU).convert_weights(layer)
    assert layer.weight.dtype == torch.float32


def scaled_cpu(scale: float) -> Precision:
    """Return a precision with the loss scale of fp16 that computes in float32 on the CPU."""
    precision = Precision("float32", CPU)
    precision._scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return precision


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_step_with_a_loss_scale_equals_the_step_without(clip_norm: float | None) -> None:
    moves = []
    for precision in (Precision("float32", CPU), scaled_cpu(4.0)):
        layer = nn.Linear(2, 1, bias=False)
        before, optimizer = layer.weight.detach().clone(), SGD(layer.parameters(), lr=1)
        precision.backward(layer(torch.tensor([[3.0, 4.0]])).sum())
        norm = precision.gradient_norm(optimizer)
        assert float(norm) == pytest.approx(5)
        precision.step(optimizer, clip_norm, norm)
        moves.append(layer.weight.detach() - before)
    torch.testing.assert_close(moves[0], moves[1])


@pytest.mark.parametrize("fused", [False, True])
def test_overflow_in_the_first_step_leaves_weights_and_momentum_untouched(fused: bool) -> None:
    layer, precision = nn.Linear(300, 1), scaled_cpu(1.0)
    optimizer = SGD(layer.parameters(), lr=1, momentum=0.9, fused=fused)
    before = layer.weight.detach().clone()
    precision.backward(layer(torch.full((1, 300), math.inf)).sum())
    norm = precision.gradient_norm(optimizer)
    assert not norm.isfinite()
    assert precision.can_lower_scale
    precision.step(optimizer, None, norm)
    assert torch.equal(layer.weight, before)
    assert not any(state.get("momentum_buffer") is not None for state in optimizer.state.values())
    assert precision.state_dict()["scale"] == 0.5
    assert not precision.can_lower_scale


def test_can_lower_scale_is_false_without_a_loss_scale() -> None:
    assert not Precision("float32", CPU).can_lower_scale
    assert not Precision("bf16", CPU).can_lower_scale


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_overflowing_fp16_step_is_skipped_and_lowers_the_scale() -> None:
    layer = nn.Linear(2, 1).cuda()
    precision, before = Precision("fp16", torch.device("cuda")), layer.weight.detach().clone()
    precision.backward(layer(torch.full((1, 2), 1e30, device="cuda")).sum() * 1e30)
    scale = precision.state_dict()["scale"]
    optimizer = SGD(layer.parameters(), lr=1)
    precision.step(optimizer, 1.0, precision.gradient_norm(optimizer))
    assert torch.equal(layer.weight, before)
    assert precision.state_dict()["scale"] < scale


def pretend_cpu(monkeypatch: pytest.MonkeyPatch, amx: bool, avx512_bf16: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)


@pytest.mark.parametrize(
    ("amx", "avx512_bf16", "expected"), [(True, True, "bf16"), (False, True, "bf16"), (False, False, "float32")]
)
def test_automatic_precision_is_bf16_with_instructions_for_it(
    amx: bool, avx512_bf16: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_cpu(monkeypatch, amx, avx512_bf16)
    precision, reason = automatic_precision(CPU)
    assert precision == choose_precision("auto", CPU) == expected
    assert choose_precision("float32", CPU) == "float32"
    assert ("AMX" if amx else "AVX512_BF16") in reason


def test_channels_last_suits_cpus_and_half_precision_on_gpus() -> None:
    assert prefers_channels_last(CPU, "float32")
    assert prefers_channels_last(CPU, "bf16")
    assert prefers_channels_last(torch.device("cuda:0"), "fp16")
    assert not prefers_channels_last(torch.device("cuda:0"), "float32")
    assert not prefers_channels_last(torch.device("mps"), "float32")
