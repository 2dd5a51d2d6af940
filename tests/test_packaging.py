"""Metadata of the project, its source distribution and its installation."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib
import yaml

import seamseg

ROOT = Path(__file__).resolve().parents[1]
NOT_DISTRIBUTED = (
    ".git",
    ".venv",
    "runs",
    "build",
    "dist",
    "*.egg-info",
    ".*_cache",
    ".hypothesis",
    "__pycache__",
    "*.so",
)
MODULE_OF = {"pillow": "PIL", "opencv-python-headless": "cv2", "pyyaml": "yaml", "zlib-ng": "zlib_ng"}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w-]+", requirement)[0].lower().replace("_", "-") for requirement in requirements}


def imported_modules() -> set[str]:
    """Top-level names of all third-party imports in the package."""
    modules: set[str] = set()
    for path in (ROOT / "seamseg").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules.add(node.module.split(".")[0])
                if node.module == "torch.utils.tensorboard":
                    modules.add("tensorboard")  # the writer in torch requires the package
    return modules - set(sys.stdlib_module_names) - {"seamseg"}


def run_setup(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "setup.py", *arguments]
    return subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the unpacked source distribution of the checkout."""
    folder = tmp_path_factory.mktemp("sdist")
    shutil.copytree(ROOT, folder / "checkout", ignore=shutil.ignore_patterns(*NOT_DISTRIBUTED))
    code = f"from setuptools.build_meta import build_sdist; build_sdist({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=folder / "checkout", check=True, capture_output=True)
    (archive,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(archive, folder / "unpacked")
    (unpacked,) = (folder / "unpacked").iterdir()
    return unpacked


def test_every_dependency_is_imported_by_the_package() -> None:
    modules = {MODULE_OF.get(name, name) for name in names(project()["dependencies"])}
    assert modules - imported_modules() == set()


def test_every_import_is_a_dependency() -> None:
    extras = project()["optional-dependencies"]
    for_users = [requirement for extra in extras.keys() - {"dev", "bench", "docs"} for requirement in extras[extra]]
    modules = {MODULE_OF.get(name, name) for name in names(project()["dependencies"] + for_users)}
    assert imported_modules() - modules == set()


def test_every_requirement_is_pinned_by_the_constraints() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", line) for line in lines), "every line must be name==version"
    extras = project()["optional-dependencies"]
    required = names(project()["dependencies"] + extras["dev"] + extras["docs"])
    assert required - names(lines) == set()


def test_every_requirement_has_a_comment() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    extras = project()["optional-dependencies"]
    for requirement in project()["dependencies"] + extras["dev"] + extras["fast"] + extras["docs"]:
        assert re.search(rf'"{re.escape(requirement)}", +# \w', text), f"{requirement} has no comment that explains it"


def test_citation_file_lists_both_papers() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["license"] == project()["license"]
    assert [(reference["title"], reference["year"]) for reference in citation["references"]] == [
        ("Seamless Scene Segmentation", 2019),
        ("In-Place Activated BatchNorm for Memory-Optimized Training of DNNs", 2018),
    ]


def test_notices_name_every_dependency() -> None:
    notice = (ROOT / "NOTICE.md").read_text().lower()
    assert [name for name in names(project()["dependencies"]) if name not in notice] == []


def test_sdist_contains_the_native_sources_and_the_version(sdist: Path) -> None:
    for path in (ROOT / "csrc").rglob("*.*"):
        assert (sdist / path.relative_to(ROOT)).read_bytes() == path.read_bytes()
    for name in (
        "README.md",
        "LICENSE",
        "NOTICE.md",
        "CITATION.cff",
        "constraints.txt",
        "mkdocs.yml",
        "docs/demo.jpg",
        "seamseg/py.typed",
        "tests/conftest.py",
    ):
        assert (sdist / name).is_file(), name
    assert f"\nVersion: {seamseg.__version__}\n" in (sdist / "PKG-INFO").read_text()


def test_sdist_and_installation_contain_the_report_pages(sdist: Path, tmp_path: Path) -> None:
    page = Path("seamseg", "report", "page")
    names = sorted(path.name for path in (ROOT / page).iterdir())
    assert sorted(path.name for path in (sdist / page).iterdir()) == names
    built = run_setup("build_py", "--build-lib", str(tmp_path), cwd=sdist)
    assert built.returncode == 0, built.stderr
    assert sorted(path.name for path in (tmp_path / page).iterdir()) == names


def test_installation_contains_the_configs(sdist: Path, tmp_path: Path) -> None:
    built = run_setup("build_py", "--build-lib", str(tmp_path / "installed"), cwd=sdist)
    assert built.returncode == 0, built.stderr
    code = "from seamseg.config import load_experiment, known_configs as known; print(*known()); " + (
        "print(*known('classifier')); print(load_experiment(known()['vistas_r50']).data.format, known()['vistas_r50'])"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}
    used = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    names, classifiers = (
        " ".join(sorted(path.stem for path in folder.glob("*.yaml")))
        for folder in (ROOT / "configs", ROOT / "configs" / "classifier")
    )
    place = tmp_path / "installed" / "seamseg" / "configs" / "vistas_r50.yaml"
    assert used.stdout == f"{names}\n{classifiers}\nvistas_v1.2 {place}\n", used.stderr


@pytest.mark.slow
def test_sdist_builds_a_working_native_library(sdist: Path) -> None:
    # native/test_cuda.py compiles the kernels for GPUs, which takes minutes.
    built = run_setup("build_ext", "--inplace", cwd=sdist, SEAMSEG_CUDA="0")
    assert built.returncode == 0, built.stderr
    code = (
        "import torch; from seamseg.ops import native; from seamseg.ops.id_maps import segment_boxes; "
        "print(native.load_library(), segment_boxes(torch.ones((2, 3), dtype=torch.int64), 2)[1].tolist())"
    )
    used = subprocess.run([sys.executable, "-c", code], cwd=sdist, capture_output=True, text=True, check=False)
    assert used.stdout.split(maxsplit=1) == [str(sdist / "seamseg/_native.abi3.so"), "[0, 6]\n"], used.stderr


def test_build_without_a_compiler_says_what_to_install(sdist: Path) -> None:
    built = run_setup("build_ext", cwd=sdist, CXX="/no/such/compiler -O3")
    assert built.returncode != 0
    assert (
        "'/no/such/compiler' is not on the PATH: install one (on Debian or Ubuntu: apt-get install g++)" in built.stderr
    )
    assert "Traceback" not in built.stderr


def test_build_without_torch_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('not here')")
    built = run_setup("--version", cwd=ROOT, PYTHONPATH=str(tmp_path))
    assert built.returncode != 0
    assert "install torch>=2.10 first" in built.stderr
    assert "Traceback" not in built.stderr
