"""Several processes that train together compute the same as one process with all their images.

All images are padded to one size, and nothing is random: every anchor and every proposal takes part, and the points of
masks lie on a grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal
from unittest import mock

import pytest
import torch
from oracles.parts import losses_of_parts, mean_of_parts
from support.ranks import on_ranks
from support.tiny_network import scenes, tiny_network
from torch import Tensor
from torch import distributed as dist

from benchmarks.made_up import MadeUpBatches
from seamseg.algos import mask_losses
from seamseg.algos.losses import reduce_over_ranks
from seamseg.algos.point_rendering import CoarseMasks
from seamseg.engine.train import Intervals, OptimizationConfig, Trainer
from seamseg.modules.norm import NormFactory
from seamseg.networks import PyramidNet
from seamseg.ops.collectives import Sync
from seamseg.runtime.distributed import Process
from seamseg.runtime.optimizer import LearningRate
from seamseg.runtime.precision import Precision
from seamseg.runtime.stopping import StopRequest
from seamseg.runtime.training_progress import TrainingProgress
from seamseg.structures import Batch, GroundTruth, PackedSequence

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
LOSSES = (
    *("rpn_objectness", "rpn_boxes", "roi_classes", "roi_boxes", "roi_masks", "roi_points", "roi_mask_scores"),
    "semantic",
)
WEIGHTS = dict(zip(LOSSES, (1.0, 2.0, 0.5, 1.5, 0.7, 0.9, 1.7, 1.2), strict=True))
LATER_LOSSES = ("roi_classes_2", "roi_boxes_2", "roi_classes_3", "roi_boxes_3")
SIZES = [(64, 96), (48, 80), (40, 96), (64, 72)]  # with four ranks, all images have the first size and need no padding


@dataclass(frozen=True)
class Case:
    """Training step with four images per batch.

    Attributes:
        normalize: Value of `loss.normalize`.
        batches: Kinds of the images in each batch; several batches are accumulated.
        dtype: Type of all tensors.
        masks_of_positives_only: Value of `roi.masks_of_positives_only`.
        sync: Value of `norm.sync`.
        all_branches: Whether the RoI head has convolutions for boxes and a head for points, and scores masks.
        cascade: Whether it has three stages.
    """

    normalize: Literal["rank", "global"]
    batches: tuple[tuple[str, ...], ...]
    dtype: torch.dtype = torch.float64
    masks_of_positives_only: bool = False
    sync: Sync = "masked"
    all_branches: bool = False
    cascade: bool = False

    @property
    def losses(self) -> list[str]:
        """Names of the losses."""
        names = [name for name in LOSSES if self.all_branches or name not in ("roi_points", "roi_mask_scores")]
        after = names.index("roi_boxes") + 1
        return [*names[:after], *(LATER_LOSSES if self.cascade else ()), *names[after:]]


FULL = ("objects",) * 4
MIXED = ("objects", "no objects", "crowd", "objects")  # with four ranks, two have no region
HALF = ("no objects", "void", "objects", "objects")  # with two ranks, one has no region
CASES = {
    f"{normalize}, {name}": Case(normalize, *rest)
    for normalize in ("rank", "global")
    for name, *rest in (
        ("mixed", (MIXED,)),
        ("mixed, active", (MIXED,), torch.float64, False, "active"),
        ("half, masks of positives", (HALF,), torch.float64, True),
        ("half, masks of positives, active", (HALF,), torch.float64, True, "active"),
        ("accumulated", (MIXED, HALF)),
        ("accumulated, active", (HALF, FULL), torch.float64, False, "active"),
        ("all branches, active", (MIXED,), torch.float64, False, "active", True),
        ("all branches, masks of positives", (HALF,), torch.float64, True, "masked", True),
        ("float32", (MIXED,), torch.float32),
        ("float32, accumulated", (HALF, FULL), torch.float32),
        ("cascade", (MIXED, HALF), torch.float64, False, "masked", True, True),
        ("cascade, active", (HALF,), torch.float64, True, "active", True, True),
    )
}
SECONDS = 240  # for all cases of a normalization, even on a busy machine
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


class SilentObserver:
    """Observer that validates and saves nothing."""

    def on_step_end(self, position: TrainingProgress) -> None: ...

    def on_log(self, iteration: int, losses: dict[str, float], rate: float) -> None: ...

    def save(self, position: TrainingProgress) -> None: ...

    def validate(self, network: PyramidNet, position: TrainingProgress) -> float:
        return 0.0


def network_of(case: Case, name: Literal["bn", "syncbn"]) -> PyramidNet:
    # Rounding in float32 moves values across the kink of a leaky ReLU, where their gradient jumps. This happens in one
    # process and in several, so float32 uses a smooth activation.
    smooth: Any = {"activation": "elu", "slope": 1.0} if case.dtype == torch.float32 else {}
    norm = NormFactory(name, groups=4, sync=case.sync, **smooth)
    network = tiny_network(
        norm,
        num_samples=10**6,
        masks_of_positives_only=case.masks_of_positives_only,
        box_channels=8 if case.all_branches else None,
        mask_scoring=case.all_branches,
        point_head=case.all_branches,
        cascade=(0.5, 0.6, 0.7) if case.cascade else (),
    )
    return network.to(case.dtype).train()


def data_of(case: Case, number: int, num_ranks: int) -> tuple[PackedSequence, GroundTruth]:
    """Return all images of one batch, over all ranks."""
    sizes = [SIZES[image % (4 // num_ranks)] for image in range(4)]
    images, truth = scenes(case.batches[number], sizes, seed=number)
    return PackedSequence(image.to(case.dtype) for image in images.present), truth


def share_of(rank: int, num_ranks: int) -> slice:
    return slice(rank * 4 // num_ranks, (rank + 1) * 4 // num_ranks)


def steps_by_rank(rank: int) -> dict[str, Any]:
    """Run the cases with per-rank losses on this rank; the tests check the results."""
    return {name: step_of_rank(case, rank) for name, case in CASES.items() if case.normalize == "rank"}


def steps_by_all(rank: int) -> dict[str, Any]:
    """Run the cases with losses divided by the common counts of all ranks."""
    return {name: step_of_rank(case, rank) for name, case in CASES.items() if case.normalize == "global"}


def points_on_a_grid(masks: CoarseMasks, generator: torch.Generator) -> Tensor:
    """Return the same points in every region, in place of random ones."""
    steps = (torch.arange(5) + 0.5) / 5
    return torch.cartesian_prod(steps, steps).expand(len(masks.logits), -1, -1)


@mock.patch.object(mask_losses, "training_points", points_on_a_grid)
def step_of_rank(case: Case, rank: int) -> dict[str, Any]:
    """Run a step of the trainer; the gradients remain until the next step."""
    num_ranks = dist.get_world_size()
    network, part = network_of(case, "syncbn"), share_of(rank, num_ranks)
    if case.normalize == "global":
        network.normalize = reduce_over_ranks
    batches = []
    for number in range(len(case.batches)):
        images, truth = data_of(case, number, num_ranks)
        part_truth = GroundTruth(truth.ids[part], truth.classes[part], truth.crowd[part], truth.boxes[part])
        batches.append(Batch(tuple(range(4))[part], images[part], part_truth, tuple(SIZES)[part]))
    optimization = OptimizationConfig(
        optimizer=torch.optim.SGD(network.parameters(), lr=0.01),
        learning_rate=LearningRate(0.01, lambda iteration: 1.0, 0, 1.0),
        loss_weights=WEIGHTS,
        clip_norm=None,
        precision=Precision("float32", CPU),
        accumulate=len(batches),
        average=None,
    )
    loader: Any = MadeUpBatches(batches.__getitem__, len(batches))
    trainer = Trainer(network, loader, optimization, 0, Process(rank, num_ranks, CPU), Intervals(1, 0, 1, 1))
    losses: list[Tensor] = []
    network.register_forward_hook(
        lambda network, inputs, found: losses.append(torch.stack([value.detach() for _, value in found.items()]))
    )
    trainer.run(TrainingProgress(), SilentObserver(), StopRequest())
    return {
        "losses": torch.stack(losses).mean(0),
        "gradients": {name: parameter.grad for name, parameter in network.named_parameters()},
        "buffers": dict(network.named_buffers()),
        "parameters": dict(network.state_dict()),
    }


@mock.patch.object(mask_losses, "training_points", points_on_a_grid)
def step_of_one(case: Case, num_ranks: int) -> dict[str, Any]:
    """Run the same step in this process, with unsynchronized norms."""
    network = network_of(case, "bn")
    weights = torch.tensor([WEIGHTS[name.rstrip("_23")] for name in case.losses], dtype=case.dtype)
    losses = []
    for number in range(len(case.batches)):
        images, truth = data_of(case, number, num_ranks)
        if case.normalize == "global":
            values = [value for _, value in network(images, truth, torch.Generator()).items()]
        else:
            parts = [share_of(rank, num_ranks) for rank in range(num_ranks)]
            values = mean_of_parts(losses_of_parts(network, images, truth, parts))
        losses.append(torch.stack(values))
        ((losses[-1] * weights).sum() / len(case.batches)).backward()
    return {
        "losses": torch.stack(losses).detach().mean(0),
        "gradients": {name: parameter.grad for name, parameter in network.named_parameters()},
        "buffers": dict(network.named_buffers()),
    }


def assert_near(found: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    """Check that the difference relative to the largest number of the tensor is within the tolerance."""
    assert found.dtype == expected.dtype, what
    scale = expected.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    assert float((found - expected).abs().max() / scale) <= tolerance, what


def check(case: Case, rank_results: list[dict[str, Any]]) -> None:
    expected, tolerance = step_of_one(case, len(rank_results)), TOLERANCE[case.dtype]
    mean = torch.stack([result["losses"] for result in rank_results]).mean(0)
    for name, found, expected_loss in zip(case.losses, mean, expected["losses"], strict=True):
        assert float(found) == pytest.approx(float(expected_loss), rel=tolerance), name
    for result in rank_results:
        assert result["gradients"].keys() == expected["gradients"].keys()
        for name, gradient in expected["gradients"].items():
            assert gradient.any(), name
            assert_near(result["gradients"][name], gradient, tolerance, name)
        for name, buffer in expected["buffers"].items():
            assert_near(result["buffers"][name].double(), buffer.double(), tolerance, name)


def check_equal(rank_results: list[dict[str, Any]]) -> None:
    first, *others = rank_results
    for other in others:
        for name, value in first["parameters"].items():
            assert torch.equal(value, other["parameters"][name]), name


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, str], list[dict[str, Any]]]:
    """Return a function from number of ranks and normalization to the results of all ranks."""

    @cache
    def rank_results(num_ranks: int, normalize: str) -> list[dict[str, Any]]:
        function = "steps_by_rank" if normalize == "rank" else "steps_by_all"
        return on_ranks(__file__, function, tmp_path_factory.mktemp("ranks"), num_ranks, seconds=SECONDS)

    return rank_results


@pytest.mark.slow
@pytest.mark.parametrize("num_ranks", [2, 4])
@pytest.mark.parametrize("name", CASES)
def test_step_on_several_ranks_equals_step_in_one_process(
    name: str, num_ranks: int, results: Callable[[int, str], list[dict[str, Any]]]
) -> None:
    rank_results = [result[name] for result in results(num_ranks, CASES[name].normalize)]
    check(CASES[name], rank_results)
    check_equal(rank_results)


@pytest.mark.slow
def test_loss_reductions_per_rank_and_global_differ(results: Callable[[int, str], list[dict[str, Any]]]) -> None:
    """Otherwise the test above could not distinguish them."""
    for name in ("half, masks of positives", "accumulated"):
        means = [
            torch.stack([result[f"{way}, {name}"]["losses"] for result in results(2, way)]).mean(0)
            for way in ("rank", "global")
        ]
        assert not torch.allclose(*means, rtol=1e-2)
