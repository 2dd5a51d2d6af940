"""Synchronized norms: two and four processes compared with one process that gets all samples."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from support.ranks import on_ranks
from torch import Tensor
from torch import distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode

from seamseg.modules.abn import InPlaceABN, InPlaceABNSync, warn_about_missing_group
from seamseg.modules.norm import running_statistics
from seamseg.ops.inplace_abn import Activation, Scale

CHANNELS = 3


@dataclass(frozen=True)
class Case:
    """Samples per rank, their other dimensions, and options of the norm."""

    counts: tuple[int, ...]
    tail: tuple[int, ...] = (4, 5)
    activation: Activation = "leaky_relu"
    scale: Scale = "abs"
    momentum: float | None = 0.1
    training: bool = True
    has_residual: bool = False
    channels_last: bool = False


CASES = {
    "equal": Case((3, 3)),
    "different": Case((1, 5)),
    "first empty": Case((0, 4), scale="signed"),
    "second empty": Case((4, 0), activation="elu"),
    "all empty": Case((0, 0)),
    "one value each": Case((1, 1), tail=()),
    "identity": Case((2, 3), tail=(7,), activation="identity", scale="signed"),
    "cumulative": Case((2, 1), activation="elu", momentum=None),
    "inference": Case((2, 0), training=False),
    "residual": Case((1, 4), has_residual=True),
    "residual, first empty": Case((0, 3), scale="signed", has_residual=True, channels_last=True),
    "residual, elu": Case((2, 3), activation="elu", has_residual=True),
    "four": Case((3, 1, 4, 2)),
    "four, some empty": Case((0, 2, 0, 5), activation="elu", scale="signed", channels_last=True),
    "four, one has all": Case((0, 0, 3, 0), activation="identity"),
    "four, one value each": Case((1, 1, 0, 1), tail=()),
    "four, residual": Case((2, 0, 1, 3), has_residual=True, scale="signed"),
    "four, inference": Case((1, 0, 2, 1), training=False, has_residual=True),
}
STEPS = 2
PAIRS = Case((2, 3, 1, 0))


def samples(case: Case, rank: int, step: int) -> Tensor:
    generator = torch.Generator().manual_seed(100 * step + rank)
    values = torch.randn(case.counts[rank], CHANNELS, *case.tail, generator=generator, dtype=torch.float64)
    values = values * (rank + 1) + 3 * rank + step
    return values.contiguous(memory_format=torch.channels_last) if case.channels_last else values


class Collectives(TorchDispatchMode):
    """Counter of the collectives in a process group."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.namespace == "c10d"
        return func(*args, **(kwargs or {}))


def upstream(x: Tensor) -> Tensor:
    """Return a gradient that depends only on the sample, not on the rank that computes it."""
    return (x * 7).sin()


def steps(norm: InPlaceABN, inputs: list[Tensor], has_residual: bool = False) -> dict[str, Any]:
    """Run a forward and a backward pass per input; gradients of the parameters add up."""
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.7, -1.2, 0.4]))
        norm.bias.copy_(torch.tensor([0.1, -0.3, 0.5]))
    outputs, gradients, shortcuts = [], [], []
    for x in inputs:
        leaf = x.clone().requires_grad_()
        residual = (x * 3).cos().requires_grad_() if has_residual else None
        with Collectives() as forward:
            z = norm(leaf * 1, residual)
        outputs.append(z.detach().clone())
        with Collectives() as backward:
            z.backward(upstream(x))
        assert leaf.grad is not None
        gradients.append(leaf.grad)
        shortcuts += [residual.grad] if residual is not None else []
    return {
        "outputs": outputs,
        "gradients": gradients,
        "shortcuts": shortcuts,
        "parameters": [parameter.grad for parameter in norm.parameters()],
        "running": list(norm.buffers()),
        "collectives": [forward.count, backward.count],
    }


def make(kind: type[InPlaceABN], case: Case) -> InPlaceABN:
    norm = kind(CHANNELS, case.activation, 0.2, momentum=case.momentum, scale=case.scale)
    return norm.double().train(case.training)


def on_one_rank(rank: int) -> dict[str, Any]:
    """Run all cases of two ranks, and return what the tests check."""
    results = all_cases(rank, 2)
    alone = make(InPlaceABNSync, CASES["different"])
    alone.group = [dist.new_group([0]), dist.new_group([1])][rank]  # type: ignore[assignment]
    case = Case((4, 5))
    results["own group"] = steps(alone, [samples(case, rank, 0)])
    try:
        InPlaceABNSync(CHANNELS)(torch.zeros(rank, CHANNELS))
    except ValueError as error:
        results["error"] = str(error)
    try:
        torch.func.vmap(InPlaceABNSync(CHANNELS))(torch.zeros(2, 4, CHANNELS))
    except ValueError as error:
        results["transformed"] = str(error)
    with running_statistics(alone):
        if rank == 0:  # runs no collective, so it does not wait for the other rank
            alone(torch.zeros(1, CHANNELS))
    return results


def all_cases(rank: int, num_ranks: int) -> dict[str, Any]:
    return {
        name: steps(make(InPlaceABNSync, case), [samples(case, rank, step) for step in range(STEPS)], case.has_residual)
        for name, case in CASES.items()
        if len(case.counts) == num_ranks
    }


def on_one_of_four_ranks(rank: int) -> dict[str, Any]:
    results = all_cases(rank, 4)
    pairs = [dist.new_group([0, 2]), dist.new_group([1, 3])]
    norm, case = make(InPlaceABNSync, PAIRS), PAIRS
    norm.group = pairs[rank % 2]  # type: ignore[assignment]
    results["pairs"] = steps(norm, [samples(case, rank, 0)])
    return results


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return on_ranks(__file__, "on_one_rank", tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module")
def four_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return on_ranks(__file__, "on_one_of_four_ranks", tmp_path_factory.mktemp("four_ranks"), num_ranks=4)


def assert_parts_of(parts: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    """Check that the results of the ranks are the parts of the result of one process."""
    for what in ("outputs", "gradients", "shortcuts"):
        for step, whole in enumerate(expected[what]):
            joined = torch.cat([part[what][step] for part in parts])
            torch.testing.assert_close(joined, whole, rtol=1e-9, atol=1e-9)
    for *gradients, whole in zip(*(part["parameters"] for part in parts), expected["parameters"], strict=True):
        torch.testing.assert_close(sum(gradients), whole, rtol=1e-9, atol=1e-9)
    for first, *others, whole in zip(*(part["running"] for part in parts), expected["running"], strict=True):
        assert all(torch.equal(first, other) for other in others)
        torch.testing.assert_close(first, whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (len(case.counts) > 2)) for name, case in CASES.items()]
)
def test_ranks_equal_one_process_with_all_samples(name: str, request: pytest.FixtureRequest) -> None:
    case = CASES[name]
    results = request.getfixturevalue("ranks" if len(case.counts) == 2 else "four_ranks")
    together = [torch.cat([samples(case, rank, step) for rank in range(len(case.counts))]) for step in range(STEPS)]
    parts = [result[name] for result in results]
    assert_parts_of(parts, steps(make(InPlaceABN, case), together, case.has_residual))
    of_each_pass = [1, 1] if case.training else [0, 0]
    assert [part["collectives"] for part in parts] == [of_each_pass] * len(parts)


@pytest.mark.slow
def test_norm_with_a_group_of_two_ranks_equals_one_process_with_their_samples(four_ranks: list[dict[str, Any]]) -> None:
    for pair in ((0, 2), (1, 3)):
        together = torch.cat([samples(PAIRS, rank, 0) for rank in pair])
        expected = steps(make(InPlaceABN, PAIRS), [together])
        assert_parts_of([four_ranks[rank]["pairs"] for rank in pair], expected)


def test_rank_without_samples_gets_zero_gradients_of_the_parameters(ranks: list[dict[str, Any]]) -> None:
    assert [gradient.tolist() for gradient in ranks[0]["first empty"]["parameters"]] == [[0] * CHANNELS] * 2
    assert [gradient.count_nonzero() for gradient in ranks[1]["first empty"]["parameters"]] == [CHANNELS] * 2


def test_norm_with_a_group_of_one_rank_equals_a_norm_in_one_process(ranks: list[dict[str, Any]]) -> None:
    for rank, result in enumerate(ranks):
        expected = steps(make(InPlaceABN, CASES["different"]), [samples(Case((4, 5)), rank, 0)])
        torch.testing.assert_close(result["own group"], expected)


def test_one_sample_in_the_whole_group_is_refused_on_every_rank(ranks: list[dict[str, Any]]) -> None:
    for result in ranks:
        assert "got one sample per channel in training" in result["error"]


def test_synchronized_norm_inside_a_torch_func_transform_is_refused_in_training(ranks: list[dict[str, Any]]) -> None:
    for result in ranks:
        assert "call eval() on the network first" in result["transformed"]


def test_synchronized_norm_without_a_process_group_warns_once() -> None:
    warn_about_missing_group.cache_clear()
    with pytest.warns(UserWarning, match=r"synchronized norms without a process group .* norm\.name=bn"):
        InPlaceABNSync(CHANNELS)(torch.zeros(2, CHANNELS))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        InPlaceABNSync(CHANNELS)(torch.zeros(2, CHANNELS))


@pytest.mark.filterwarnings("ignore:synchronized norms without a process group")
def test_synchronized_norm_without_a_process_group_equals_an_ordinary_norm() -> None:
    case = CASES["different"]
    inputs = [samples(case, 1, step) for step in range(STEPS)]
    found, expected = (steps(make(kind, case), inputs) for kind in (InPlaceABNSync, InPlaceABN))
    torch.testing.assert_close(found, expected)
