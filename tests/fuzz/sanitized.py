"""Native reader of segment PNGs, compiled with sanitizers so that it stops at the first invalid access."""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FLAGS = ["-std=c++17", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def build_reader(folder: Path) -> Path | None:
    """Compile the reader; return None without a g++ that has sanitizers."""
    compiler = shutil.which("g++")
    if compiler is None:
        return None
    program = folder / "reader"
    source = Path(__file__).resolve().parent / "native" / "reader.cpp"
    command = [compiler, *_FLAGS, f"-I{ROOT / 'csrc'}", str(source), "-o", str(program), "-ldl"]
    return program if subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0 else None


class SanitizedReader:
    """A process that reads one file after another and is restarted after it was stopped."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._process: subprocess.Popen[str] | None = None

    def read(self, path: Path) -> str:
        """Return ``HEIGHT WIDTH SUM-OF-IDS``, or ``refused: REASON``.

        Raises:
            RuntimeError: A sanitizer stopped the process; the message is its report.
        """
        if self._process is None:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(
                [self._program], stdin=pipe, stdout=pipe, stderr=pipe, text=True, preexec_fn=_free_address_space
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            self._process = None
            raise RuntimeError(process.communicate()[1][:3000])
        return answer.rstrip("\n")

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()


def _free_address_space() -> None:
    """Remove the limit on the address space: sanitizers reserve terabytes, more than the worker allows itself."""
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
