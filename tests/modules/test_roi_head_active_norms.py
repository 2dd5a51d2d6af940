"""Training of the RoI head where some ranks have no regions: two and four processes compared with one."""

from __future__ import annotations

import copy
import functools
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from oracles.norm import stir
from support.collective_log import CollectiveLog
from support.ranks import on_ranks
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from seamseg.modules.abn import InPlaceABN, InPlaceABNSync
from seamseg.modules.norm import NormFactory, NormName
from seamseg.modules.roi_head import RoIHead
from seamseg.modules.shared_batch_stats import BranchRows, set_active_group, shared_batch_stats
from seamseg.ops import collectives
from seamseg.ops.collectives import ActiveGroup, Sync, group_of
from seamseg.runtime.optimizer import WeightAverage

RANDOM_STEPS = 12
WORLDS = (2, 4)
MODES: dict[str, Sync] = {"active": "active", "masked": "masked", "limited": "active"}
pytestmark = pytest.mark.filterwarnings("ignore:the RoI head got a single region")


@dataclass(frozen=True)
class Step:
    """Number of regions per rank, number of regions with masks, and whether gradients accumulate into the next step."""

    regions: tuple[int, ...]
    masks: tuple[int, ...]
    accumulates: bool = False

    @property
    def scores(self) -> list[int]:
        """Number of regions per rank whose masks are scored."""
        return [count // 2 for count in self.masks]

    @property
    def later_regions(self) -> list[tuple[int, ...]]:
        """Number of regions per rank in the second and the third stage: those that another rank had before."""
        return [self.regions[stage:] + self.regions[:stage] for stage in (1, 2)]


def edge_cases(num_ranks: int) -> list[Step]:
    """Return the steps that are most likely to go wrong."""
    none, last = (0,) * num_ranks, (0,) * (num_ranks - 1)
    return [
        Step((3,) * num_ranks, (2,) * num_ranks),
        Step(none, none),
        Step((*last, 4), (*last, 2)),  # only one rank has regions
        Step((*last, 1), (*last, 1)),  # one region on all ranks together
        Step((1,) * num_ranks, (*last, 1)),  # one mask on all ranks together
        Step((2,) * num_ranks, (*last, 2)),  # fewer ranks with masks than with regions
        Step((0, *(3,) * (num_ranks - 1)), (*last, 3)),
        Step((2,) * num_ranks, none),
    ]


def steps(num_ranks: int) -> list[Step]:
    """Return the edge cases and random steps."""
    generator = random.Random(num_ranks)
    found = edge_cases(num_ranks)
    for _ in range(RANDOM_STEPS):
        regions = tuple(generator.choice([0, 0, 1, 2, 5]) for _ in range(num_ranks))
        masks = tuple(generator.randint(0, count) for count in regions)
        found.append(Step(regions, masks, accumulates=generator.random() < 0.3))
    return found


def regions_of(step: int, rank: int, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(100 * step + rank)
    return torch.randn(count, 4, 14, 14, generator=generator, dtype=torch.float64) * (rank + 1) + rank


def later_regions_of(number: int, step: Step, rank: int) -> list[Tensor]:
    """Return the regions of a rank in the later stages of a step."""
    return [regions_of(number + 50 * stage, rank, counts[rank]) for stage, counts in enumerate(step.later_regions, 1)]


def head(
    name: NormName, sync: Sync = "masked", momentum: float | None = 0.1, has_all_branches: bool = False
) -> RoIHead:
    extra: Any = {}
    if has_all_branches:
        extra = {"box_channels": 4, "mask_scoring": True, "point_head": True}
        extra |= {"class_agnostic": True, "num_later_stages": 2}
    made = RoIHead(4, 2, 8, 4, NormFactory(name, sync=sync, momentum=momentum), **extra).double()
    stir(made)
    return made


class Loss(nn.Module):
    """Sum of a loss per row, so that rows may be spread over the ranks."""

    def __init__(self, head: RoIHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, regions: Tensor, with_masks: Tensor, scored: Tensor, later: Sequence[Tensor] = ()) -> Tensor:
        with self.head.planned_forward(len(regions), len(with_masks), len(scored)):
            classes, boxes = self.head.classify(regions)
            masks = self.head.masks(with_masks)
            loss = classes.square().sum() + (boxes * 3).sin().sum() + masks.sigmoid().square().sum()
            if self.head.has_mask_scores:
                loss = loss + self.head.mask_scores(scored, scored[:, 0].repeat(1, 2, 2)).square().sum()
            if self.head.has_points:
                loss = loss + self.head.point_logits(scored[..., 0].mT, scored[:, 0, 0]).square().sum()
        for stage, refined in zip(self.head.later_stages, later, strict=True):
            with stage.planned_forward(len(refined), 0, 0):
                loss = loss + sum(values.square().sum() for values in stage.classify(refined))
        return loss


def buffers(module: nn.Module) -> Tensor:
    return torch.cat([buffer.flatten().double() for buffer in module.buffers()])


def gradients(module: nn.Module) -> Tensor:
    found = [parameter.grad for parameter in module.parameters()]
    assert all(gradient is not None for gradient in found), "every parameter gets a gradient"
    return torch.cat([gradient.flatten() for gradient in found if gradient is not None])


def train(
    rank: int, sync: Sync, momentum: float | None = 0.1, has_all_branches: bool = False
) -> list[dict[str, Tensor]]:
    """Run all steps with plain gradient descent under DistributedDataParallel."""
    made = head("syncbn", sync, momentum, has_all_branches)
    network = DistributedDataParallel(Loss(made), broadcast_buffers=False)
    found = []
    for number, step in enumerate(steps(dist.get_world_size())):
        regions = regions_of(number, rank, step.regions[rank]).requires_grad_()
        later = later_regions_of(number, step, rank) if has_all_branches else []
        with network.no_sync() if step.accumulates else nullcontext():
            loss = network(regions * 1, regions[: step.masks[rank]] * 1, regions[: step.scores[rank]] * 1, later)
            loss.backward()
        assert regions.grad is not None
        found.append({"loss": loss.detach(), "buffers": buffers(made), "dx": regions.grad})
        if not step.accumulates:
            found[-1]["gradients"] = gradients(made)
            descend(made)
    return found


def descend(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            assert parameter.grad is not None
            parameter -= 1e-3 * parameter.grad / (parameter.grad.norm() + 1)
            parameter.grad = None


def on_one_rank(rank: int) -> dict[str, Any]:
    warnings.simplefilter("ignore", FutureWarning)
    results: dict[str, Any] = {}
    for mode, sync in reversed(MODES.items()):
        collectives.MAX_GROUPS = 2 if mode == "limited" else 16
        results[mode] = train(rank, sync)
        results[f"{mode}, num groups"] = collectives.num_groups()
    results["cumulative"] = train(rank, "active", momentum=None)
    results["all branches"] = train(rank, "active", has_all_branches=True)
    results["log"] = {mode: logged(rank, sync) for mode, sync in MODES.items()}
    results["two at once"] = [two_at_once(rank, sync) for sync in ("active", "masked")]
    results["one sample"] = one_sample(rank)
    return results | (train_in_pairs(rank) if dist.get_world_size() == 4 else {})


def logged(rank: int, sync: Sync) -> dict[str, list[str]]:
    """Return the collectives of steps in which all, some, one and no ranks have regions; the last rank has masks."""
    num_ranks, found = dist.get_world_size(), {}
    for name, regions in (("all", 2), ("some", 2 * (rank > 1)), ("first", 2 * (rank == 0)), ("none", 0)):
        made = head("syncbn", sync)
        with CollectiveLog() as forward:
            with_masks = regions_of(0, rank, regions * (rank == num_ranks - 1))
            loss = Loss(made)(regions_of(0, rank, regions), with_masks, with_masks)
        with CollectiveLog() as backward:
            loss.backward()
        found[name] = [*forward.names, "|", *backward.names]
        assert all(norm.active is None for norm in made.modules() if isinstance(norm, InPlaceABNSync))
        copy.deepcopy(made)  # fails if a process group is left in it
    return found


def one_sample(rank: int) -> str:
    """Return the error of a rank that has the only sample of an active group; the other ranks get none."""
    norm = InPlaceABNSync(3)
    set_active_group(norm, group_of([1], "masked"))
    try:
        norm(torch.zeros(int(rank == 1), 3))
    except ValueError as error:
        return str(error)
    return ""


def two_at_once(rank: int, sync: Sync) -> list[Tensor]:
    """Run two forward passes of different active ranks before their backward passes, and return the gradients."""
    norm = InPlaceABNSync(3).double()
    losses, leaves = [], []
    for step in range(2):
        ranks = list(range(dist.get_world_size()))[step:][: dist.get_world_size() - 1]
        leaf = torch.randn(3 * (rank in ranks), 3, generator=torch.Generator().manual_seed(rank), dtype=torch.float64)
        leaves.append(leaf.requires_grad_())
        set_active_group(norm, group_of(ranks, sync))
        losses.append((norm(leaf * 1) * (step + 2)).sin().sum())
        set_active_group(norm, None)
    sum(losses).backward()
    return [gradient for leaf in leaves if (gradient := leaf.grad) is not None]


@pytest.fixture(scope="module")
def results_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], list[dict[str, Any]]]:
    """Start each number of processes once."""

    @functools.cache
    def run(num_ranks: int) -> list[dict[str, Any]]:
        return on_ranks(__file__, "on_one_rank", tmp_path_factory.mktemp("ranks"), num_ranks=num_ranks)

    return run


@pytest.fixture(scope="module", params=WORLDS)
def ranks(request: pytest.FixtureRequest, results_of: Callable[[int], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return results_of(request.param)


@pytest.fixture(scope="module")
def pairs(results_of: Callable[[int], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return results_of(4)


def train_in_one_process(
    num_ranks: int, momentum: float | None = 0.1, has_all_branches: bool = False
) -> list[dict[str, Any]]:
    """Run the same training in one process that gets the rows of all ranks."""
    made = head("bn", momentum=momentum, has_all_branches=has_all_branches)
    loss_of, found = Loss(made), []
    for number, step in enumerate(steps(num_ranks)):
        leaves = [regions_of(number, rank, count).requires_grad_() for rank, count in enumerate(step.regions)]
        masked, scored = (
            torch.cat([leaf[:count] for leaf, count in zip(leaves, counts, strict=True)])
            for counts in (step.masks, step.scores)
        )
        of_ranks = [later_regions_of(number, step, rank) for rank in range(num_ranks)] if has_all_branches else []
        loss = loss_of(torch.cat(leaves), masked, scored, [torch.cat(parts) for parts in zip(*of_ranks, strict=True)])
        (loss / num_ranks).backward()  # DDP averages
        found.append({"loss": loss.detach(), "buffers": buffers(made), "dx": [leaf.grad for leaf in leaves]})
        if not step.accumulates:
            found[-1]["gradients"] = gradients(made)
            descend(made)
    return found


def assert_equal_one_process(results: list[list[dict[str, Tensor]]], expected: list[dict[str, Any]]) -> None:
    for number, whole in enumerate(expected):
        parts = [result[number] for result in results]
        close = {"rtol": 1e-7, "atol": 1e-9}
        torch.testing.assert_close(sum(part["loss"] for part in parts), whole["loss"], **close)
        for part, dx in zip(parts, whole["dx"], strict=True):
            torch.testing.assert_close(part["buffers"], whole["buffers"], **close)
            torch.testing.assert_close(part["dx"], dx * len(parts), **close)
            assert part.keys() == whole.keys()
            if "gradients" in whole:
                torch.testing.assert_close(part["gradients"], whole["gradients"], **close)


@pytest.mark.parametrize("mode", MODES)
def test_training_on_ranks_equals_training_in_one_process(ranks: list[dict[str, Any]], mode: str) -> None:
    assert_equal_one_process([result[mode] for result in ranks], train_in_one_process(len(ranks)))


def test_cumulative_statistics_of_ranks_equal_those_of_one_process(ranks: list[dict[str, Any]]) -> None:
    assert_equal_one_process(
        [result["cumulative"] for result in ranks], train_in_one_process(len(ranks), momentum=None)
    )


def test_training_of_all_branches_on_ranks_equals_training_in_one_process(ranks: list[dict[str, Any]]) -> None:
    expected = train_in_one_process(len(ranks), has_all_branches=True)
    assert_equal_one_process([result["all branches"] for result in ranks], expected)


@pytest.mark.parametrize("mode", [*MODES, "cumulative", "all branches"])
def test_buffers_are_bit_equal_on_all_ranks_after_every_step(ranks: list[dict[str, Any]], mode: str) -> None:
    for first, *others in zip(*(result[mode] for result in ranks), strict=True):
        assert all(torch.equal(first["buffers"], other["buffers"]) for other in others)


def test_gradients_are_bit_equal_on_all_ranks(ranks: list[dict[str, Any]]) -> None:
    for mode in MODES:
        for first, *others in zip(*(result[mode] for result in ranks), strict=True):
            assert all(torch.equal(first["gradients"], one["gradients"]) for one in others if "gradients" in first)


def test_number_of_process_groups_stays_below_the_limit(ranks: list[dict[str, Any]]) -> None:
    num_groups = [ranks[0][f"{mode}, num groups"] for mode in ("limited", "masked", "active")]
    assert num_groups[0] == num_groups[1] == (0 if len(ranks) == 2 else 2)
    assert num_groups[2] <= {2: 0, 4: 10}[len(ranks)]
    assert num_groups[2] > num_groups[0] or len(ranks) == 2


def test_inactive_ranks_take_part_in_two_collectives_only(ranks: list[dict[str, Any]]) -> None:
    """These are the exchange of counts and the broadcast of buffers; norms synchronize among the active ranks."""
    for rank, result in enumerate(ranks):
        found = result["log"]["active"]
        assert found["none"] == ["allgather_", "|"]
        assert found["first"] == ["allgather_", "broadcast_", "|"], (
            "a single active rank has no one to synchronize with"
        )
        some = ["allgather_"] * (2 if len(ranks) == 4 and rank > 1 else 0)
        assert found["some"] == [
            "allgather_",
            *some,
            *["broadcast_"] * (len(ranks) > 2),
            "|",
            *["allreduce_"] * len(some),
        ]
        # All ranks have regions, but only the last has masks.
        assert found["all"] == ["allgather_"] * 3 + ["broadcast_", "|"] + ["allreduce_"] * 2


def test_all_ranks_take_part_in_all_collectives_with_sync_masked(ranks: list[dict[str, Any]]) -> None:
    for result in ranks:
        found = result["log"]["masked"]
        assert found["all"] == ["allgather_"] * 8 + ["|"] + ["allreduce_"] * 7
        assert found["some"] == (found["all"] if len(ranks) > 2 else found["none"])
        assert found["none"] == ["allgather_", "|"]


def test_backward_pass_uses_the_group_of_its_forward_pass(ranks: list[dict[str, Any]]) -> None:
    for result in ranks:
        active, masked = result["two at once"]
        torch.testing.assert_close(active, masked, rtol=1e-12, atol=1e-12)
    assert any(gradient.count_nonzero() for result in ranks for gradient in result["two at once"][0])


def test_one_sample_in_an_active_group_is_refused_on_its_rank(ranks: list[dict[str, Any]]) -> None:
    first, second, *others = (result["one sample"] for result in ranks)
    assert "got one sample per channel in training" in second
    assert not any([first, *others])


@pytest.fixture
def world_of_one() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("world_of_one")
@pytest.mark.parametrize("sync", ["active", "masked"])
def test_world_of_one_rank_equals_a_process_without_a_group(sync: Sync) -> None:
    one, expected = head("syncbn", sync), head("bn")
    with CollectiveLog() as log:
        for count in (3, 0, 1, 2):
            losses = [Loss(made)(*[regions_of(0, 0, count) for _ in range(3)]) for made in (one, expected)]
            sum(losses).backward()
            assert torch.equal(*losses)
    assert torch.equal(gradients(one), gradients(expected))
    assert torch.equal(buffers(one), buffers(expected))
    assert log.names == []


@pytest.mark.usefixtures("world_of_one")
def test_samples_on_a_rank_outside_of_the_active_group_are_refused() -> None:
    norm = InPlaceABNSync(3)
    norm.layer_name = "roi_head.fc.bn1"
    set_active_group(nn.Sequential(norm, InPlaceABN(3)), ActiveGroup((1,), is_member=False))
    assert norm(torch.zeros(0, 3)).shape == (0, 3)
    with pytest.raises(ValueError, match=r"the norm roi_head\.fc\.bn1 got samples on a rank outside its active"):
        norm(torch.zeros(2, 3))


@pytest.mark.usefixtures("world_of_one")
def test_shared_batch_stats_restores_the_norms_after_an_error() -> None:
    norm = InPlaceABNSync(3)
    seen = []

    def fail() -> None:
        with shared_batch_stats([BranchRows(norm, 1)], "active") as has_single_row:
            seen.append((has_single_row, norm.statistics_frozen))
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert seen == [(True, True)]
    assert norm.active is None
    assert not norm.statistics_frozen


PAIRS = [[0, 2], [1, 3]]
ROWS_OF_PAIRS = [(3, 0, 0, 1), (2, 1, 3, 0), (0, 0, 0, 0), (1, 4, 0, 2)]


def train_in_pairs(rank: int) -> dict[str, Any]:
    """Run steps of an RoI head whose norms have a group, for both values of sync; copies keep the group."""
    groups = [dist.new_group(pair) for pair in PAIRS]
    results: dict[str, Any] = {}
    for sync in ("active", "masked"):
        made = head("syncbn", sync)
        for norm in synchronized(made):
            norm.group = groups[rank % 2]  # type: ignore[assignment]
        copied = copy.deepcopy(made)
        assert all(norm.group is groups[rank % 2] for norm in synchronized(copied))
        assert all(norm.group is groups[rank % 2] for norm in synchronized(WeightAverage(made, 0.9).network))
        results[f"pairs, {sync}"] = [
            pair_step(copied, step, rank, rows[rank]) for step, rows in enumerate(ROWS_OF_PAIRS)
        ]
    synchronized(made)[1].group = None
    try:
        pair_step(made, 0, rank, 2)
    except ValueError as error:
        results["two groups"] = str(error)
    outside = head("syncbn")
    for norm in synchronized(outside):
        norm.group = groups[0]  # type: ignore[assignment]  # ranks 1 and 3 are not members
    results["outside"] = pair_step(outside, 1, rank, 2)["buffers"]
    return results


def pair_step(made: RoIHead, step: int, rank: int, count: int) -> dict[str, Tensor]:
    regions = regions_of(step, rank, count).requires_grad_()
    loss = Loss(made)(regions * 1, regions * 1, regions[:0])
    loss.backward()
    assert regions.grad is not None
    return {"loss": loss.detach(), "buffers": buffers(made), "dx": regions.grad}


def synchronized(module: nn.Module) -> list[InPlaceABNSync]:
    return [norm for norm in module.modules() if isinstance(norm, InPlaceABNSync)]


@pytest.mark.parametrize("sync", ["active", "masked"])
def test_shared_statistics_of_norms_with_a_group_equal_one_process_with_the_rows_of_the_group(
    pairs: list[dict[str, Any]], sync: str
) -> None:
    close = {"rtol": 1e-7, "atol": 1e-9}
    for pair in PAIRS:
        made = head("bn")
        for step, rows in enumerate(ROWS_OF_PAIRS):
            leaves = [regions_of(step, rank, rows[rank]).requires_grad_() for rank in pair]
            loss = Loss(made)(torch.cat(leaves), torch.cat(leaves), torch.cat(leaves)[:0])
            loss.backward()
            parts = [pairs[rank][f"pairs, {sync}"][step] for rank in pair]
            torch.testing.assert_close(sum(part["loss"] for part in parts), loss.detach(), **close)
            for part, leaf in zip(parts, leaves, strict=True):
                torch.testing.assert_close(part["buffers"], buffers(made), **close)
                torch.testing.assert_close(part["dx"], leaf.grad, **close)


def test_norms_of_one_branch_with_different_groups_are_refused(pairs: list[dict[str, Any]]) -> None:
    assert all("must share one group" in result["two groups"] for result in pairs)


def test_rank_outside_of_the_group_uses_its_own_statistics(pairs: list[dict[str, Any]]) -> None:
    for rank in PAIRS[1]:
        made = head("bn")
        pair_step(made, 1, rank, 2)
        torch.testing.assert_close(pairs[rank]["outside"], buffers(made), rtol=1e-7, atol=1e-9)
