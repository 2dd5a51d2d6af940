"""Every test file is collected and named after a module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent


class _EmptyModule(pytest.Module):
    def collect(self) -> list[pytest.Item]:
        return []


class _Recorder:
    """Records the test files that pytest finds, without importing them."""

    def __init__(self) -> None:
        self.found: set[Path] = set()

    def pytest_pycollect_makemodule(self, module_path: Path, parent: pytest.Collector) -> pytest.Module:
        self.found.add(module_path)
        return _EmptyModule.from_parent(parent, path=module_path)


def test_pytest_collects_every_test_file() -> None:
    # Folders whose names match pytest's norecursedirs, such as "build" or "dist", are skipped silently.
    recorder = _Recorder()
    pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", "-p", "no:xdist", str(TESTS)], plugins=[recorder])
    assert recorder.found == set(TESTS.rglob("test_*.py"))


def test_no_test_imports_from_another_test() -> None:
    # Packages that the tests import can extend `sys.path`, as onnxruntime's graph optimizer does: then `metrics` may be
    # theirs. What several tests need is in `support` or `oracles`.
    imported = {
        (path.name, node.module)
        for path in TESTS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[-1].startswith("test_")
    }
    assert imported == set()


NEEDS_GPU = "skipif(not torch.cuda.is_available()"


def test_tests_that_skip_without_a_gpu_are_marked() -> None:
    # `make gpu-check` runs tests by their mark, and would leave out the others.
    found = {path: list(_tests_that_need_a_gpu(path)) for path in TESTS.rglob("test_*.py")}
    assert sum(len(tests) for tests in found.values()) > 10
    assert [f"{path.name}::{name}" for path, tests in found.items() for name, marked in tests if not marked] == []


def _tests_that_need_a_gpu(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield the names of the tests of a file that skip without a GPU, and whether they are marked `cuda`.

    The condition may have a name, as in `needs_gpu = pytest.mark.skipif(…)`, or hold for the whole file.
    """
    text = path.read_text()
    if NEEDS_GPU not in text:
        return
    module = ast.parse(text)
    assigned = {
        target.id: ast.unparse(node.value)
        for node in module.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for test in (node for node in module.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")):
        marks = [assigned.get("pytestmark", "")]
        marks += [assigned.get(name := ast.unparse(mark), name) for mark in test.decorator_list]
        if any(NEEDS_GPU in mark for mark in marks):
            yield test.name, any("pytest.mark.cuda" in mark for mark in marks)


# Folders whose tests do not mirror modules of the package.
NOT_MIRRORED = {"benchmarks", "docs", "fuzz", "golden", "native", "scripts"}
# Files that test several modules, the JavaScript of the report pages, behavior that subcommands share, or a check that
# other tests use.
ABOUT_SEVERAL = {
    "builders/test_every_setting.py",
    "cli/test_export.py",
    "cli/test_main.py",
    "cli/test_other_ranks.py",
    "cli/test_ranks.py",
    "cli/test_semantic.py",
    "cli/test_task_processes.py",
    "cli/test_tasks.py",
    "config/test_config_names.py",
    "convert/test_damaged_exports.py",
    "data/test_odd_images.py",
    "cli/test_compile.py",
    "export/test_tensorrt_operators.py",
    "modules/test_compile.py",
    "networks/test_ranks_equal_one.py",
    "networks/test_tasks.py",
    "ops/test_abn_operators.py",
    "ops/test_instruction_sets.py",
    "report/test_grid.py",
    "report/test_image_view.py",
    "runtime/test_two_machines.py",
    "scenes/objects/test_posts.py",
}


def test_test_files_are_named_after_the_modules_they_test() -> None:
    # tests/ops/test_fusion.py and tests/ops/test_fusion_paste.py test seamseg/ops/fusion.py.
    files = [path.relative_to(TESTS) for path in TESTS.glob("*/**/test_*.py")]
    mirrored = [file for file in files if file.parts[0] not in NOT_MIRRORED]
    assert {str(file) for file in mirrored if not _begins_with_a_module(file)} == ABOUT_SEVERAL


def _begins_with_a_module(file: Path) -> bool:
    folder = TESTS.parent / "seamseg" / file.parent
    name = file.stem.removeprefix("test_")
    modules = [module.stem for module in folder.glob("*") if module.suffix == ".py" or module.is_dir()]
    return any(f"{name}_".startswith(f"{module}_") for module in modules)
