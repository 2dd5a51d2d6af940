"""How well an in-place norm recovers its input, against float64, and the path it takes where it could not."""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from benchmarks.memory import saved_bytes
from seamseg.modules import inversion
from seamseg.modules.abn import ABN, InPlaceABN
from seamseg.modules.inversion import warn_about_small_gamma
from seamseg.modules.norm import learn_inversions
from seamseg.ops import abn_kernels
from seamseg.ops.inplace_abn import Activation

HALF = [torch.bfloat16, torch.float16]
# The smallest |γ| that the fused form is used with, alone and with a residual; 1e-5 is that of a weight of 0.
SMALLEST = {
    torch.float64: (1e-5, 1e-5),
    torch.float32: (1e-5, 1e-5),
    torch.bfloat16: (1e-2, 1e-1),
    torch.float16: (1e-3, 3e-2),
}
ROUNDOFF = {torch.float64: 2**-53, torch.float32: 2**-24, torch.float16: 2**-11, torch.bfloat16: 2**-8}
SLOPES: dict[Activation, float] = {"leaky_relu": 0.01, "identity": 1.0, "elu": 1.0}


pytestmark = pytest.mark.filterwarnings("ignore:some norms have weights so near 0")


@pytest.fixture(autouse=True)
def _unwarned() -> None:
    warn_about_small_gamma.cache_clear()


def uniform(size: float, *shape: int, seed: int) -> Tensor:
    values = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * values - 1) * size


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("dtype", SMALLEST, ids=str)
@pytest.mark.parametrize("code", [0, 1], ids=["identity", "leaky_relu"])
@pytest.mark.parametrize("size", [0.0, 1.0, 30.0])
def test_the_recovered_input_is_as_near_as_the_bound_says(dtype: torch.dtype, code: int, size: float) -> None:
    r"""``4u·max(|y|, |r|, |β|)`` for γ·x̂, for every number."""
    compute = torch.float64 if dtype == torch.float64 else torch.float32
    u = ROUNDOFF[dtype]
    for factor in (1.0, 10.0, 1000.0):
        gamma = torch.full((8,), SMALLEST[dtype][size > 0] * factor, dtype=compute)
        beta = (0.3 * normal(8, seed=2)).to(compute)
        layer = abn_kernels.Layer(gamma, beta, 0.0, code, 0.01)
        x = normal(4, 8, 500, seed=1).to(dtype)
        residual = uniform(size, 4, 8, 500, seed=3).to(dtype)
        moments = torch.tensor([[0.0], [1.0]], dtype=compute).expand(2, 8).contiguous()
        z = x.clone()
        abn_kernels.normalise_(z, residual if size else None, moments, layer)
        # With a mean of 1 for x̂·dy, and no gradient, what comes back is −(y − β).
        means = torch.tensor([[0.0], [1.0]], dtype=compute).expand(2, 8).contiguous()
        found, _ = abn_kernels.gradient(z, torch.zeros_like(z), residual if size else None, means, moments, layer)
        wanted = x.double() * gamma.double().view(-1, 1)
        y = wanted + beta.double().view(-1, 1) + residual.double()
        terms = torch.stack([y.abs(), residual.double().abs(), beta.double().abs().view(-1, 1).expand_as(y)])
        error = (found.double() + wanted).abs()
        # The result itself is rounded once more, to the type of the activations.
        assert (error <= 4 * u * terms.amax(0) + u * wanted.abs() + torch.finfo(dtype).tiny).all()


@dataclass(frozen=True)
class Setting:
    dtype: torch.dtype
    activation: Activation
    gamma: float
    size: float  # of the residual; 0 for none


def gradients(kind: type[ABN], setting: Setting, compute: torch.dtype) -> list[Tensor]:
    """Of input, weight, bias and residual, on numbers of the setting's type; the upstream goes along with x̂."""
    norm = kind(16, setting.activation, SLOPES[setting.activation])
    with torch.no_grad():
        norm.weight.fill_(setting.gamma)
        norm.bias.copy_(0.3 * normal(16, seed=4))
    x, upstream = normal(4, 16, 32, 16, seed=5), normal(4, 16, 32, 16, seed=6)
    given = [2 * x + 1, uniform(setting.size, *x.shape, seed=7)][: 1 + (setting.size > 0)]
    inputs = [tensor.to(setting.dtype).to(compute).requires_grad_() for tensor in given]
    norm.to(torch.float64 if compute == torch.float64 else torch.float32)
    z = norm(inputs[0] * 1, *inputs[1:])
    upstream = (upstream + 0.3 * x).to(setting.dtype).to(compute)
    return list(torch.autograd.grad(z, [inputs[0], *norm.parameters(), *inputs[1:]], upstream))


def errors(kind: type[ABN], setting: Setting) -> list[float]:
    """Relative, over all numbers of each gradient, against float64."""
    found, exact = gradients(kind, setting, setting.dtype), gradients(ABN, setting, torch.float64)
    return [((a.double() - b).norm() / b.norm()).item() for a, b in zip(found, exact, strict=True)]


@pytest.mark.parametrize("dtype", [torch.float32, *HALF], ids=str)
@pytest.mark.parametrize("activation", SLOPES)
@pytest.mark.parametrize("size", [0.0, 3.0, 30.0])
def test_gradients_are_good_down_to_the_smallest_gamma(dtype: torch.dtype, activation: Activation, size: float) -> None:
    smallest = 1.001 * SMALLEST[dtype][size > 0]  # which float32 may round down
    for gamma in (smallest, 3 * smallest, 10 * smallest, 100 * smallest, 1.0):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            dx, dgamma, dbeta, *dr = errors(InPlaceABN, Setting(dtype, activation, gamma, size))
        # Rounding of z, r and dx in sizes of up to max(1, |r|), of which x̂ is γ's part.
        spread = 1 + max(0.3, size / 3**0.5) / gamma
        assert dx < (2 if dtype == torch.float32 else 1) * ROUNDOFF[dtype] * spread + 2e-7
        assert dx < (0.1 if size == 30 else 0.03)
        assert dgamma < 0.03
        assert max([dbeta, *dr]) < 5e-7 + ROUNDOFF[dtype]


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize(("activation", "size"), list(itertools.product(SLOPES, [0.0, 3.0, 30.0])))
def test_below_it_they_are_those_of_a_norm_that_keeps_its_input(
    dtype: torch.dtype, activation: Activation, size: float
) -> None:
    for gamma in (0.99 * SMALLEST[dtype][size > 0], 1e-4, 0.0):
        found, beside = (errors(kind, Setting(dtype, activation, gamma, size)) for kind in (InPlaceABN, ABN))
        # Nothing is divided by γ; rounding the normalised input moves a few numbers over the kink of leaky ReLU.
        assert all(error < 2 * other + 3 * ROUNDOFF[dtype] for error, other in zip(found, beside, strict=True))


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("size", [0.0, 3.0], ids=["alone", "residual"])
def test_without_that_path_they_would_not_be(dtype: torch.dtype, size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inversion, "_SMALLEST_GAMMA", {})
    assert errors(InPlaceABN, Setting(dtype, "leaky_relu", 0.01 * SMALLEST[dtype][size > 0], size))[0] > 0.3


@pytest.mark.parametrize("dtype", [torch.float32, *HALF], ids=str)
def test_a_sum_that_saturates_an_elu_is_not_taken_apart(dtype: torch.dtype) -> None:
    """Sums down to −30: no type tells their ELU from −1."""
    assert max(errors(InPlaceABN, Setting(dtype, "elu", 1.0, 30.0))) < 2 * ROUNDOFF[dtype]


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("activation", SLOPES)
@pytest.mark.parametrize("has_residual", [False, True], ids=["alone", "residual"])
@pytest.mark.parametrize("channels_last", [False, True], ids=["planar", "channels last"])
def test_the_safe_path_has_the_same_values_and_statistics(
    dtype: torch.dtype, activation: Activation, has_residual: bool, channels_last: bool
) -> None:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = normal(4, 3, 5, 6, seed=1).to(dtype).contiguous(memory_format=layout)
    residual = normal(4, 3, 5, 6, seed=2).to(dtype).contiguous(memory_format=layout) if has_residual else None
    results = []
    for kind in (InPlaceABN, ABN):
        norm = kind(3, activation, 0.2, scale="signed")
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([1e-4, -0.5, 0.0]))
            norm.bias.copy_(torch.tensor([0.5, -1.0, 0.0]))
        z = norm(x.clone(), residual)
        assert z.dtype == dtype
        assert z.is_contiguous(memory_format=layout)
        results.append([z.float(), *norm.buffers()])
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(results[0][0], results[1][0], rtol=eps, atol=2 * eps)
    torch.testing.assert_close(results[0][1:], results[1][1:])


class Layers(nn.Module):
    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), InPlaceABN(4)
        with torch.no_grad():
            self.norm.weight.fill_(gamma)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.norm(self.conv(x).bfloat16())
        return z


def is_fused(norm: InPlaceABN, dtype: torch.dtype = torch.bfloat16) -> bool:
    """Whether the layer overwrites what it is given, with gradients wanted."""
    x = torch.randn(2, norm.num_channels, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        z = norm(x)
    return z.data_ptr() == x.data_ptr()


def test_only_the_safe_path_keeps_more() -> None:
    x = torch.randn(2, 3, 16, 16)
    full = 2 * 4 * 16 * 16 * 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fused, safe = (saved_bytes(Layers(gamma), x) for gamma in (1.0, 1e-3))
    assert full <= fused < 1.1 * full
    assert 2 * full <= safe < 2.2 * full


def test_a_warning_says_so_once() -> None:
    norm = InPlaceABN(3)
    with torch.no_grad():
        norm.weight[1] = 0.001
    x = torch.zeros(2, 3)
    with pytest.warns(UserWarning, match=r"weights so near 0 that half types .* needs more memory"):
        norm(x.bfloat16())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        norm(x.bfloat16())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_wide_types_are_always_fused_and_silent(dtype: torch.dtype) -> None:
    norm = InPlaceABN(3).to(dtype)
    with torch.no_grad():
        norm.weight.zero_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert is_fused(norm, dtype)


def test_without_gradients_nothing_is_kept() -> None:
    norm = InPlaceABN(3, "elu")
    with torch.no_grad():
        norm.weight.zero_()
        for residual in (None, torch.zeros(2, 3, dtype=torch.bfloat16)):
            x = torch.ones(2, 3, dtype=torch.bfloat16)
            assert norm(x, residual).data_ptr() == x.data_ptr()


def test_layers_without_a_weight_are_fused() -> None:
    assert is_fused(InPlaceABN(3, affine=False))
    InPlaceABN(0)(torch.zeros(2, 0, dtype=torch.bfloat16))
    learn_inversions(nn.Sequential(InPlaceABN(3, affine=False), InPlaceABN(0), ABN(3)))


def test_shapes_are_found_without_values() -> None:
    with torch.device("meta"):
        norm = InPlaceABN(3)
        assert norm(torch.zeros(2, 3, 4, dtype=torch.bfloat16)).shape == (2, 3, 4)


def step_of(kind: str) -> Callable[[nn.Module], object]:
    """A step of an optimiser that takes weights of 1 to 0."""

    def change(module: nn.Module) -> None:
        for parameter in module.parameters():
            parameter.grad = torch.ones_like(parameter)
        how = {"fused": True} if kind == "fused" else {"foreach": kind == "foreach"}
        torch.optim.SGD(module.parameters(), lr=1.0, **how).step()  # type: ignore[arg-type]

    return change


def with_weight(value: float) -> dict[str, Tensor]:
    return InPlaceABN(3).state_dict() | {"weight": torch.full((3,), float(value))}


CHANGES: dict[str, Callable[[InPlaceABN], object]] = {
    "one by one": step_of("single"),
    "foreach": step_of("foreach"),
    "fused": step_of("fused"),
    "load": lambda norm: norm.load_state_dict(with_weight(0)),
    "assign": lambda norm: norm.load_state_dict(with_weight(0), assign=True),
    "data": lambda norm: norm.weight.data.zero_(),  # type: ignore[union-attr]
    "new data": lambda norm: setattr(norm.weight, "data", torch.zeros(3)),
    "new weight": lambda norm: setattr(norm, "weight", nn.Parameter(torch.zeros(3))),
}
changes = pytest.mark.parametrize("change", CHANGES)


@changes
def test_a_layer_sees_its_weight_change(change: str) -> None:
    norm = InPlaceABN(3)
    assert is_fused(norm)
    CHANGES[change](norm)
    assert not is_fused(norm)
    with torch.no_grad():
        norm.weight.fill_(1)
    assert is_fused(norm)


@changes
def test_layers_that_were_looked_at_together_see_it_at_the_next_look(change: str) -> None:
    network = nn.Sequential(InPlaceABN(3), nn.ReLU(), InPlaceABN(3))
    learn_inversions(network)
    assert is_fused(network[0])
    CHANGES[change](network[2])
    learn_inversions(network)
    assert [is_fused(network[index]) for index in (0, 2)] == [True, False]


@pytest.mark.parametrize("change", [name for name in CHANGES if name not in ("fused", "data")])
def test_what_was_looked_at_together_is_not_believed_after_a_change(change: str) -> None:
    norm = InPlaceABN(3)
    learn_inversions(norm)
    CHANGES[change](norm)
    assert not is_fused(norm)


def test_a_common_look_is_all_that_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU, each look would wait for it."""
    norm = InPlaceABN(3)
    learn_inversions(norm)
    monkeypatch.setattr(Tensor, "min", None)
    assert is_fused(norm)
    assert is_fused(norm)


def test_copies_look_at_their_own_weight() -> None:
    norm = InPlaceABN(3)
    learn_inversions(norm)
    other = copy.deepcopy(norm)
    with torch.no_grad():
        other.weight.zero_()
    assert not is_fused(other)
    assert is_fused(norm)
    with torch.no_grad():
        norm.weight.zero_()
        other.weight.fill_(1)
    assert is_fused(other)
    assert not is_fused(norm)
