"""The wheel in dist/ works in new environments without a compiler: `make wheel test-wheel`."""

from __future__ import annotations

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


@pytest.fixture(scope="module")
def wheel() -> Path:
    """Newest wheel in dist/ without CUDA kernels."""
    found = [path for path in (ROOT / "dist").glob("*.whl") if "+" not in path.name]
    if not found:
        pytest.fail("there is no wheel in dist/: run make wheel")
    return max(found, key=lambda path: path.stat().st_mtime)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Path]:
    """Folder for a virtual environment, which is deleted after the test: each takes up to 7 GB."""
    yield tmp_path / "environment"
    shutil.rmtree(tmp_path / "environment", ignore_errors=True)


def test_wheel_is_named_for_manylinux_2_28(wheel: Path) -> None:
    if sys.platform == "linux":
        assert re.fullmatch(r"seamseg-[\w.]+-py3-none-manylinux_2_28_\w+\.whl", wheel.name)


@pytest.mark.parametrize("torch", TORCHES)
@pytest.mark.parametrize("python", PYTHONS)
def test_installed_wheel_runs_norm_training_and_prediction(
    wheel: Path, environment: Path, tmp_path: Path, python: str, torch: str
) -> None:
    found = interpreter(python)
    if found is None:
        pytest.skip(f"Python {python} is not installed")
    subprocess.run(["uv", "venv", "--quiet", "--python", found, environment], check=True)
    programs = environment / "bin"
    install = ["uv", "pip", "install", "--quiet", "--python", programs / "python", *TORCHES[torch], wheel]
    subprocess.run(install, check=True)
    (tmp_path / "work").mkdir()
    variables = {"HOME": str(tmp_path), "PATH": str(programs)}
    done = subprocess.run(
        [programs / "python", PROGRAM, tmp_path / "work"], env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(environment) in done.stdout.partition("native library")[2], done.stdout
