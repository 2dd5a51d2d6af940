"""The script that compares changes of settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.script_module import SCRIPTS, load_script

from seamseg.config import load_experiment, settings_file

COMPARISONS = sorted((SCRIPTS / "comparisons").glob("*.yaml"))


@pytest.fixture(scope="module")
def script() -> Any:
    """The script as a module."""
    return load_script("compare_settings")


@pytest.mark.parametrize("file", COMPARISONS, ids=[file.stem for file in COMPARISONS])
def test_changes_of_every_comparison_are_valid_and_change_something(script: Any, file: Path) -> None:
    comparison = script.Comparison.read(file)
    config = settings_file(comparison.config)
    unchanged = load_experiment(config, comparison.settings(script.CONFIG_ITSELF))
    names, pieces = list(comparison.changes), load_script("exchange").EXCHANGES
    assert names[0] == script.CONFIG_ITSELF
    assert len({comparison.run_folder(Path(), name, 0) for name in names}) == len(names)
    for name in names[1:]:
        piece, settings = comparison.piece(name), comparison.settings(name)
        assert piece is None or piece in pieces, name
        assert piece is not None or settings != comparison.common, name
        assert settings == comparison.common or load_experiment(config, settings) != unchanged, name


def finished_run(run: Path, pq: float, minutes: int) -> None:
    """Write the files of a training whose four segments of one class, in two images, are found with this quality."""
    run.mkdir()
    lines = [{"kind": "train", "total": 1.0}, {"kind": "validation", "pq": pq / 2}, {"pq": pq}]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    images = [{"image_id": one, "classes": [0], "iou": [2 * pq], "tp": [2], "fp": [0], "fn": [0]} for one in (1, 2)]
    parts = {"all": {"pq": pq}, "things": {"pq": pq / 2}, "stuff": {"pq": pq}}
    scores = {**parts, "box_ap": pq / 4, "mask_ap": pq / 5, "per_class": {"road": {}}, "images": images}
    run.with_suffix(".json").write_text(json.dumps(scores))
    run.with_suffix(".time.json").write_text(str(60.0 * minutes))


def test_table_compares_a_change_with_the_config_over_the_seeds_of_both(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = script.Comparison(
        "config", [0, 1], [], {script.CONFIG_ITSELF: [], "better": [], "half": [], "later": []}
    )
    recorded = script.Recorded(tmp_path / "comparison.yaml")
    for name, pqs in ((script.CONFIG_ITSELF, (0.5, 0.6)), ("better", (0.7, 0.8)), ("half", (0.6,))):
        for seed, pq in enumerate(pqs):
            run = comparison.run_folder(tmp_path, name, seed)
            finished_run(run, pq, seed + 1)
            recorded.add(name, seed, script.summary_of(run))
    script.print_table(comparison, recorded.read())
    output = capsys.readouterr()
    _, _, config, better, half = output.out.splitlines()
    parts, aps = "27.5 ± 3.5 | 55.0 ± 7.1", "13.8 ± 1.8 | 11.0 ± 1.4"
    assert config == f"| the config | 2 | 55.0 ± 7.1 |  |  | {parts} | {aps} | 27.5, 55.0 | 1 min 30 s |"
    assert better.startswith("| better | 2 | 75.0 ± 7.1 | +20.0 | ")
    assert better.endswith(" | 37.5 ± 3.5 | 75.0 ± 7.1 | 18.8 ± 1.8 | 15.0 ± 1.4 | 37.5, 75.0 | 1 min 30 s |")
    assert half == "| half | 1 | 60.0 | +10.0 | +10.0 … +10.0 | 30.0 | 60.0 | 15.0 | 12.0 | 30.0, 60.0 | 1 min 00 s |"
    assert output.err == "not finished with a seed of the config: later\n"


def test_recorded_results_keep_those_that_were_there(script: Any, tmp_path: Path) -> None:
    recorded = script.Recorded(tmp_path / "comparison.yaml")
    recorded.add("b", 2, {"pq": 1})
    recorded.add("a", 0, {"pq": 2})
    recorded.add("b", 1, {"pq": 3})
    assert script.Recorded(tmp_path / "comparison.yaml").read() == {
        "b": {2: {"pq": 1}, 1: {"pq": 3}},
        "a": {0: {"pq": 2}},
    }


@pytest.mark.parametrize("file", COMPARISONS, ids=[file.stem for file in COMPARISONS])
def test_recorded_changes_and_seeds_are_those_of_the_comparison(script: Any, file: Path) -> None:
    comparison, results = script.Comparison.read(file), script.Recorded(file).read()
    assert set(results) <= set(comparison.changes)
    assert all(set(of_seeds) <= set(comparison.seeds) for of_seeds in results.values())


@pytest.mark.parametrize("file", COMPARISONS, ids=[file.stem for file in COMPARISONS])
def test_table_in_the_readme_of_the_configs_is_that_of_the_recorded_results(
    script: Any, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script.print_table(script.Comparison.read(file), script.Recorded(file).read())
    table = capsys.readouterr().out
    assert table in (SCRIPTS.parent / "configs/README.md").read_text(), f"print it: compare_settings.py table {file}"


def test_changes_that_differ_after_a_dot_have_files_of_their_own(script: Any) -> None:
    comparison = script.Comparison("scenes_r18", [0], [], {})
    runs = [comparison.run_folder(Path(), f"learning rate {rate}", 0) for rate in (0.002, 0.004)]
    assert runs[0].with_suffix(".json") != runs[1].with_suffix(".json")


def test_finished_trainings_and_scores_are_not_repeated(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[str] = []

    def run_module(arguments: list[str], run: Path) -> float:
        settings = [one for one in arguments if "seed" in one or "lr" in one]
        command = "evaluate" if "evaluate" in arguments else "train"
        commands.append(f"{arguments[: arguments.index(command) + 1]} {settings}")
        if command == "evaluate":
            run.with_suffix(".json").write_text("{}")
        return 1.5

    monkeypatch.setattr(script, "run_module", run_module)
    monkeypatch.setattr(script, "summary_of", lambda run: {"name": run.name})
    changes = {"changed": ["optimizer.lr=1"], "both": ["exchange=a piece", "optimizer.lr=2"]}
    comparison = script.Comparison("config", [3], [], changes)
    for _ in range(2):
        result = script.train_and_score(comparison, Path("data"), tmp_path, "changed", 3)
        assert result == {"name": "changed-3"}
    script.train_and_score(comparison, Path("data"), tmp_path, "both", 3)
    assert commands == [
        "['seamseg', 'train'] ['optimizer.lr=1', 'training.seed=3']",
        "['seamseg', 'evaluate'] []",
        "['scripts.exchange', 'a piece', 'train'] ['optimizer.lr=2', 'training.seed=3']",
        "['scripts.exchange', 'a piece', 'evaluate'] []",
    ]
    assert json.loads((tmp_path / "changed-3.time.json").read_text()) == 1.5


def test_time_of_a_resumed_training_is_not_measured(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "run_module", lambda arguments, run: run.with_suffix(".json").write_text("{}"))
    monkeypatch.setattr(script, "summary_of", lambda run: json.loads(run.with_suffix(".time.json").read_text()))
    (tmp_path / "changed-0").mkdir()  # what an interrupted training leaves
    comparison = script.Comparison("config", [0], [], {"changed": []})
    assert script.train_and_score(comparison, Path("data"), tmp_path, "changed", 0) is None
    assert script.cpu_time([{"cpu_seconds": None}]) == "not measured"
    assert script.cpu_time([{"cpu_seconds": None}, {"cpu_seconds": 61}]) == "1 min 01 s"
