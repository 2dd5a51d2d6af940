"""Class weights from settings to the losses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.ranks import on_ranks
from support.tiny_experiment import narrow_body, tiny_experiment, write_tiny_splits
from support.tiny_training import ALONE
from torch import distributed as dist

from seamseg.algos.class_weights import ClassWeights, balanced_weights
from seamseg.builders import build_trainer
from seamseg.builders.class_weights import build_class_weights
from seamseg.builders.data import open_training_split
from seamseg.data.class_counts import count_classes
from seamseg.errors import SettingsError
from seamseg.runtime.distributed import Process


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_splits(tmp_path_factory.mktemp("class_weights") / "data")


def weights_of(folder: Path, *overrides: str) -> ClassWeights | None:
    experiment = tiny_experiment(folder, *overrides)
    return build_class_weights(experiment, open_training_split(experiment), ALONE)


@pytest.mark.parametrize("value", ["null", "{}"])
def test_class_weights_that_are_not_set_are_none(folder: Path, value: str) -> None:
    assert weights_of(folder, f"loss.class_weights={value}") is None


def test_class_weights_by_name_leave_other_classes_and_background_at_one(folder: Path) -> None:
    found = weights_of(folder, "loss.class_weights={person: 3, sky: 0.5}")
    assert found == ClassWeights((0.5, 1, 1, 3), (1, 1, 3))
    assert weights_of(folder, "loss.class_weights.person=3", "loss.class_weights.sky=0.5") == found


@pytest.mark.parametrize(
    ("name", "fact"), [("persn", "did you mean 'person'"), ("xyz", "the classes are sky, road, car, person")]
)
def test_class_weights_of_an_unknown_class_name_the_nearest(folder: Path, name: str, fact: str) -> None:
    with pytest.raises(SettingsError, match=rf"loss\.class_weights: .* no class '{name}'; {fact}"):
        weights_of(folder, f"loss.class_weights={{{name}: 2}}")


@pytest.mark.parametrize("task", ["instance", "detection"])
def test_class_weights_of_stuff_are_refused_by_tasks_that_do_not_learn_it(folder: Path, task: str) -> None:
    with pytest.raises(SettingsError, match=rf"loss\.class_weights: 'sky' is stuff, which task={task} does not learn"):
        weights_of(folder, "loss.class_weights={person: 3, sky: 2}", f"task={task}")
    assert weights_of(folder, "loss.class_weights={person: 3}", f"task={task}") is not None


@pytest.mark.parametrize("value", ["{car: -1}", "{car: many}", "frequent", "3"])
def test_class_weights_of_another_kind_are_refused(folder: Path, value: str) -> None:
    with pytest.raises(SettingsError, match=r"loss\.class_weights"):
        tiny_experiment(folder, f"loss.class_weights={value}")


def test_class_weights_by_frequency_reach_the_losses_and_are_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = tiny_experiment(folder, "loss.class_weights=frequency", "sem.focal_gamma=2", "roi.focal_gamma=1")
    with narrow_body():
        trainer, record = build_trainer(experiment, tmp_path / "run", ALONE, None)
    record.close()
    counts = count_classes(open_training_split(experiment))
    network = trainer.network
    assert network.semantic_loss.class_weights == tuple(balanced_weights(counts.pixels.tolist()))
    assert network.roi_heads.class_weights == (1.0, *balanced_weights(counts.objects.tolist()))
    assert (network.semantic_loss.focal_gamma, network.roi_heads.focal_gamma) == (2, 1)
    told = capsys.readouterr().err
    assert "loss.class_weights=frequency: weights of pixels from" in told
    assert "(person)" in told


def on_rank(rank: int) -> list[float]:
    experiment = tiny_experiment(Path("../data"), "loss.class_weights=frequency")
    process = Process(rank, dist.get_world_size(), torch.device("cpu"))
    weights = build_class_weights(experiment, open_training_split(experiment), process)
    assert weights is not None
    return [*weights.pixels, *weights.regions]


def test_class_weights_by_frequency_are_equal_on_all_ranks(folder: Path) -> None:
    ranks = folder.parent / "ranks"
    ranks.mkdir()
    first, second = on_ranks(__file__, "on_rank", ranks)
    assert first == second
    alone = weights_of(folder, "loss.class_weights=frequency")
    assert alone is not None
    assert first == [*alone.pixels, *alone.regions]
