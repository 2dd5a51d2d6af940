"""Profiles of training steps: the files, the table, and a run that computes the same as without one."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import pytest
import torch
from support.tiny_experiment import tiny_experiment
from support.tiny_training import Watcher, equal, tiny_trainer, trained
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from seamseg.engine.step_memory import measure_step
from seamseg.engine.step_profile import PROFILE_FILE, TRACE_FILE, ProfilingObserver, times_by_part
from seamseg.runtime.training_progress import TrainingProgress

pytestmark = pytest.mark.usefixtures("narrow")
OVERRIDES = ("data.train_batch_size=1", "data.train_limit=4", "training.validate_every=1", "data.random_scale=null")
PARTS = {"body", "fpn", "rpn_head", "roi_head", "sem_head", "losses"}


def test_profile_of_a_run_has_all_parts_and_changes_nothing(folder: Path, tmp_path: Path) -> None:
    expected = trained(tiny_trainer(tiny_experiment(folder, *OVERRIDES), tmp_path / "plain"))
    trainer = tiny_trainer(tiny_experiment(folder, *OVERRIDES), tmp_path / "profiled")
    watcher = Watcher(trainer)
    observer = ProfilingObserver(watcher, trainer, tmp_path, num_steps=8)
    trainer.run(TrainingProgress(), observer, watcher.stop)
    observer.close()

    assert equal(watcher.losses, expected.losses)
    assert equal(watcher.saved[-1].network, expected.saved[-1].network)
    assert trainer.phase is record_function
    assert not any(parameter._post_accumulate_grad_hooks for parameter in trainer.network.parameters())
    found = observer.result
    assert found is not None
    assert set(found.times) == PARTS | {"data", "targets", "optimizer"}
    assert 0 < sum(sum(one.values()) for one in found.times.values()) <= found.milliseconds
    assert all(found.times[part]["backward pass"] > 0 for part in PARTS)
    assert set(found.kept) == PARTS
    assert found.peak_phase in ("forward pass", "backward pass")
    page = (tmp_path / PROFILE_FILE).read_text()
    assert page == found.as_markdown()
    assert page.count("\n|") == len(found.times) + 3  # two lines of the head, and the rest
    trace = json.loads(gzip.decompress((tmp_path / TRACE_FILE).read_bytes()))
    assert {"part body", "targets", "forward pass"} <= {event.get("name") for event in trace["traceEvents"]}


def test_kept_bytes_of_a_profile_are_those_of_the_memory_report(folder: Path, tmp_path: Path) -> None:
    experiment = tiny_experiment(folder, *OVERRIDES)
    trainer = tiny_trainer(experiment, tmp_path / "run")
    watcher = Watcher(trainer, stop_after=7)
    observer = ProfilingObserver(watcher, trainer, tmp_path, num_steps=8)
    trainer.run(TrainingProgress(), observer, watcher.stop)
    observer.close()
    assert observer.result is not None
    *_, batch = itertools.islice(trainer.loader.epoch(1), 3)  # that of the seventh step
    report = measure_step(trainer.network, batch.images, batch.ground_truth, trainer.optimization)
    for part in ("body", "fpn", "rpn_head", "sem_head"):
        assert observer.result.kept[part] == pytest.approx(report.kept[part], rel=0.02), part


def test_profile_of_a_short_run_is_refused(folder: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_experiment(folder, *OVERRIDES), tmp_path / "run")
    with pytest.raises(ValueError, match="needs 7 training steps, but this run has 4"):
        ProfilingObserver(Watcher(trainer), trainer, tmp_path, num_steps=4)


def test_times_of_the_backward_pass_belong_to_the_part_of_the_forward_pass() -> None:
    first, second = nn.Linear(200, 300), nn.Linear(300, 400)
    x = torch.randn(500, 200, requires_grad=True)
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        with record_function("forward pass"):
            with record_function("part small"):
                hidden = first(x)
            with record_function("part large"):
                for _ in range(20):
                    y = second(hidden)
        with record_function("backward pass"):
            y.sum().backward()
        with record_function("optimizer"):
            torch.ones(5) + 1
    events = recorded.events()
    times = times_by_part(events, on_gpu=False)
    assert set(times) == {"small", "large", "losses", "optimizer"}
    (span,) = (event for event in events if event.name == "part large")
    assert times["large"]["forward pass"] == pytest.approx(span.cpu_time_total / 1000)
    assert times["small"]["backward pass"] > 0
    assert times["large"]["backward pass"] > 0
    assert set(times["optimizer"]) == {"optimizer"}
