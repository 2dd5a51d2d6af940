"""The wheel in dist/ works in new environments without a compiler: `make wheel test-wheel`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = ROOT / "tests" / "support" / "installed_wheel.py"
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
TORCHES = {
    "oldest": ["torch==2.10.0", "torchvision==0.25.0"],
    "tested": re.findall(r"^torch(?:vision)?==.*$", (ROOT / "constraints.txt").read_text(), re.MULTILINE),
    "newest": ["torch", "torchvision"],
}

pytestmark = [pytest.mark.manual, pytest.mark.timeout(3600)]


def interpreter(version: str) -> str | None:
    """Path of an installed Python, also of one that pyenv does not show on the PATH."""
    candidates = [shutil.which(f"python{version}")]
    candidates += sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))
    for candidate in filter(None, candidates):
        code = "import sys; print('{}.{}'.format(*sys.version_info))"
        asked = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False)
        if asked.stdout.strip() == version:
            return candidate
    return None


def newest_wheel(pattern: str) -> Path | None:
    """Wheel in dist/ that was built last, among those whose names match a pattern."""
    found = [path for path in (ROOT / "dist").glob("seamseg-*.whl") if re.fullmatch(pattern, path.name)]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


@pytest.fixture(scope="module")
def wheel() -> Path:
    """Newest wheel in dist/ without CUDA kernels."""
    found = newest_wheel(r"[^+]+")
    if found is None:
        pytest.fail("there is no wheel in dist/: run make wheel")
    return found


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder for downloaded packages, which is deleted after the last test."""
    folder = tmp_path_factory.mktemp("downloads")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Path]:
    """Folder for a virtual environment, which is deleted after the test: each takes up to 7 GB."""
    yield tmp_path / "environment"
    shutil.rmtree(tmp_path / "environment", ignore_errors=True)


def run_program(packages: list[str | Path], python: str, environment: Path, downloads: Path) -> str:
    """Install packages into a new environment and run the program there; return its output."""
    programs, work = environment / "bin", environment.parent / "work"
    cached = os.environ | {"UV_CACHE_DIR": str(downloads)}
    subprocess.run(["uv", "venv", "--quiet", "--python", python, environment], env=cached, check=True)
    install = ["uv", "pip", "install", "--quiet", "--python", programs / "python", *packages]
    subprocess.run(install, env=cached, check=True)
    work.mkdir()
    variables = {"HOME": str(environment.parent), "PATH": str(programs)}
    command = [programs / "python", PROGRAM, work]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(environment) in done.stdout.partition("native library")[2], done.stdout
    return done.stdout


def test_wheel_is_named_for_manylinux_2_28(wheel: Path) -> None:
    if sys.platform == "linux":
        assert re.fullmatch(r"seamseg-[\w.]+-py3-none-manylinux_2_28_\w+\.whl", wheel.name)


@pytest.mark.parametrize("torch", TORCHES)
@pytest.mark.parametrize("python", PYTHONS)
def test_installed_wheel_runs_norm_training_and_prediction(
    wheel: Path, environment: Path, downloads: Path, python: str, torch: str
) -> None:
    found = interpreter(python)
    if found is None:
        pytest.skip(f"Python {python} is not installed")
    output = run_program([*TORCHES[torch], wheel], found, environment, downloads)
    assert "built without CUDA" in output


def test_installed_wheel_with_cuda_kernels_runs_norm_training_and_prediction(
    environment: Path, downloads: Path
) -> None:
    found = newest_wheel(r".+\+cu\d+-py3-none-manylinux_2_28_\w+\.whl")
    if found is None:
        pytest.skip("there is no wheel with CUDA kernels in dist/: run make wheel-cuda")
    output = run_program([*TORCHES["tested"], found], sys.executable, environment, downloads)
    assert re.search(r"^CUDA kernels +7\.5 8\.0\+PTX ", output, re.MULTILINE), output
