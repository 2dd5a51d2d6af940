"""In-place norms in larger graphs: views, second readers, checkpoints, threads and memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest
import torch
from oracles.norm import stir
from support.keeps_output import ExpKeepingOutput
from support.pairwise import pairwise
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmarks.memory import peak_bytes
from seamseg.modules import recomputation
from seamseg.modules.abn import ABN, InPlaceABN

residuals = pytest.mark.parametrize("has_residual", [False, True], ids=["alone", "residual"])
layouts = pytest.mark.parametrize("channels_last", [False, True], ids=["planar", "channels last"])


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def laid_out(x: Tensor, channels_last: bool) -> Tensor:
    return x.movedim(1, -1).contiguous().movedim(-1, 1) if channels_last else x.contiguous()


@residuals
def test_retained_graph_gives_the_same_gradients_twice(has_residual: bool) -> None:
    norm = InPlaceABN(3)
    leaf, shortcut = random(4, 3, 5).requires_grad_(), random(4, 3, 5, seed=1).requires_grad_()
    z = norm(leaf * 1, *[shortcut] * has_residual)
    inputs = [leaf, *norm.parameters(), *[shortcut] * has_residual]
    upstream = random(4, 3, 5, seed=2)
    first = torch.autograd.grad(z, inputs, upstream, retain_graph=True)
    output = z.detach().clone()
    again = torch.autograd.grad(z, inputs, upstream)
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert torch.equal(z, output)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(z, inputs, upstream)


def test_chain_of_convolutions_and_norms_equals_out_of_place_norms_in_two_steps() -> None:
    results = []
    for kind in (InPlaceABN, ABN):
        torch.manual_seed(0)
        layers = [nn.Conv2d(4, 4, 3, padding=1), kind(4), nn.Conv2d(4, 4, 1), kind(4, "elu", 0.5)]
        network = nn.Sequential(*layers, nn.Conv2d(4, 4, 1), kind(4, "identity")).double()
        for step in range(2):
            x = random(2, 4, 6, 7, seed=step, dtype=torch.float64)
            (network(x) + network(x * 2)).square().mean().backward()
        results.append([parameter.grad for parameter in network.parameters()] + list(network.buffers()))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("wanted", ["input", "parameters", "residual", "weight"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_only_tensors_that_require_gradients_get_them(wanted: str, training: bool) -> None:
    results = []
    for kind in (InPlaceABN, ABN):
        norm = kind(3).double().train(training)
        stir(norm)
        x, residual = (random(4, 3, 5, seed=seed, dtype=torch.float64) for seed in (0, 1))
        norm.requires_grad_(wanted == "parameters")
        norm.weight.requires_grad_(wanted in ("parameters", "weight"))
        x.requires_grad_(wanted == "input")
        residual.requires_grad_(wanted == "residual")
        z = norm(x.clone() if wanted != "input" else x * 1, residual)
        z.square().sum().backward()
        results.append([tensor.grad for tensor in (x, residual, *norm.parameters())])
    assert sum(gradient is not None for gradient in results[0]) == {"parameters": 2}.get(wanted, 1)
    torch.testing.assert_close(*([g for g in gradients if g is not None] for gradients in results))


def test_norm_without_gradients_builds_no_graph_and_overwrites_its_input() -> None:
    norm = InPlaceABN(3)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            x = random(4, 3, 5)
            z = norm(x, random(4, 3, 5))
            assert z.data_ptr() == x.data_ptr()
        assert not z.requires_grad


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "reshaped": lambda y: y.view(4, 3, 10),
    "split": lambda y: y.view(4, 6, 5).chunk(2, dim=1)[1],
    "sliced": lambda y: y.view(4, 3, 2, 5)[:, :, :, ::2],
    "transposed": lambda y: y.view(4, 10, 3).transpose(1, 2),
    "longer": lambda y: y.view(4, 30)[:, :3, None],
    "expanded": lambda y: y.view(4, 3, 10)[:, :, :1].expand(4, 3, 6),
}


@pytest.mark.parametrize(
    ("view", "reads_base_later", "base_requires_grad"), pairwise(list(VIEWS), [False, True], [False, True])
)
def test_norm_of_a_view_has_right_gradients_and_keeps_the_base(
    view: str, reads_base_later: bool, base_requires_grad: bool
) -> None:
    results = []
    for kind in (InPlaceABN, ABN):
        norm = kind(3).double()
        leaf = random(4, 30, dtype=torch.float64).requires_grad_(base_requires_grad)
        base = leaf * 2
        loss = norm(VIEWS[view](base)).square().sum()
        if reads_base_later:
            loss = loss + base.pow(3).sum()
        inputs = [*norm.parameters(), *[leaf] * base_requires_grad]
        results.append([loss, base, *torch.autograd.grad(loss, inputs)])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize(
    ("alias", "channels_last"),
    [("itself", False), ("view", True), ("reversed", False), ("reversed", True), ("base", False)],
)
def test_residual_that_shares_memory_with_the_input_keeps_its_values(alias: str, channels_last: bool) -> None:
    results = []
    for kind in (InPlaceABN, ABN):
        norm = kind(3).double()
        leaf = random(4, 3, 5, 5, dtype=torch.float64).requires_grad_()
        y = laid_out(leaf * 1, channels_last)
        y = y * 1
        x, residual = {
            "itself": lambda y: (y, y),
            "view": lambda y: (y, y.view_as(y)),
            "reversed": lambda y: (y, y.transpose(2, 3)),
            "base": lambda y: (y.view_as(y), y),
        }[alias](y)
        upstream = random(4, 3, 5, 5, seed=1, dtype=torch.float64)
        z = norm(x, residual)
        results.append([z, *torch.autograd.grad(z, [leaf, *norm.parameters()], upstream)])
        with torch.no_grad():
            y = laid_out(leaf.detach().clone(), channels_last)
            results[-1].append(norm(y, y if alias == "itself" else y.transpose(2, 3)))
    torch.testing.assert_close(*results)


# Operations that keep their output for their own gradient, by the name that the message shows.
MAKERS: dict[str, Callable[[Tensor], Tensor]] = {
    "Exp": torch.exp,
    "LeakyRelu": lambda x: nn.functional.leaky_relu_(x * 1, 0.1),
    "InPlaceABN": lambda x: InPlaceABN(3)(x * 1),
}


@pytest.mark.parametrize(("name", "produce"), MAKERS.items(), ids=MAKERS)
def test_input_that_its_maker_keeps_is_refused(name: str, produce: Callable[[Tensor], Tensor]) -> None:
    norm = InPlaceABN(3)
    norm.layer_name = "body.bn7"
    y = produce(random(4, 3, 5).abs().requires_grad_())
    before = y.detach().clone()
    with pytest.raises(ValueError, match=rf"norm body\.bn7 overwrites its input, but .*{name}.* x\.clone\(\)"):
        norm(y)
    assert torch.equal(y, before)
    norm(y.clone()).sum().backward()


@pytest.mark.parametrize("start", [recomputation.checkpoint, partial(checkpoint, use_reentrant=False)])
@pytest.mark.parametrize(
    ("name", "produce"),
    {**MAKERS, "Sigmoid": torch.sigmoid, "leaf": lambda x: x}.items(),
    ids=[*MAKERS, "Sigmoid", "leaf"],
)
def test_input_that_its_maker_keeps_is_refused_in_a_checkpoint_without_recomputation(
    start: Callable[..., Tensor], name: str, produce: Callable[[Tensor], Tensor]
) -> None:
    norm, calls, leaf = InPlaceABN(3), [], random(4, 3, 5).abs().requires_grad_()
    before = leaf.detach().clone()

    def call(x: Tensor) -> Tensor:
        calls.append(1)
        z: Tensor = norm(produce(x))
        return z

    with pytest.raises(ValueError, match=rf"overwrites its input, but .*{name}"):
        start(call, leaf)
    assert len(calls) == 1
    assert torch.equal(leaf, before)


def test_input_that_its_maker_keeps_is_refused_after_accepted_inputs() -> None:
    norm, x = InPlaceABN(3), random(4, 3, 5).requires_grad_()
    norm(x * 1)
    for _ in range(2):
        with pytest.raises(ValueError, match="Sigmoid"):
            norm(x.sigmoid())


def test_leaf_that_requires_gradients_is_refused() -> None:
    leaf = random(4, 3).requires_grad_()
    before = leaf.detach().clone()
    with pytest.raises(ValueError, match=r"a norm over 3 channels overwrites its input, but .* leaf .* x\.clone\(\)"):
        InPlaceABN(3)(leaf)
    assert torch.equal(leaf, before)


@pytest.mark.parametrize(
    "read",
    [lambda y: y * y, lambda y: y.exp().log1p() + y.sin(), lambda y: nn.functional.conv1d(y, torch.ones(1, 3, 1))],
)
def test_second_reader_of_the_input_fails_in_the_backward_pass(read: Callable[[Tensor], Tensor]) -> None:
    w = torch.ones(1, requires_grad=True)
    y = random(4, 3, 5) * w
    other = read(y)
    if other.shape[1] == 1:
        other = nn.functional.conv1d(y, torch.ones(1, 3, 1, requires_grad=True))
    z = InPlaceABN(3)(y)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (z.sum() + other.sum()).backward()


def test_residual_overwritten_by_a_later_norm_fails_in_the_backward_pass() -> None:
    leaf = random(4, 3, 5).requires_grad_()
    x, shortcut = leaf * 1, leaf * 2
    z = InPlaceABN(3)(x, shortcut)
    other = InPlaceABN(3)(shortcut)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (z.sum() + other.sum()).backward()


@pytest.mark.parametrize("reentrant", [False, True])
def test_norm_in_a_checkpoint_is_recomputed_exactly_once(reentrant: bool) -> None:
    calls = []
    conv, norm = nn.Conv2d(2, 3, 1), InPlaceABN(3)

    def call(x: Tensor) -> Tensor:
        calls.append(1)
        z: Tensor = norm(conv(x))
        return z

    x = random(2, 2, 4, 4).requires_grad_()
    expected = torch.autograd.grad(call(x).square().sum(), [x, *conv.parameters(), *norm.parameters()])
    calls.clear()
    z = checkpoint(call, x, use_reentrant=reentrant)
    assert len(calls) == 1, "looking at the input must not make the checkpoint compute it again"
    z.square().sum().backward()
    assert len(calls) == 2
    found = [tensor.grad for tensor in (x, *conv.parameters(), *norm.parameters())]
    torch.testing.assert_close(found, list(expected))


def read_before(x: Tensor) -> tuple[Tensor, Tensor]:
    y = x * 2
    return y, (y * y).sum()


def partly_overwritten(x: Tensor) -> Tensor:
    y = x * 2
    y[:, :2].sigmoid_()
    return y


# Makers whose type does not show that they keep the input of the norm; the second result is added to the loss.
UNKNOWN: dict[str, Callable[[Tensor], tuple[Tensor, Tensor | float]]] = {
    "function": lambda x: (ExpKeepingOutput.apply(x), 0.0),
    "slice": lambda x: (partly_overwritten(x), 0.0),
    "power": lambda x: (x.abs() ** torch.full((3, 1), 2.0, requires_grad=True), 0.0),
    "view": lambda x: (x.sigmoid()[:, :, 1:], 0.0),
    "same view": lambda x: (x.sigmoid().unsqueeze_(0).squeeze_(0), 0.0),
    "earlier reader": read_before,
}


@pytest.mark.parametrize("produce", UNKNOWN.values(), ids=UNKNOWN)
def test_norm_in_a_checkpoint_after_an_unknown_maker_has_right_gradients(
    produce: Callable[[Tensor], tuple[Tensor, Tensor | float]],
) -> None:
    results = []
    for kind in (ABN, InPlaceABN):
        norm, x = kind(3), random(4, 3, 5, seed=1).requires_grad_()
        calls: list[int] = []

        def call(x: Tensor, norm: ABN = norm, calls: list[int] = calls) -> Tensor:
            calls.append(1)
            y, added = produce(x)
            return norm(y).square()[..., 0].sum() + added

        checkpoint(call, x, use_reentrant=False).backward()
        assert len(calls) == 2
        results.append([x.grad, *(parameter.grad for parameter in norm.parameters())])
    torch.testing.assert_close(*results)


def test_checkpoint_that_starts_with_a_norm_fails_in_the_backward_pass() -> None:
    norm, x = InPlaceABN(3), random(4, 3, 5).requires_grad_()
    z = checkpoint(norm, x * 1, use_reentrant=False)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.square().sum().backward()


@layouts
@residuals
def test_backward_pass_allocates_only_its_gradients(channels_last: bool, has_residual: bool) -> None:
    norm = InPlaceABN(16)
    leaf, shortcut = (laid_out(random(4, 16, 32, 32, seed=seed), channels_last) for seed in (0, 1))
    leaf.requires_grad_()
    shortcut.requires_grad_(has_residual)
    z = norm(leaf + 0, *[shortcut] * has_residual)  # an addition passes its gradient through
    upstream = laid_out(random(4, 16, 32, 32, seed=2), channels_last)
    full = 4 * leaf.numel() * (1 + has_residual)
    inputs = [leaf, *norm.parameters(), *[shortcut] * has_residual]
    peak = peak_bytes(lambda: torch.autograd.grad(z, inputs, upstream, retain_graph=True))
    assert full <= peak < 1.02 * full


def test_norms_in_concurrent_threads_equal_norms_in_one_thread() -> None:
    def train(seed: int) -> list[Tensor]:
        norm = InPlaceABN(8, "elu" if seed % 2 else "leaky_relu")
        results: list[Tensor] = []
        for step in range(20):
            leaf = laid_out(random(2, 8, 16, 16, seed=100 * seed + step), bool(step % 2)).requires_grad_()
            z = norm(leaf * 1)
            results += [z.detach(), *torch.autograd.grad(z.square().sum(), [leaf, *norm.parameters()])]
        return [*results, *norm.buffers()]

    found: dict[int, list[Tensor]] = {}
    threads = [threading.Thread(target=lambda seed=seed: found.update({seed: train(seed)})) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        torch.testing.assert_close(found[seed], train(seed))
