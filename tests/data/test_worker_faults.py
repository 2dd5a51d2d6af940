"""Worker processes that fail, stall or find no shared memory, tested with real processes."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support.command_processes import environment
from torch.utils.data import Dataset

from seamseg.data.dataset import SampleKey
from seamseg.data.loader import BatchLoader
from seamseg.data.samplers import EvaluationBatches
from seamseg.data.transforms import Normalize
from seamseg.data.worker_faults import worker_fault
from seamseg.structures import Batch, Sample

SIZE = (64, 64)


def sample(index: int) -> Sample:
    ids = torch.zeros(1, *SIZE, dtype=torch.int32)
    classes, crowd = torch.tensor([255, 0]), torch.tensor([False, False])
    return Sample(index, torch.zeros(3, *SIZE, dtype=torch.uint8), ids, classes, crowd, torch.zeros(2, 4), SIZE)


class Misbehaving(Dataset[Sample]):
    """Samples, until reading image 3 makes its process misbehave."""

    def __init__(self, how: str = "") -> None:
        self.how = how

    def __getitem__(self, key: SampleKey) -> Sample:
        if self.how == "slow":
            time.sleep(1.5)
        if key.index == 3 and self.how == "stall":
            time.sleep(3600)
        elif key.index == 3 and self.how == "memory":
            raise MemoryError("unable to allocate 3 GiB")
        elif key.index == 3 and self.how.startswith("SIG"):
            os.kill(os.getpid(), signal.Signals[self.how])
        return sample(key.index)


def loader(
    how: str = "", num_images: int = 6, batch_size: int = 1, worker_timeout: float = 600.0
) -> BatchLoader[Batch]:
    return BatchLoader(
        Misbehaving(how),
        Batch.collate,
        EvaluationBatches([SIZE] * num_images, batch_size),
        num_workers=2,
        device=torch.device("cpu"),
        normalize=Normalize((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        worker_timeout=worker_timeout,
    )


def test_stalled_workers_raise_error_with_timeout_and_remedy() -> None:
    arrived: list[Batch] = []
    with pytest.raises(OSError, match=r"2 seconds.*--shm-size.*data\.num_workers"):
        arrived.extend(loader("stall", worker_timeout=2).epoch(0))


def test_on_wait_is_called_every_second_and_can_stop_the_wait() -> None:
    waits: list[float] = []

    def note_wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise ZeroDivisionError

    stalling = loader("stall")
    stalling.on_wait = note_wait
    arrived: list[object] = []
    with pytest.raises(ZeroDivisionError):
        arrived.extend(batch.image_ids for batch in stalling.epoch(0))
    assert 1 <= waits[0] < waits[1] < 6


def test_epoch_starts_while_slow_workers_still_read_an_abandoned_one() -> None:
    slow = loader("slow", num_images=4)
    abandoned = slow.epoch(0)
    next(abandoned)
    del abandoned
    assert [batch.image_ids for batch in slow.epoch(1)] == [(0,), (1,), (2,), (3,)]


@pytest.mark.parametrize(
    ("how", "facts"), [("SIGBUS", ("Bus error", "--shm-size")), ("SIGKILL", ("Killed", "memory ran out"))]
)
def test_worker_fault_of_killed_worker_names_the_cause_and_remedy(how: str, facts: tuple[str, ...]) -> None:
    with pytest.raises(RuntimeError, match="DataLoader worker") as caught:
        list(loader(how).epoch(0))
    sentence = worker_fault(caught.value)
    assert sentence is not None
    assert "\n" not in sentence
    for fact in (*facts, "data.num_workers"):
        assert fact in sentence


def test_image_too_large_for_memory_raises_error_with_remedy() -> None:
    with pytest.raises(OSError, match=r"3 GiB.*data\.num_workers"):
        list(loader("memory").epoch(0))


def test_worker_fault_of_unrelated_errors_is_none() -> None:
    assert worker_fault(RuntimeError("shapes differ")) is None
    assert worker_fault(RuntimeError("Caught KeyError in DataLoader worker process 0.")) is None


def run(code: str, *prefix: str) -> subprocess.CompletedProcess[str]:
    """Run code that can import this module in a new process."""
    env = environment()
    env["PYTHONPATH"] += os.pathsep + str(Path(__file__).parent)
    command = [*prefix, sys.executable, "-c", code]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("size", ["64k", "8k"])
def test_small_shared_memory_raises_error_with_remedy(size: str) -> None:
    """Like Docker's default, only smaller: too small for a batch, and too small to start a process."""
    mounted = ("unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"', "sh")
    try:
        allowed = subprocess.run([*mounted, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("needs the right to mount")
    found = run("import test_worker_faults as t; list(t.loader(batch_size=4).epoch(0))", *mounted)
    last = found.stderr.splitlines()[-1]
    assert last.startswith("OSError")
    assert "/dev/shm" in last
    assert "--shm-size" in last
    assert "data.num_workers" in last


LIMITED = """
import resource, test_worker_faults as t
loader = t.loader(num_images=120, batch_size=4)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
kept = [part for batch in loader.epoch(0) for part in (batch.ground_truth, batch.images)]
print(len(kept))
"""


def test_kept_batches_keep_no_open_files() -> None:
    found = run(LIMITED)
    assert found.stdout == "60\n", found.stderr


def test_worker_fault_of_too_many_open_files_names_the_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(RuntimeError) as caught:
            torch.zeros(1).share_memory_()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "ulimit -n" in str(worker_fault(caught.value))
