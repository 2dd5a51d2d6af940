"""Start of training: weights of other models, and parts that are frozen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.ranks import on_ranks
from support.tiny_experiment import narrow_body, tiny_experiment, write_tiny_splits
from support.tiny_training import CATEGORIES, Watcher
from torch import Tensor

from seamseg.builders import build_initialized_network, build_trainer
from seamseg.config import Experiment, save_experiment
from seamseg.errors import SeamsegError, SettingsError
from seamseg.export.model_file import ModelFile, save_model
from seamseg.networks import SegmentationNet
from seamseg.runtime.distributed import Process
from seamseg.runtime.training_progress import TrainingProgress

DETECTOR = ("body", "rpn_head", "roi_head")
FROZEN = f"training.frozen=[{','.join(DETECTOR)}]"


def initialized(experiment: Experiment, told: list[str] | None = None, read_weights: bool = True) -> SegmentationNet:
    with narrow_body():
        return build_initialized_network(experiment, CATEGORIES, None if told is None else told.append, read_weights)


def model(path: Path, seed: int, *overrides: str) -> dict[str, Tensor]:
    """Write a model with random weights, and return its tensors."""
    experiment = tiny_experiment(None, f"training.seed={seed}", *overrides)
    state = initialized(experiment).state_dict()
    save_model(path, ModelFile(save_experiment(experiment), CATEGORIES.to_list(), state))
    return state


def same(state: dict[str, Tensor], other: dict[str, Tensor], prefix: str) -> bool:
    """Return whether all matrices and filters below a prefix are equal; norms are alike at the start."""
    names = [name for name in state if name.startswith(prefix) and state[name].ndim > 1]
    assert names
    return all(torch.equal(state[name], other[name]) for name in names)


def test_init_from_later_models_overwrite_earlier_ones_and_body_weights(tmp_path: Path) -> None:
    states = {name: model(tmp_path / f"{name}.safetensors", seed) for seed, name in enumerate("abc", start=1)}
    models = [f"{tmp_path}/b.safetensors:body.fpn,rpn_head,roi_head", f"{tmp_path}/c.safetensors:roi_head"]
    told: list[str] = []
    experiment = tiny_experiment(
        None, f"body={{name: resnet18, weights: {tmp_path}/a.safetensors}}", f"init_from={models}"
    )
    state = initialized(experiment, told).state_dict()
    assert same(state, states["a"], "body.backbone.")
    assert same(state, states["b"], "body.fpn.")
    assert same(state, states["b"], "rpn_head.")
    assert same(state, states["c"], "roi_head.")
    random = initialized(tiny_experiment()).state_dict()
    assert same(state, random, "sem_head.")
    assert told[0].startswith(f"body.weights={tmp_path}/a.safetensors")
    assert told[-1].endswith("(sem_head)")
    assert len(told) == 4


@pytest.mark.parametrize(
    ("old", "new", "random", "unused"),
    [
        ("panoptic", "instance", None, "(sem_head)"),
        ("panoptic", "detection", None, "roi_head.conv, roi_head.roi_msk, sem_head"),
        ("detection", "panoptic", "(roi_head.conv, roi_head.roi_msk, sem_head)", None),
        ("instance", "semantic", "(sem_head)", "rpn_head, roi_head"),
    ],
)
def test_init_from_another_task_moves_the_heads_that_both_have(
    tmp_path: Path, old: str, new: str, random: str | None, unused: str | None
) -> None:
    state = model(tmp_path / "a.safetensors", 1, f"task={old}")
    told: list[str] = []
    found = initialized(
        tiny_experiment(None, f"task={new}", f"init_from=[{tmp_path}/a.safetensors]"), told
    ).state_dict()
    shared = {name.partition(".")[0] for name in found} & {name.partition(".")[0] for name in state}
    both = [name for name in found if name in state and found[name].ndim > 1]
    assert all(torch.equal(found[name], state[name]) for name in both)
    assert {name.partition(".")[0] for name in both} == shared >= {"body"}
    assert told[-1] == "no weights are random" if random is None else told[-1].endswith(random)
    assert ("left out" in told[0]) == (unused is not None)
    assert unused is None or unused in told[0]


def test_init_from_is_not_read_for_a_network_that_gets_a_checkpoint() -> None:
    initialized(tiny_experiment(None, "init_from=[/no/such/model]", FROZEN), read_weights=False)


def test_frozen_parts_of_backbone_may_come_from_a_model(tmp_path: Path) -> None:
    model(tmp_path / "a.safetensors", 1)
    network = initialized(
        tiny_experiment(None, f"init_from=[{tmp_path}/a.safetensors]", "body={name: resnet18, frozen: [mod1]}")
    )
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name in frozen if name.startswith("body.backbone.mod1.")} != set()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.frozen=[bodies]"], r"no part bodies; its parts are body, rpn_head, roi_head, sem_head"),
        (["training.frozen=[body,rpn_head,roi_head,sem_head]"], "nothing to train"),
        (["task=semantic", "training.frozen=[rpn_head]"], r"no part rpn_head; its parts are body, sem_head"),
    ],
)
def test_frozen_parts_that_make_no_sense_are_refused(tmp_path: Path, overrides: list[str], message: str) -> None:
    model(tmp_path / "a.safetensors", 1)
    with pytest.raises(SettingsError, match=message):
        initialized(tiny_experiment(None, f"init_from=[{tmp_path}/a.safetensors]", *overrides))


def test_frozen_part_with_random_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"body would keep random weights.*--init-from"):
        initialized(tiny_experiment(None, FROZEN))
    model(tmp_path / "a.safetensors", 1)
    backbone = f"body={{name: resnet18, weights: {tmp_path}/a.safetensors}}"
    with pytest.raises(SettingsError, match=r"body would keep random weights .*body\.fpn"):
        initialized(tiny_experiment(None, backbone, "training.frozen=[body]"))


def test_init_from_model_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SeamsegError, match="/no/such/model"):
        initialized(tiny_experiment(None, "init_from=['/no/such/model:body']"))


def trained(folder: Path, rank: int, num_ranks: int, *overrides: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Train two epochs with a frozen detector; return the state before and after."""
    plain = ["data.train_batch_size=1", "training.validate_every=0", f"init_from=[{folder}/a.safetensors]", FROZEN]
    experiment = tiny_experiment(folder / "data", *plain, *overrides)
    process = Process(rank, num_ranks, torch.device("cpu"))
    with narrow_body():
        trainer, record = build_trainer(experiment, folder / f"run{rank}", process, None)
    record.close()
    before = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    watcher = Watcher(trainer)
    trainer.run(TrainingProgress(), watcher, watcher.stop)
    assert len(watcher.losses) == 8 // num_ranks
    return before, trainer.network.state_dict()


def changed_parts(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Return the parts of which parameters or statistics changed."""
    return {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}


def test_semantic_head_trains_on_a_frozen_detector(tmp_path: Path) -> None:
    write_tiny_splits(tmp_path / "data")
    model(tmp_path / "a.safetensors", 1)
    before, after = trained(tmp_path, 0, 1)
    assert changed_parts(before, after) == {"sem_head"}
    assert not same(before, after, "sem_head.conv_sem.")


def train_on_rank(rank: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return trained(Path.cwd().parent, rank, 2, "norm.name=syncbn")


@pytest.mark.slow
def test_semantic_head_trains_on_a_frozen_detector_on_two_ranks(tmp_path: Path) -> None:
    write_tiny_splits(tmp_path / "data")
    model(tmp_path / "a.safetensors", 1)
    (tmp_path / "ranks").mkdir()
    (before, after), (_, other) = on_ranks(__file__, "train_on_rank", tmp_path / "ranks")
    assert changed_parts(before, after) == {"sem_head"}
    assert changed_parts(after, other) == set()
