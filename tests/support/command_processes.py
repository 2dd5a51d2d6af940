"""The `seamseg` command in separate processes, with the narrow network of `support.tiny_experiment`.

    with Command("predict", run_dir, images, out, "--device", "cpu") as process:
        out, err = process.communicate()

These processes are forked from a server that has already imported everything, which takes longer than most of what
they do. `COMMAND` starts a new Python instead:

    subprocess.run([*COMMAND, "predict", …], env=environment())
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Self

_NARROW = """
import sys, seamseg.cli
from support import tiny_experiment
with tiny_experiment.narrow_body():
    sys.exit(seamseg.cli.main(sys.argv[1:]))
"""

_SERVER = f"""
import sys, torch.utils.tensorboard, seamseg.builders, seamseg.cli.train, seamseg.cli.predict
from support.command_processes import serve
sys.argv[1:] = serve(int(sys.argv[1]))
{_NARROW}"""

SECONDS = 300

COMMAND = (sys.executable, "-c", _NARROW)


def environment() -> dict[str, str]:
    """Environment for a process with the same import paths, which uses one core only."""
    paths = os.pathsep.join(path for path in sys.path if path)
    return os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


class Command:
    """Process that runs the command; much like `subprocess.Popen`, with its output in files.

    Args:
        arguments: Arguments of the command.
        folder: Working folder; None for the current one.
        new_session: Whether the process leads a session and a process group of its own.
        variables: Environment variables in addition to those of `environment`.
    """

    def __init__(
        self, *arguments: object, folder: Path | None = None, new_session: bool = False, **variables: str
    ) -> None:
        self.returncode: int | None = None
        self._output = [TemporaryFile("w+"), TemporaryFile("w+")]  # noqa: SIM115 - closed with the process
        self._events, events_of_server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = {
            "arguments": [str(argument) for argument in arguments],
            "folder": str(folder or Path.cwd()),
            "new_session": new_session,
            "environment": environment() | variables,
        }
        files = [*(file.fileno() for file in self._output), events_of_server.fileno()]
        with events_of_server:
            socket.send_fds(_server(), [json.dumps(request).encode()], files)
        self.pid = int(self._events.recv(100))

    def wait(self, timeout: float = SECONDS) -> int:
        """Return the exit code, or the negative number of the signal that ended the process."""
        if self.returncode is None:
            if not select.select([self._events], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("seamseg", timeout)
            self.returncode = int(self._events.recv(100))
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        return self.wait() if self.returncode is not None or select.select([self._events], [], [], 0)[0] else None

    def communicate(self, timeout: float = SECONDS) -> tuple[str, str]:
        """Wait for the end of the process and return its standard output and error."""
        self.wait(timeout)
        return self._read(0), self._read(1)

    def _read(self, channel: int) -> str:
        self._output[channel].seek(0)
        return self._output[channel].read()

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process at once."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self.wait()


def run(*arguments: object, folder: Path | None = None, code: int = 0) -> tuple[str, str]:
    """Run the command to its end; return standard output and error.

    Args:
        arguments: Arguments of the command.
        folder: Working folder; None for the current one.
        code: Expected exit code.
    """
    with Command(*arguments, folder=folder) as process:
        output = process.communicate()
    assert process.returncode == code, output
    return output


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
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    processes = [
        Command(*of_rank, "--device", "cpu", folder=folder, RANK=str(rank), LOCAL_RANK=str(rank), **shared)
        for rank, of_rank in enumerate(arguments)
    ]
    try:
        output = [process.communicate() for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [code, code], output
    return output


@cache
def _server() -> socket.socket:
    """Start the server, which ends with this process; return the socket for requests."""
    ours, of_server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with of_server:
        number = of_server.fileno()
        subprocess.Popen([sys.executable, "-c", _SERVER, str(number)], env=environment(), pass_fds=[number])
    return ours


def serve(number: int) -> list[str]:
    """Answer requests; in each process that is forked for one, return the arguments of the command.

    A process in between waits for the end of the command, because only the parent of a process gets its exit code.

    Args:
        number: File descriptor of the socket.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    with socket.socket(fileno=number) as requests:
        while True:
            message, files, _, _ = socket.recv_fds(requests, 2**20, 3)
            if not message:
                os._exit(0)
            if os.fork() == 0:
                break
            for file in files:
                os.close(file)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request = json.loads(message)
    with socket.socket(fileno=files[2]) as events:
        if command := os.fork():
            events.send(str(command).encode())
            events.send(str(os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])).encode())
            os._exit(0)
    if request["new_session"]:
        os.setsid()
    for channel, file in enumerate(files[:2], start=1):
        os.dup2(file, channel)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    return list(request["arguments"])
