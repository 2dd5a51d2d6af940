"""Metadata of the project, its source distribution and its installation."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import cv2
import numpy as np
import pytest
import tomllib
import torch
import yaml

import seamseg
from seamseg.ops import native

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


def _text_in(wheel: Path, name: str) -> str:
    """Text of a file in the folder of a wheel's metadata."""
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (one for one in archive.namelist() if one.endswith(f".dist-info/{name}"))
        return archive.read(path).decode()


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Paths of all files in the repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("the sources are not a git repository")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [Path(line) for line in listed.splitlines() if (ROOT / line).exists()]


def stages() -> list[tuple[str, str, str]]:
    """Base, name and instructions of each stage in the Dockerfile."""
    text = (ROOT / "Dockerfile").read_text()
    return re.findall(r"^FROM (\S+) AS (\S+)$(.*?)(?=^FROM|\Z)", text, re.MULTILINE | re.DOTALL)


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


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel of the source distribution with the native library of the checkout, because building one takes minutes."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(sdist, folder / "sources")
    (folder / "sources" / "setup.cfg").write_text("[build]\nbuild_lib = parts\n")
    (folder / "sources" / "parts" / "seamseg").mkdir(parents=True)
    shutil.copy(native.load_library(), folder / "sources" / "parts" / "seamseg")
    built = run_setup("build_py", "bdist_wheel", "--skip-build", "--dist-dir", str(folder), cwd=folder / "sources")
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the content of the wheel."""
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def run_installed(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python code that imports the package in a folder."""
    command = [sys.executable, "-P", "-c", code]
    variables = os.environ | {"PYTHONPATH": str(folder)} | environment
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)


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


def test_notices_name_the_libraries_linked_into_the_wheel_with_cuda() -> None:
    linked = re.findall(r"lib\w+(?=\.a\b)", (ROOT / "setup.py").read_text())
    assert linked
    notice = (ROOT / "NOTICE.md").read_text()
    assert [name for name in linked if name not in notice] == []


def test_sdist_contains_the_whole_repository_and_the_version(sdist: Path, tracked: list[Path]) -> None:
    assert len(tracked) > 100
    assert [path for path in tracked if not (sdist / path).is_file()] == []
    for path in (ROOT / "csrc").rglob("*.*"):
        assert (sdist / path.relative_to(ROOT)).read_bytes() == path.read_bytes()
    assert f"\nVersion: {seamseg.__version__}\n" in (sdist / "PKG-INFO").read_text()


def test_sdist_and_installation_contain_the_report_pages(sdist: Path, installed: Path) -> None:
    page = Path("seamseg", "report", "page")
    names = sorted(path.name for path in (ROOT / page).iterdir())
    assert sorted(path.name for path in (sdist / page).iterdir()) == names
    assert sorted(path.name for path in (installed / page).iterdir()) == names


def test_installation_contains_the_configs(installed: Path) -> None:
    code = "from seamseg.config import load_experiment, known_configs as known; print(*known()); " + (
        "print(*known('classifier')); print(load_experiment(known()['vistas_r50']).data.format, known()['vistas_r50'])"
    )
    used = run_installed(code, installed)
    names, classifiers = (
        " ".join(sorted(path.stem for path in folder.glob("*.yaml")))
        for folder in (ROOT / "configs", ROOT / "configs" / "classifier")
    )
    place = installed / "seamseg" / "configs" / "vistas_r50.yaml"
    assert used.stdout == f"{names}\n{classifiers}\nvistas_v1.2 {place}\n", used.stderr


def test_sdist_has_the_build_instructions_of_the_checkout(sdist: Path) -> None:
    # `make setup` builds the native library from the same files; `make wheel` builds it from the source distribution.
    for name in ("setup.py", "pyproject.toml", "Makefile", "scripts/build_wheel.sh"):
        assert (sdist / name).read_bytes() == (ROOT / name).read_bytes(), name


def test_wheel_is_for_every_python_and_one_platform(wheel: Path) -> None:
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert wheel.name == f"seamseg-{seamseg.__version__}-py3-none-{platform}.whl"
    metadata = _text_in(wheel, "METADATA")
    assert f"\nVersion: {seamseg.__version__}\n" in metadata
    assert f"\nRequires-Python: {project()['requires-python']}\n" in metadata
    assert "\nRoot-Is-Purelib: false\n" in _text_in(wheel, "WHEEL")


def test_wheel_contains_the_package_and_nothing_else(wheel: Path) -> None:
    found = {name for name in zipfile.ZipFile(wheel).namelist() if not re.match(r"seamseg-[^/]+\.dist-info/", name)}
    package = ROOT / "seamseg"
    wanted = {path.relative_to(ROOT) for path in package.rglob("*.*") if "__pycache__" not in path.parts}
    wanted |= {"seamseg" / path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.yaml")}
    assert found == {str(path) for path in wanted}


def test_wheel_contains_the_license_and_the_notices(wheel: Path) -> None:
    for name in ("LICENSE", "NOTICE.md"):
        assert _text_in(wheel, f"licenses/{name}") == (ROOT / name).read_text()
    assert "\nLicense-Expression: BSD-3-Clause\n" in _text_in(wheel, "METADATA")


def test_wheel_installed_without_a_compiler_runs_the_native_operators(installed: Path) -> None:
    code = (
        "import shutil, torch; from seamseg.ops import native; from seamseg.ops.id_maps import segment_boxes; "
        "assert shutil.which('c++') is None; "
        "print(native.load_library(), segment_boxes(torch.ones((2, 3), dtype=torch.int64), 2)[1].tolist())"
    )
    used = run_installed(code, installed, PATH="/nowhere")
    library = installed / "seamseg" / native.load_library().name
    assert used.stdout.split(maxsplit=1) == [str(library), "[0, 6]\n"], used.stderr


def test_wheel_loads_on_every_system_of_manylinux_2_28(wheel: Path) -> None:
    pytest.importorskip("auditwheel", reason="auditwheel is not installed: pip install -e '.[dev]'")
    command = [sys.executable, "-m", "auditwheel", "show", "--json", str(wheel)]
    shown = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    symbols = [version for versions in shown["versioned_symbols"].values() for version in versions]
    assert any(symbol.startswith("GLIBC_") for symbol in symbols)
    newest = re.fullmatch(r"manylinux_2_(\d+)_\w+", shown["sym_tag"])
    assert newest is not None
    assert int(newest[1]) <= 28, symbols
    assert {name.split(".")[0] for name in shown["external_libs"]} <= {"libc10", "libtorch_cpu", "libtorch_cuda"}


def test_package_without_its_native_library_says_what_is_missing(installed: Path, tmp_path: Path) -> None:
    shutil.copytree(installed / "seamseg", tmp_path / "seamseg", ignore=shutil.ignore_patterns("*.so"))
    cv2.imwrite(str(tmp_path / "ids.png"), np.zeros((2, 2, 3), np.uint8))
    code = (
        "import sys, pathlib; from unittest import mock; from seamseg import cli; from seamseg.data.png import *; "
        "read = lambda options: read_panoptic_png(pathlib.Path('ids.png')); "
        "mock.patch('seamseg.cli.env.run', read).start(); sys.exit(cli.main(['env']))"
    )
    used = run_installed(code, tmp_path)
    assert (used.returncode, used.stdout) == (2, "")
    assert re.fullmatch(rf"seamseg: the native library .* missing .*{tmp_path}.*install a wheel.*\n", used.stderr)


def test_package_uses_no_name_that_its_oldest_python_lacks() -> None:
    # Without the stubs of libraries, this takes seconds, and only the names of the standard library matter.
    oldest = project()["requires-python"].removeprefix(">=")
    command = [sys.executable, "-m", "mypy", "--config-file=", f"--python-version={oldest}", "--follow-imports=skip"]
    command += ["--no-site-packages", f"--cache-dir={os.devnull}", "seamseg"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Found" in checked.stdout, checked.stderr
    missing = re.findall(r'module named "(\w+)|(Module (?:"[\w.]+" )?has no attribute .*)', checked.stdout)
    assert [name for module, name in missing if name or module in sys.stdlib_module_names] == []


def test_dockerfile_copies_from_stages_and_files_that_exist() -> None:
    text = (ROOT / "Dockerfile").read_text()
    known: list[str] = []
    for base, name, body in stages():
        assert base in known or base == "scratch" or ":" in base, base
        assert set(re.findall(r"from=([\w-]+)", body)) <= set(known)
        known.append(name)
    assert known[-1] == "cpu"
    for source in re.findall(r"^COPY (?!--from)(\S+)", text, re.MULTILINE):
        assert (ROOT / source).exists(), source
    for script in re.findall(r"scripts/\w+\.sh", text):
        assert (ROOT / script).is_file(), script


def test_docker_builds_from_the_whole_repository(tracked: list[Path]) -> None:
    # The image `wheels` also contains the source distribution.
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    anywhere = {pattern.removeprefix("**/") for pattern in patterns if pattern.startswith("**/")}
    at_root = set(patterns) - {f"**/{pattern}" for pattern in anywhere}
    assert "/" not in "".join(anywhere | at_root)
    ignored = [
        path
        for path in tracked
        if any(fnmatch(part, pattern) for part in path.parts for pattern in anywhere)
        or any(fnmatch(path.parts[0], pattern) for pattern in at_root)
    ]
    assert ignored == []


def test_docker_installs_everything_before_it_copies_the_sources() -> None:
    # A change to the sources otherwise downloads gigabytes again.
    copying = {name for _, name, body in stages() if "COPY . ." in body}
    assert copying == {"build-cpu", "build-cuda"}
    assert copying & {base for base, _, _ in stages()} == set()
    assert [name for _, name, body in stages() if "install" in body.partition("COPY . .")[2]] == []


def test_docker_images_share_one_installation_of_torch() -> None:
    # Its libraries take 5.8 GB: two stages that install it download and store it twice.
    installing = [name for _, name, body in stages() if re.search(r"^RUN pip install .*\btorch\b", body, re.MULTILINE)]
    assert installing == ["torch"]
    bases = {name: base for base, name, _ in stages()}
    assert (bases["tools"], bases["run"]) == ("torch", "torch")


def test_dockerfile_has_the_versions_of_the_constraints() -> None:
    text, constraints = (ROOT / "Dockerfile").read_text(), (ROOT / "constraints.txt").read_text()
    (python,) = re.findall(r"Python (3\.\d+)", constraints)
    assert re.findall(r"^FROM python:(3\.\d+)", text, re.MULTILINE) == [python]
    (cuda,) = re.findall(r"^cuda-toolkit==(\d+)\.", constraints, re.MULTILINE)
    assert re.findall(r"nvidia/cu(\d+)", text) == [cuda]
    assert "PIP_CONSTRAINT=/constraints.txt" in text
    assert "==" not in text.replace("PIP_CONSTRAINT=", "")


def test_images_run_without_root_and_without_a_compiler() -> None:
    parts = {name: (base, body) for base, name, body in stages()}
    for image in ("cpu", "cuda"):
        base, body = parts[image]
        assert re.search(r"^USER [1-9]\d*$", body, re.MULTILINE)
        while base in parts:
            body += parts[base][1]
            base = parts[base][0]
        assert "g++" not in body
        assert 'ENTRYPOINT ["seamseg"]' in body


def test_build_without_a_compiler_says_what_to_install(sdist: Path) -> None:
    built = run_setup("build_ext", cwd=sdist, CXX="/no/such/compiler -O3")
    assert built.returncode != 0
    assert (
        "'/no/such/compiler' is not on the PATH: install one (on Debian or Ubuntu: apt-get install g++)" in built.stderr
    )
    assert "Traceback" not in built.stderr


@pytest.mark.skipif(torch.version.cuda is None, reason="this torch comes without CUDA")
@pytest.mark.parametrize("missing", ["bin/nvcc", "include/cuda_runtime.h", "lib64/libcudart_static.a"])
def test_build_with_an_incomplete_cuda_toolkit_says_what_is_missing(sdist: Path, tmp_path: Path, missing: str) -> None:
    for name in {"bin/nvcc", "include/cuda_runtime.h", "lib64/libcudart_static.a"} - {missing}:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    built = run_setup("build_ext", cwd=sdist, CUDA_HOME=str(tmp_path), SEAMSEG_CUDA="1")
    assert built.returncode != 0
    assert f"{tmp_path} has no {missing.replace('64', '*')}; set CUDA_HOME" in built.stderr
    assert "Traceback" not in built.stderr


@pytest.mark.parametrize("arguments", [[], ["--sdist"], ["--cuda"]])
def test_wheel_script_that_fails_says_why(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "build_wheel.sh", tmp_path / "scripts")
    (tmp_path / "pyproject.toml").write_text("[no TOML\n")
    variables = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["bash", "scripts/build_wheel.sh", *arguments]
    built = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert built.returncode != 0
    assert "TOMLDecodeError" in built.stderr
    assert not (tmp_path / "dist").exists()


def test_build_without_torch_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('not here')")
    built = run_setup("--version", cwd=ROOT, PYTHONPATH=str(tmp_path))
    assert built.returncode != 0
    assert "install torch>=2.10 first" in built.stderr
    assert "Traceback" not in built.stderr
