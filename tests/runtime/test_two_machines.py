"""Two ``torchrun`` processes simulate two machines: both restart their workers when one worker is killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 200
WORK = """
import os, signal, sys, time
from pathlib import Path
import torch
from seamseg.runtime.distributed import started

machine, folder = sys.argv[1], Path(sys.argv[2])
with started("cpu") as process:
    total = torch.ones(1)
    torch.distributed.all_reduce(total)
    if not (folder / "died").exists():
        time.sleep(2 if machine == "1" else 150)  # the other one is busy and does not notice by itself
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    torch.distributed.barrier()
    count = os.environ["TORCHELASTIC_RESTART_COUNT"]
    (folder / f"done{machine}").write_text(f"{total.item():.0f} {count}")
"""


@pytest.mark.slow
def test_killed_process_on_one_machine_restarts_both_and_they_reconnect(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "work.py").write_text(WORK)
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    options = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}"]
    options += ["--rdzv-id=two", "--max-restarts=1", "--local-addr=127.0.0.1"]
    machines = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *options, "work.py", str(number), str(tmp_path)],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]
    try:
        output = [machine.communicate(timeout=SECONDS)[0] for machine in machines]
    finally:
        for machine in machines:
            machine.kill()
    assert [machine.returncode for machine in machines] == [0, 0], output
    assert (tmp_path / "died").exists()
    done = [(tmp_path / f"done{number}").read_text().split() for number in range(2)]
    assert [total for total, _ in done] == ["2", "2"]
    assert done[0] != done[1], "this test needs machines whose restart counts differ"
