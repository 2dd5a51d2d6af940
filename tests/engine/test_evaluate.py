"""Evaluation with networks that predict the annotation, and with an untrained network."""

from __future__ import annotations

import math
import os
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.detection_folder import write_detection
from support.ranks import on_ranks
from support.tiny_dataset import write_tiny_panoptic
from support.tiny_experiment import narrow_body, tiny_experiment, write_tiny_splits
from torch import Tensor, distributed, nn

from seamseg.builders import build_evaluation_loader, build_fusion, build_initialized_network, open_split
from seamseg.data.loader import BatchLoader
from seamseg.engine.evaluate import EvaluationPass, ScoredImage, evaluate, evaluate_objects, left_out
from seamseg.engine.gallery import SampleGallery
from seamseg.errors import BrokenImageError
from seamseg.metrics.scores import Scores
from seamseg.runtime.distributed import Process
from seamseg.structures import Batch, Categories, PackedSequence, Predictions, pad_images

CPU = torch.device("cpu")


class OracleNetwork(nn.Module):
    """Network that predicts the annotation of a loader's batches, in their order and at the size of the annotation.

    Args:
        batches: Batches that will be predicted, in this order.
        categories: Classes of the data set.
        scale: Function from image id to a scale of the true boxes around their upper left corner.
    """

    def __init__(self, batches: list[Batch], categories: Categories, scale: Callable[[Any], float]) -> None:
        super().__init__()
        self.batches, self.categories, self.scale = list(batches), categories, scale

    def predict(self, images: PackedSequence) -> Predictions:
        assert not self.training
        batch, padded = self.batches.pop(0), pad_images(images)
        truth = batch.ground_truth
        num_stuff, num_classes = self.categories.num_stuff, len(self.categories)
        objects = [truth.objects(image, num_stuff) for image in range(len(truth))]
        logits = torch.zeros(len(truth), num_classes, *padded.padded_size)
        for image, (height, width) in enumerate(padded.sizes):
            logits[image, :, :height, :width] = self._one_hot(truth.annotation(image).flat.semantics, num_classes)
        return Predictions(
            boxes=PackedSequence(
                self._scaled(one.boxes, self.scale(image_id))
                for one, image_id in zip(objects, batch.image_ids, strict=True)
            ),
            classes=PackedSequence(one.classes for one in objects),
            scores=PackedSequence(torch.full([len(one.classes)], 0.9) for one in objects),
            masks=PackedSequence(torch.full([len(one.classes), 28, 28], 10.0) for one in objects),
            semantic_logits=logits,
            sizes=padded.sizes,
            padded_size=padded.padded_size,
            proposals=PackedSequence(one.boxes for one in objects),
        )

    def _scaled(self, boxes: Tensor, scale: float) -> Tensor:
        corner = boxes[:, :2].repeat(1, 2)
        return corner + (boxes - corner) * scale

    def _one_hot(self, classes: Tensor, num_classes: int) -> Tensor:
        return 10.0 * (classes == torch.arange(num_classes)[:, None, None])


def opened(folder: Path, *overrides: str) -> tuple[BatchLoader, Categories, Any]:
    experiment = tiny_experiment(folder, *overrides)
    split = open_split(str(folder), "val", None)
    loader = build_evaluation_loader(experiment, split, Process(0, 1, CPU))
    return loader, split.categories, build_fusion(experiment, split.categories.num_stuff, split.categories.num_things)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write three images with one rectangle each, and one image without."""
    folder = tmp_path_factory.mktemp("evaluate") / "data"
    write_tiny_panoptic(folder, split="val", num_images=4, num_objects=1, images_without_objects=[2], seed=3)
    return folder


def score(folder: Path, scale: float, on_image: Any = ()) -> Scores:
    loader, categories, fusion = opened(folder, "data.shortest_side=40")  # the size of the images
    network: Any = OracleNetwork(list(loader.epoch(0)), categories, lambda image_id: scale).train()
    return evaluate(EvaluationPass(network, loader, fusion, categories, CPU, on_image))


def test_evaluate_with_perfect_network_scores_one(folder: Path) -> None:
    scores = score(folder, 1.0)
    for quality in (scores.all, scores.things, scores.stuff):
        assert (quality.pq, quality.sq, quality.rq) == pytest.approx((1, 1, 1))
    assert (scores.miou, scores.miou_semantic, scores.box_ap, scores.mask_ap) == pytest.approx((1, 1, 1, 1))
    assert sum(line.tp for line in scores.per_class.values()) == 4 * 2 + 3
    assert list(scores.per_class) == ["sky", "road", "car", "person"]


def test_evaluate_with_too_small_boxes_finds_no_things(folder: Path) -> None:
    scores = score(folder, 0.6)
    assert scores.things.pq == scores.box_ap == 0
    assert scores.stuff.rq == 1
    assert sum(line.fn for line in scores.per_class.values()) == 3


def test_evaluate_passes_every_image_once_to_every_callback(folder: Path) -> None:
    seen: list[ScoredImage] = []
    others: list[int] = []
    score(folder, 1.0, [seen.append, lambda scored: others.append(scored.image_id)])
    assert sorted(scored.image_id for scored in seen) == [100, 101, 102, 103]
    assert [scored.number for scored in seen] == [1, 2, 3, 4]
    assert others == [scored.image_id for scored in seen]
    for scored in seen:
        assert scored.truth.size == ((40, 56) if scored.image_id % 2 == 0 else (56, 40))
        assert scored.image.shape == (3, *scored.truth.size)
        assert torch.equal(scored.fused.segmentation.semantics, scored.truth.semantics)


def test_evaluate_objects_scores_all_pixels_of_overlapping_objects(tmp_path: Path) -> None:
    """Masks of the predictions fill their boxes, so those of cars, which are rectangles, are perfect."""
    loader, categories, fusion = opened(write_detection(tmp_path), "task=instance", "data.shortest_side=24")
    network: Any = OracleNetwork(list(loader.epoch(0)), categories, lambda image_id: 1.0)
    seen: list[ScoredImage] = []
    scores = evaluate_objects(
        EvaluationPass(network, loader, fusion, categories, CPU, [seen.append]), has_masks=True, score_threshold=0.5
    )
    assert scores.box.ap == pytest.approx(1)
    assert {name: line.num_objects for name, line in scores.per_class.items()} == {"car": 2, "person": 2}
    assert scores.per_class["car"].mask_ap == pytest.approx(1)
    assert scores.per_class["person"].mask_ap < 0.9
    assert [len(image.objects.true) for image in seen] == [4, 0, 1]  # with a crowd
    assert seen[0].quality > seen[1].quality or math.isnan(seen[1].quality)


def test_evaluate_at_another_input_size_scores_at_annotation_size(folder: Path) -> None:
    loader, categories, fusion = opened(folder, "data.shortest_side=64")
    with narrow_body():
        network = build_initialized_network(tiny_experiment(folder), categories).train()
    seen: list[ScoredImage] = []
    evaluate(EvaluationPass(network, loader, fusion, categories, CPU, [seen.append]))
    assert not network.training
    for scored in seen:
        assert tuple(scored.fused.segmentation.ids.shape) == tuple(scored.fused.semantics.shape) == scored.truth.size
        assert scored.image.shape[1:] in ((64, 89), (89, 64))


def test_evaluate_many_images_with_workers_needs_few_open_files(tmp_path: Path) -> None:
    write_tiny_panoptic(tmp_path, split="val", num_images=100, num_objects=1)
    whole, categories, fusion = opened(tmp_path, "data.shortest_side=40")
    network: Any = OracleNetwork(list(whole.epoch(0)), categories, lambda image_id: 1.0)
    loader = opened(tmp_path, "data.shortest_side=40", "data.num_workers=2")[0]
    album = SampleGallery(categories, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), limit=100)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 60, limits[1]))
    try:
        scores = evaluate(EvaluationPass(network, loader, fusion, categories, CPU, [album.add]))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert scores.all.pq == pytest.approx(1)
    assert (len(scores.images), len(album.rows)) == (100, 100)


NUMBERS_OF_IMAGES = (1, 2, 5, 7)


def scores_on_rank(rank: int) -> list[dict[str, Any]]:
    """Score this rank's share of different numbers of images: fewer than ranks, whole batches, uneven last batches."""
    torch.set_num_threads(1)
    num_ranks = distributed.get_world_size() if distributed.is_initialized() else 1
    return [scores_of(num_images, Process(rank, num_ranks, CPU)) for num_images in NUMBERS_OF_IMAGES]


def scores_of(num_images: int, process: Process) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = write_tiny_splits(Path(name) / "data", num_val=num_images)
        experiment = tiny_experiment(folder, "data.shortest_side=40")
        split = open_split(str(folder), "val", None)
        loader = build_evaluation_loader(experiment, split, process)
        # Some objects are detected accurately, some inaccurately, and some not at all.
        network: Any = OracleNetwork(
            list(loader.epoch(0)), split.categories, lambda image_id: 0.65 + 0.05 * (image_id % 7)
        )
        fusion = build_fusion(experiment, split.categories.num_stuff, split.categories.num_things)
        seen: list[Any] = []
        watchers = [lambda image: seen.append(image.image_id)]
        scores = evaluate(
            EvaluationPass(network, loader, fusion, split.categories, CPU, watchers, trace_above=fusion.score_threshold)
        )
    return {"scores": scores.to_dict(), "seen": seen}


@pytest.fixture(scope="module")
def single_process() -> list[dict[str, Any]]:
    return scores_on_rank(0)


@pytest.mark.slow
@pytest.mark.parametrize("num_ranks", [2, 3])
def test_evaluate_on_several_ranks_scores_exactly_like_one_process(
    num_ranks: int, single_process: list[dict[str, Any]], tmp_path: Path
) -> None:
    results = on_ranks(__file__, "scores_on_rank", tmp_path, num_ranks, seconds=240)
    for case, num_images in enumerate(NUMBERS_OF_IMAGES):
        shares = [result[case]["seen"] for result in results]
        together = sorted(image for share in shares for image in share)
        assert together == sorted(single_process[case]["seen"]) == list(range(100, 100 + num_images))
        assert any(share == [] for share in shares) == (num_images < num_ranks), (
            "batches contain two images of one orientation"
        )
        assert all(result[case]["scores"] == single_process[case]["scores"] for result in results), (
            "scores must be equal bit for bit"
        )
    scores = single_process[-1]["scores"]
    assert all(0.3 < scores[part]["pq"] < 1 for part in ("all", "things")), "some objects are found and some are missed"
    assert 0.1 < scores["box_ap"] < 1
    lost = [sum(row.values()) - row["things"] for row in scores["lost"].values()]
    assert 0 < sum(lost) == sum(scores["per_class"][name]["fn"] for name in scores["lost"])


def left_out_on_rank(rank: int) -> list[str]:
    """Return the files that two ranks could not read; each rank has different ones."""
    broken = [BrokenImageError(Path(f"{2 * number + rank}.png"), "is damaged") for number in (1, 0)]
    found = [str(error) for error in left_out(broken, 1)]
    with pytest.raises(ValueError, match=r"none of 4 images .*0\.png"):
        left_out(broken, 0)
    assert left_out([], 0) == []
    return found


@pytest.mark.slow
def test_left_out_returns_the_errors_of_all_ranks_on_every_rank(tmp_path: Path) -> None:
    expected = [f"{number}.png is damaged" for number in range(4)]
    assert on_ranks(__file__, "left_out_on_rank", tmp_path) == [expected, expected]
