"""Accuracy of the input that an in-place norm recovers, and the safe path where it cannot be recovered."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from oracles.norm import stir
from support.pairwise import pairwise
from torch import Tensor, nn

from benchmarks.memory import saved_bytes
from seamseg.modules import inversion
from seamseg.modules.abn import ABN, InPlaceABN
from seamseg.modules.inversion import warn_about_small_gamma
from seamseg.modules.norm import cache_min_gammas
from seamseg.ops import abn_kernels
from seamseg.ops.inplace_abn import Activation

HALF = [torch.bfloat16, torch.float16]
ROUNDOFF = {torch.float64: 2**-53, torch.float32: 2**-24, torch.float16: 2**-11, torch.bfloat16: 2**-8}
# Smallest |γ| of the fused path without and with a residual, where β and residual are small. A weight of 0 gives 1e-5.
SMALLEST = {dtype: (max(8 * u, 1e-5), max(8 * u, 1e-5)) for dtype, u in ROUNDOFF.items()}
SMALLEST |= {dtype: (8 * ROUNDOFF[dtype], 64 * ROUNDOFF[dtype]) for dtype in HALF}
SLOPES: dict[Activation, float] = {"leaky_relu": 0.01, "identity": 1.0, "elu": 1.0}


pytestmark = pytest.mark.filterwarnings("ignore:some norms have weights so near 0")


@pytest.fixture(autouse=True)
def _reset_warning() -> None:
    warn_about_small_gamma.cache_clear()


def uniform(size: float, *shape: int, seed: int) -> Tensor:
    values = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * values - 1) * size


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("dtype", "code", "size"), pairwise(list(SMALLEST), [0, 1], [0.0, 1.0, 30.0]))
def test_recovered_input_is_within_its_error_bound(dtype: torch.dtype, code: int, size: float) -> None:
    r"""The error of γ·x̂ is at most ``4u·max(|y|, |r|, |β|)`` for every number."""
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
        abn_kernels.normalize_(z, residual if size else None, moments, layer)
        # With a mean of 1 for x̂·dy and a gradient of 0, the result is −(y − β).
        means = torch.tensor([[0.0], [1.0]], dtype=compute).expand(2, 8).contiguous()
        found, _ = abn_kernels.gradient(z, torch.zeros_like(z), residual if size else None, means, moments, layer)
        wanted = x.double() * gamma.double().view(-1, 1)
        y = wanted + beta.double().view(-1, 1) + residual.double()
        terms = torch.stack([y.abs(), residual.double().abs(), beta.double().abs().view(-1, 1).expand_as(y)])
        error = (found.double() + wanted).abs()
        # The result is rounded once more, to the type of the activations.
        assert (error <= 4 * u * terms.amax(0) + u * wanted.abs() + torch.finfo(dtype).tiny).all()


@dataclass(frozen=True)
class Setting:
    dtype: torch.dtype
    activation: Activation
    gamma: float
    size: float  # largest value of the uniform residual; 0 for no residual
    beta: float | None = None  # None for small ones of both signs
    along: float = 0.3  # correlation of the upstream gradient with x̂; larger is harder


def gradients(kind: type[ABN], setting: Setting, compute: torch.dtype) -> list[Tensor]:
    """Return the gradients of input, weight, bias and residual, for numbers rounded to the setting's type."""
    norm = kind(16, setting.activation, SLOPES[setting.activation])
    with torch.no_grad():
        norm.weight.fill_(max(setting.gamma - norm.eps, 0))
        norm.bias.copy_(0.3 * normal(16, seed=4) if setting.beta is None else torch.full((16,), setting.beta))
    x, upstream = normal(4, 16, 32, 16, seed=5), normal(4, 16, 32, 16, seed=6)
    given = [2 * x + 1, uniform(setting.size, *x.shape, seed=7)][: 1 + (setting.size > 0)]
    inputs = [tensor.to(setting.dtype).to(compute).requires_grad_() for tensor in given]
    norm.to(torch.float64 if compute == torch.float64 else torch.float32)
    z = norm(inputs[0] * 1, *inputs[1:])
    upstream = ((1 - setting.along**2) ** 0.5 * upstream + setting.along * x).to(setting.dtype).to(compute)
    return list(torch.autograd.grad(z, [inputs[0], *norm.parameters(), *inputs[1:]], upstream))


def errors(kind: type[ABN], setting: Setting) -> list[float]:
    """Return the relative error of each gradient against float64, in the Frobenius norm."""
    found, exact = gradients(kind, setting, setting.dtype), gradients(ABN, setting, torch.float64)
    return [((a.double() - b).norm() / b.norm()).item() for a, b in zip(found, exact, strict=True)]


def smallest_gamma(setting: Setting) -> float:
    """Return the smallest γ of the fused path that is at least the setting's, in steps of 10 %."""
    u, beta, rms = ROUNDOFF[setting.dtype], setting.beta or 0.0, setting.size / 3**0.5
    gamma = setting.gamma
    while True:
        sizes = [1.0, abs(beta)]
        if setting.activation == "elu":
            sizes.append(math.exp(2 * gamma - beta))
        if setting.size:
            sizes.append(8.0 if setting.dtype in HALF else rms)
        if gamma >= 8.01 * u * max(sizes):
            return gamma
        gamma *= 1.1
        assert gamma < 100, "an ELU that is never fused"


BETAS = [0.0, 0.3, 1.0, -1.0, -3.0, 10.0, -10.0]
TYPES = [torch.float32, *HALF]
ALONG = [0.3, 0.7]


@pytest.mark.parametrize(
    ("dtype", "activation", "size", "beta", "along"),
    [
        *pairwise(TYPES, ["identity", "leaky_relu"], [0.0, 3.0, 14.0], BETAS, ALONG),
        *pairwise(TYPES, ["elu"], [0.0], [0.0, 0.3, 1.0, 10.0], ALONG),
    ],
)
def test_gradients_at_the_smallest_fused_gamma_are_accurate(
    dtype: torch.dtype, activation: Activation, size: float, beta: float, along: float
) -> None:
    smallest = smallest_gamma(Setting(dtype, activation, 1e-5, size, beta))
    for factor in (1, 3, 10):
        setting = Setting(dtype, activation, factor * smallest, size, beta, along)
        if factor > 1 and smallest_gamma(setting) > setting.gamma:
            continue  # a large γ takes an ELU far below 0
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            dx, dgamma, dbeta, *dr = errors(InPlaceABN, setting)
        # 8 % of x̂, which enters dx in proportion to its part in the upstream gradient; wide types also round results.
        limit = (0.14 if dtype == torch.float32 else 0.08) / factor
        assert dx < limit * along / (1 - along**2) ** 0.5 + ROUNDOFF[dtype] + 2e-7
        assert dgamma < limit / 2
        assert max([dbeta, *dr]) < 5e-7 + ROUNDOFF[dtype]


# A bound on |γ| alone would give errors of 22 to 74 % (bias), 7 to 24 % (residual), and up to 67 % in float32.
HARD = {
    "large bias, bfloat16": Setting(torch.bfloat16, "leaky_relu", 0.02, 0.0, 10.0),
    "large negative bias, bfloat16": Setting(torch.bfloat16, "leaky_relu", 0.02, 0.0, -10.0),
    "large bias, float16": Setting(torch.float16, "identity", 0.002, 0.0, 10.0),
    "large bias, float32": Setting(torch.float32, "leaky_relu", 1e-5, 0.0, 300.0),
    "residual, bfloat16": Setting(torch.bfloat16, "identity", 0.11, 30.0),
    "residual, float16": Setting(torch.float16, "identity", 0.03, 30.0),
    "residual, float32": Setting(torch.float32, "identity", 1e-5, 300.0),
    "low elu, bfloat16": Setting(torch.bfloat16, "elu", 0.1, 0.0, -3.0),
    "low elu, float32": Setting(torch.float32, "elu", 0.001, 0.0, -10.0),
    "wide elu, float16": Setting(torch.float16, "elu", 8.0, 0.0, 0.0),
}


@pytest.mark.parametrize("setting", HARD.values(), ids=HARD)
def test_gradients_of_hard_layers_equal_those_of_the_out_of_place_norm_unless_forced_onto_the_fused_path(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    for along in (0.3, 0.95):
        case = replace(setting, along=along)
        found, expected = (errors(kind, case) for kind in (InPlaceABN, ABN))
        assert all(
            error < 2 * other + 3 * ROUNDOFF[setting.dtype] for error, other in zip(found, expected, strict=True)
        )
    monkeypatch.setattr(inversion, "_MARGIN", 1e-30)
    assert errors(InPlaceABN, replace(setting, along=0.7))[0] > 0.1


@pytest.mark.parametrize(("dtype", "activation", "size"), pairwise(HALF, list(SLOPES), [0.0, 3.0, 30.0]))
def test_gradients_below_the_smallest_fused_gamma_equal_those_of_the_out_of_place_norm(
    dtype: torch.dtype, activation: Activation, size: float
) -> None:
    for gamma in (0.99 * SMALLEST[dtype][size > 0], 1e-4, 0.0):
        found, expected = (errors(kind, Setting(dtype, activation, gamma, size)) for kind in (InPlaceABN, ABN))
        # Nothing is divided by γ; rounding the normalized input moves a few numbers over the kink of leaky ReLU.
        assert all(error < 2 * other + 5 * ROUNDOFF[dtype] for error, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, *HALF], ids=str)
def test_residual_that_saturates_an_elu_does_not_harm_gradients(dtype: torch.dtype) -> None:
    """Sums go down to −30, where no type distinguishes the ELU from −1."""
    assert max(errors(InPlaceABN, Setting(dtype, "elu", 1.0, 30.0))) < 2 * ROUNDOFF[dtype]


@pytest.mark.parametrize(
    ("dtype", "activation", "has_residual", "channels_last"), pairwise(HALF, list(SLOPES), [False, True], [False, True])
)
def test_safe_path_has_the_values_and_statistics_of_the_out_of_place_norm(
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


def is_fused(norm: InPlaceABN, dtype: torch.dtype = torch.bfloat16, size: float = 0.0) -> bool:
    """Return whether a training step keeps only its output and its residual, if ``size`` gives it one."""
    kept = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    x = torch.randn(2, norm.num_channels, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    residual = torch.full_like(x, size) if size else None
    with torch.autograd.graph.saved_tensors_hooks(keep, keep), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        z = norm(x, residual)
    known = [z, residual] if size else [z]
    return all(tensor.data_ptr() in [one.data_ptr() for one in known] for tensor in kept if tensor.shape == x.shape)


def test_safe_path_keeps_three_times_the_memory_of_the_fused_path() -> None:
    x = torch.randn(2, 3, 16, 16)
    full = 2 * 4 * 16 * 16 * 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fused, safe = (saved_bytes(Layers(gamma), x) for gamma in (1.0, 1e-3))
    assert full <= fused < 1.1 * full
    assert 3 * full <= safe < 3.3 * full  # the normalized input stays float32


def test_first_use_of_the_safe_path_warns_once() -> None:
    norm = InPlaceABN(3)
    with torch.no_grad():
        norm.weight[1] = 0.001
    x = torch.zeros(2, 3)
    with pytest.warns(UserWarning, match=r"weights too close to 0.* more memory"):
        norm(x.bfloat16())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        norm(x.bfloat16())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [0.0, 10.0])
def test_zero_weights_in_wide_types_are_fused_without_a_warning(dtype: torch.dtype, size: float) -> None:
    norm = InPlaceABN(3).to(dtype)
    with torch.no_grad():
        norm.weight.zero_()
        norm.bias.fill_(-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert is_fused(norm, dtype, size)


def test_zero_weights_in_float32_are_fused_only_with_small_residuals() -> None:
    norm = InPlaceABN(3)
    with torch.no_grad():
        norm.weight[0] = 0
    assert [is_fused(norm, torch.float32, size) for size in (1.0, 15.0, 30.0, 1e6)] == [True, True, False, False]


def test_usual_weights_in_float32_do_not_measure_the_residual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inversion, "_largest_rms", None)
    norm = InPlaceABN(3)
    with torch.no_grad():
        norm.weight.fill_(1e-3)
    assert is_fused(norm, torch.float32, 1000.0)


def test_layer_with_one_inaccurate_channel_is_not_fused() -> None:
    """The channel with the largest β and the one with the smallest γ are accurate by themselves."""
    norm = InPlaceABN(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.04, 1.0, 0.1]))
        norm.bias.copy_(torch.tensor([0.5, 10.0, 0.0]))
    assert is_fused(norm)
    with torch.no_grad():
        norm.bias.copy_(torch.tensor([0.5, 10.0, 5.0]))
    assert not is_fused(norm)


def test_zero_weights_without_gradients_overwrite_the_input() -> None:
    norm = InPlaceABN(3, "elu")
    with torch.no_grad():
        norm.weight.zero_()
        for residual in (None, torch.zeros(2, 3, dtype=torch.bfloat16)):
            x = torch.ones(2, 3, dtype=torch.bfloat16)
            assert norm(x, residual).data_ptr() == x.data_ptr()


def test_layers_without_weights_or_channels_are_fused() -> None:
    assert is_fused(InPlaceABN(3, affine=False))
    InPlaceABN(0)(torch.zeros(2, 0, dtype=torch.bfloat16))
    cache_min_gammas(nn.Sequential(InPlaceABN(3, affine=False), InPlaceABN(0), ABN(3)))


def test_norm_on_the_meta_device_gives_the_shape() -> None:
    with torch.device("meta"):
        norm = InPlaceABN(3)
        assert norm(torch.zeros(2, 3, 4, dtype=torch.bfloat16)).shape == (2, 3, 4)


def step_of(kind: str) -> Callable[[nn.Module], object]:
    """Return an optimizer step that takes weights from 1 to 0."""

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
    "bias": lambda norm: nn.init.constant_(norm.bias, 100),
    "new bias": lambda norm: setattr(norm, "bias", nn.Parameter(torch.full((3,), 100.0))),
}
# These change no version of a tensor, so only the next look at all layers notices them.
UNNOTICED = ["fused", "data"]


@pytest.mark.parametrize("change", UNNOTICED)
def test_layer_without_a_cached_gamma_notices_an_unversioned_change(change: str) -> None:
    norm = InPlaceABN(3)
    assert is_fused(norm)
    CHANGES[change](norm)
    assert not is_fused(norm)
    with torch.no_grad():
        norm.weight.fill_(1)
    assert is_fused(norm)


@pytest.mark.parametrize("change", UNNOTICED)
def test_cache_min_gammas_after_an_unversioned_change_finds_the_changed_layer(change: str) -> None:
    network = nn.Sequential(InPlaceABN(3), nn.ReLU(), InPlaceABN(3))
    cache_min_gammas(network)
    assert is_fused(network[0])
    CHANGES[change](network[2])
    cache_min_gammas(network)
    assert [is_fused(network[index]) for index in (0, 2)] == [True, False]


@pytest.mark.parametrize("change", [name for name in CHANGES if name not in UNNOTICED])
def test_cached_gamma_is_not_used_after_a_change(change: str) -> None:
    norm = InPlaceABN(3)
    cache_min_gammas(norm)
    CHANGES[change](norm)
    assert not is_fused(norm)


def test_cached_gamma_is_used_without_reading_the_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU, reading the weight would wait for all work."""
    norm = InPlaceABN(3).double()  # float32 on the CPU has an operator that is as fast as the cache
    cache_min_gammas(norm)
    monkeypatch.setattr(inversion, "gammas", None)
    assert is_fused(norm, torch.float64)
    assert is_fused(norm, torch.float64)


def test_cache_min_gammas_finds_the_smallest_gamma_of_each_layer() -> None:
    kinds = [{}, {"activation": "elu"}, {"scale": "signed"}, {"eps": 1e-3}, {"activation": "identity"}, {}]
    network = nn.ModuleList(InPlaceABN(2 + index, **kind) for index, kind in enumerate(kinds))
    stir(network)
    network[-1].bias = None
    cache_min_gammas(network)
    for layer in network:
        assert layer.inversion._smallest == inversion.gammas(layer, layer.weight, layer.beta()).min(1).tolist()


def test_copy_of_a_norm_uses_its_own_weight() -> None:
    norm = InPlaceABN(3)
    cache_min_gammas(norm)
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


@pytest.mark.parametrize(
    ("activation", "slope", "gamma", "beta"), [("elu", 0.01, 1.0, -3.0), ("leaky_relu", 0.01, 0.02, -0.0625)]
)
def test_gradients_near_the_kink_in_bfloat16_equal_those_of_batch_norm(
    activation: Activation, slope: float, gamma: float, beta: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, dz = (torch.randn(8, 4, 32, 32, generator=generator).bfloat16() for _ in range(2))
    ours = InPlaceABN(4, activation, slope)
    reference = nn.BatchNorm2d(4)
    for norm, weight in ((ours, gamma - ours.eps), (reference, gamma)):
        nn.init.constant_(norm.weight, weight)
        nn.init.constant_(norm.bias, beta)
    act = nn.ELU(slope) if activation == "elu" else nn.LeakyReLU(slope)
    gradients = []
    for function in (lambda value: ours(value * 1), lambda value: act(reference(value.double().float()))):
        leaf = x.clone().requires_grad_()
        function(leaf).backward(dz)
        gradients.append(leaf.grad.double())
    found, expected = gradients
    assert (found - expected).norm() < 0.01 * expected.norm()
