"""The `seamseg` command in separate processes, with the narrow network of `support.tiny_experiment`.

subprocess.run([*COMMAND, "predict", …], env=environment())
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

_NARROW = """
import sys, seamseg.cli
from support import tiny_experiment
with tiny_experiment.narrow_body():
    sys.exit(seamseg.cli.main(sys.argv[1:]))
"""

SECONDS = 300

COMMAND = (sys.executable, "-c", _NARROW)


def environment() -> dict[str, str]:
    """Environment for a process with the same import paths, which uses one core only."""
    paths = os.pathsep.join(path for path in sys.path if path)
    return os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def in_two_processes(folder: Path, arguments: list[list[str]], code: int = 0) -> list[tuple[str, str]]:
    """Run the command in two processes and return standard output and error of each.

    Args:
        folder: Working folder.
        arguments: Arguments of each process; torchrun would pass the same ones to all.
        code: Expected exit code of both processes.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = environment() | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [*COMMAND, *of_rank, "--device", "cpu"],
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, of_rank in enumerate(arguments)
    ]
    try:
        output = [process.communicate(timeout=SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [code, code], output
    return output
