"""Synchronised norms: two processes against one that sees all samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from ranks import on_ranks
from torch import Tensor
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from seamseg.modules.abn import InPlaceABN, InPlaceABNSync, Scale
from seamseg.modules.norm import Norm, running_statistics
from seamseg.modules.region_head import RegionHead
from seamseg.ops.inplace_abn import Activation

CHANNELS = 3


@dataclass(frozen=True)
class Case:
    """Samples per rank, their other dimensions, and the norm."""

    counts: tuple[int, int]
    tail: tuple[int, ...] = (4, 5)
    activation: Activation = "leaky_relu"
    scale: Scale = "abs"
    momentum: float | None = 0.1
    training: bool = True


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
}
STEPS = 2


def samples(case: Case, rank: int, step: int) -> Tensor:
    generator = torch.Generator().manual_seed(100 * step + rank)
    values = torch.randn(case.counts[rank], CHANNELS, *case.tail, generator=generator, dtype=torch.float64)
    return values * (rank + 1) + 3 * rank + step


def upstream(x: Tensor) -> Tensor:
    """A gradient that depends on the sample alone, not on where it is computed."""
    return (x * 7).sin()


def steps(norm: InPlaceABN, inputs: list[Tensor]) -> dict[str, Any]:
    """A few forward and backward passes; parameters' gradients add up."""
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.7, -1.2, 0.4]))
        norm.bias.copy_(torch.tensor([0.1, -0.3, 0.5]))
    outputs, gradients = [], []
    for x in inputs:
        leaf = x.clone().requires_grad_()
        z = norm(leaf * 1)
        outputs.append(z.detach().clone())
        z.backward(upstream(x))
        assert leaf.grad is not None
        gradients.append(leaf.grad)
    parameters = [parameter.grad for parameter in norm.parameters()]
    return {"outputs": outputs, "gradients": gradients, "parameters": parameters, "running": list(norm.buffers())}


def make(kind: type[InPlaceABN], case: Case) -> InPlaceABN:
    norm = kind(CHANNELS, case.activation, 0.2, momentum=case.momentum, scale=case.scale)
    return norm.double().train(case.training)


def on_one_rank(rank: int) -> dict[str, Any]:
    """What the ranks do; the tests read what comes back."""
    results: dict[str, Any] = {}
    for name, case in CASES.items():
        inputs = [samples(case, rank, step) for step in range(STEPS)]
        results[name] = steps(make(InPlaceABNSync, case), inputs)
    alone = make(InPlaceABNSync, CASES["different"])
    alone.group = [dist.new_group([0]), dist.new_group([1])][rank]
    case = Case((4, 5))
    results["own group"] = steps(alone, [samples(case, rank, 0)])
    try:
        InPlaceABNSync(CHANNELS)(torch.zeros(rank, CHANNELS))
    except ValueError as error:
        results["error"] = str(error)
    with running_statistics(alone):
        if rank == 0:  # no collective: the other rank is not needed
            alone(torch.zeros(1, CHANNELS))
    results["regions"] = [train_region_head(rank, counts) for counts in ((5, 0), (1, 0), (1, 1), (0, 0))]
    return results


def train_region_head(rank: int, counts: tuple[int, int]) -> tuple[float, list[bool], list[float]]:
    """One step through DDP, which complains about parameters that no gradient reaches."""
    torch.manual_seed(0)
    head = RegionHead(4, 2, 8, 4, Norm("syncbn"))

    class Loss(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = head

        def forward(self, regions: Tensor) -> Tensor:
            classes, boxes = self.head.classify(regions)
            return classes.sum() + boxes.square().sum() + self.head.masks(regions).square().sum()

    network = DistributedDataParallel(Loss())
    for _ in range(2):  # the second step would report parameters left over by the first
        loss = network(torch.randn(counts[rank], 4, 14, 14, generator=torch.Generator().manual_seed(rank)))
        loss.backward()
    reached = [parameter.grad is not None for parameter in head.parameters()]
    statistics = torch.cat([buffer.flatten().double() for buffer in head.buffers()])
    return loss.item(), reached, statistics.tolist()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return on_ranks(__file__, "on_one_rank", tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_equal_one_that_sees_all_samples(ranks: list[dict[str, Any]], name: str) -> None:
    case = CASES[name]
    together = [torch.cat([samples(case, rank, step) for rank in (0, 1)]) for step in range(STEPS)]
    expected = steps(make(InPlaceABN, case), together)
    parts = [result[name] for result in ranks]
    for what in ("outputs", "gradients"):
        for step in range(STEPS):
            joined = torch.cat([part[what][step] for part in parts])
            torch.testing.assert_close(joined, expected[what][step], rtol=1e-9, atol=1e-9)
    for first, second, whole in zip(*(part["parameters"] for part in parts), expected["parameters"], strict=True):
        torch.testing.assert_close(first + second, whole, rtol=1e-9, atol=1e-9)
    for first, second, whole in zip(*(part["running"] for part in parts), expected["running"], strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(first, whole, rtol=1e-9, atol=1e-9)


def test_an_empty_rank_adds_nothing_to_the_parameters(ranks: list[dict[str, Any]]) -> None:
    assert [gradient.tolist() for gradient in ranks[0]["first empty"]["parameters"]] == [[0] * CHANNELS] * 2
    assert [gradient.count_nonzero() for gradient in ranks[1]["first empty"]["parameters"]] == [CHANNELS] * 2


def test_a_group_keeps_to_itself(ranks: list[dict[str, Any]]) -> None:
    for rank, result in enumerate(ranks):
        expected = steps(make(InPlaceABN, CASES["different"]), [samples(Case((4, 5)), rank, 0)])
        torch.testing.assert_close(result["own group"], expected)


def test_one_sample_in_the_whole_group_is_an_error_on_every_rank(ranks: list[dict[str, Any]]) -> None:
    for result in ranks:
        assert "got one sample per channel in training" in result["error"]


def test_ranks_without_regions_train_the_head_along(ranks: list[dict[str, Any]]) -> None:
    fresh = torch.cat([buffer.flatten().double() for buffer in RegionHead(4, 2, 8, 4, Norm("syncbn")).buffers()])
    for case, moved in enumerate((True, False, True, False)):
        (_, reached, statistics), (loss, also_reached, same_statistics) = (result["regions"][case] for result in ranks)
        assert all(reached)
        assert all(also_reached)
        assert statistics == same_statistics
        assert (statistics != fresh.tolist()) == moved, "one region in the whole group has no statistics to learn"
        assert (loss == 0) == (case != 2), "no regions, no loss"


def test_without_a_process_group_they_are_ordinary() -> None:
    case = CASES["different"]
    inputs = [samples(case, 1, step) for step in range(STEPS)]
    found, expected = (steps(make(kind, case), inputs) for kind in (InPlaceABNSync, InPlaceABN))
    torch.testing.assert_close(found, expected)
