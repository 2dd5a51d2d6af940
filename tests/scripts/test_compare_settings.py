"""The script that compares changes of settings."""

from __future__ import annotations

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from seamseg.config import load_experiment, settings_file

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
COMPARISONS = sorted((SCRIPTS / "comparisons").glob("*.yaml"))


@pytest.fixture(scope="module")
def script() -> Any:
    """The script as a module."""
    spec = spec_from_file_location("compare_settings", SCRIPTS / "compare_settings.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["compare_settings"] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", COMPARISONS, ids=[file.stem for file in COMPARISONS])
def test_changes_of_every_comparison_are_valid_and_change_something(script: Any, file: Path) -> None:
    comparison = script.Comparison.read(file)
    config = settings_file(comparison.config)
    unchanged = load_experiment(config, comparison.common)
    names = list(comparison.changes)
    assert names[0] == script.CONFIG_ITSELF
    assert len({comparison.run_folder(Path(), name, 0) for name in names}) == len(names)
    for name in names[1:]:
        assert load_experiment(config, [*comparison.common, *comparison.changes[name]]) != unchanged, name


def scores(pq: float) -> dict[str, Any]:
    return {"all": {"pq": pq}, "things": {"pq": pq / 2}, "stuff": {"pq": pq}}


def test_table_has_differences_curves_and_times_of_finished_changes(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = script.Comparison("config", [0, 1], [], {script.CONFIG_ITSELF: [], "better": ["a=1"], "later": []})
    for name, pqs in ((script.CONFIG_ITSELF, (0.5, 0.6)), ("better", (0.7, 0.8))):
        for seed, pq in enumerate(pqs):
            run = comparison.run_folder(tmp_path, name, seed)
            run.mkdir()
            lines = [{"kind": "train", "total": 1.0}, {"kind": "validation", "pq": pq / 2}, {"pq": pq}]
            (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
            run.with_suffix(".json").write_text(json.dumps(scores(pq)))
            run.with_suffix(".time.json").write_text(str(60.0 * (seed + 1)))
    monkeypatch.setattr(script, "read_scores", lambda file: file)
    monkeypatch.setattr(script, "describe_difference", lambda baseline, files: f"{len(baseline)} | {len(files)}")
    script.print_table(comparison, tmp_path)
    _, _, config, better, later = capsys.readouterr().out.splitlines()
    assert config == "| the config | 55.0 ± 7.1 |  |  | 27.5 ± 3.5 | 55.0 ± 7.1 | 27.5, 55.0 | 1 min 30 s |"
    assert better == "| better | 75.0 ± 7.1 | 2 | 2 | 37.5 ± 3.5 | 75.0 ± 7.1 | 37.5, 75.0 | 1 min 30 s |"
    assert later == "| later | not finished |"


def test_changes_that_differ_after_a_dot_have_files_of_their_own(script: Any) -> None:
    comparison = script.Comparison("scenes_r18", [0], [], {})
    runs = [comparison.run_folder(Path(), f"learning rate {rate}", 0) for rate in (0.002, 0.004)]
    assert runs[0].with_suffix(".json") != runs[1].with_suffix(".json")


def test_finished_trainings_and_scores_are_not_repeated(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[str] = []

    def run_seamseg(arguments: list[str], run: Path) -> float:
        commands.append(f"{arguments[0]} {[one for one in arguments if 'seed' in one or 'lr' in one]}")
        if arguments[0] == "evaluate":
            run.with_suffix(".json").write_text("{}")
        return 1.5

    monkeypatch.setattr(script, "run_seamseg", run_seamseg)
    comparison = script.Comparison("config", [3], [], {"changed": ["optimizer.lr=1"]})
    for _ in range(2):
        script.train_and_score(comparison, Path("data"), tmp_path, "changed", 3)
    assert commands == ["train ['optimizer.lr=1', 'training.seed=3']", "evaluate []"]
    assert json.loads((tmp_path / "changed-3.time.json").read_text()) == 1.5
