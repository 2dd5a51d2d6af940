"""One function on many items in processes: order, errors, and the end of the workers."""

from __future__ import annotations

import functools
import math
import operator
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seamseg.io import workers
from seamseg.io.workers import ordered_map


@pytest.fixture(autouse=True)
def _always_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "ITEMS_PER_WORKER", 1)


def test_process_results_are_in_the_order_of_the_items() -> None:
    triple = functools.partial(operator.mul, 3)
    items = list(range(50))
    assert list(ordered_map(triple, items, processes=2)) == [3 * item for item in items]
    assert list(ordered_map(triple, items, processes=1)) == [3 * item for item in items]
    assert list(ordered_map(triple, [], processes=2)) == []


def test_workers_are_separate_processes_unless_there_are_few_items(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = set(ordered_map(os.getpgid, [0, 0, 0, 0], processes=2))
    assert os.getpgid(0) not in parents
    monkeypatch.setattr(workers, "ITEMS_PER_WORKER", 3)
    assert set(ordered_map(os.getpgid, [0, 0, 0, 0], processes=2)) == {os.getpgid(0)}


def test_processes_take_only_a_few_items_ahead() -> None:
    taken = 0

    class Items(list[int]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            nonlocal taken
            for item in range(len(self)):
                taken += 1
                yield item

    results = ordered_map(operator.neg, Items([0] * 500), processes=2)
    next(iter(results))
    assert taken <= workers.ITEMS_AHEAD * 2 + 1
    results.close()  # type: ignore[attr-defined]


def test_function_error_in_a_process_is_raised() -> None:
    with pytest.raises(ValueError, match="math domain"):
        list(ordered_map(math.sqrt, [1.0, -1.0, 4.0], processes=2))


def test_killed_worker_raises_error_with_remedy() -> None:
    with pytest.raises(ChildProcessError, match="memory ran out; use fewer workers"):
        list(ordered_map(os._exit, [1, 1, 1], processes=2))


def test_zero_processes_raises_error() -> None:
    with pytest.raises(ValueError, match="number of workers is 0"):
        ordered_map(abs, [1], processes=0)


def test_workers_exit_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = (
        "import time\n"
        "from seamseg.io import workers\n"
        "workers.ITEMS_PER_WORKER = 1\n"
        "if __name__ == '__main__':\n"
        "    import os\n"
        "    results = workers.ordered_map(time.sleep, [0, 0] + [600] * 8, processes=2)\n"
        "    next(results)\n"
        "    print(os.getpid(), flush=True)\n"
        "    next(results), next(results)\n"
    )
    (tmp_path / "parent.py").write_text(script)
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, tmp_path / "parent.py"],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(root)},
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        workers = _descendants(parent.pid)
        assert len(workers) >= 2
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while (alive := [worker for worker in workers if _is_alive(worker)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert alive == []


def _descendants(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            child = int(stat.parent.name)
            found += [child, *_descendants(child)]
    return found


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
