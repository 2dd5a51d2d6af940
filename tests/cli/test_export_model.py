"""`seamseg export-model`: the best model of a run as a folder to share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from seamseg.export.model_folder import load_model_file


def test_export_model_run_becomes_a_folder_with_the_same_scores(
    command: Any, run_dir: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "street"
    assert command("export-model", run_dir, out)[:2] == (0, f"exported: {out}\n")
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "SHA256SUMS",
        "categories.json",
        "config.yaml",
        "model.safetensors",
    }
    scores = [tmp_path / "one.json", tmp_path / "two.json"]
    for model, path in zip((run_dir, out), scores, strict=True):
        assert command("evaluate", model, "--data", data, "--split", "val", "--json", path, "--device", "cpu").code == 0
    assert scores[0].read_bytes() == scores[1].read_bytes()
    front = yaml.safe_load((out / "README.md").read_text().split("---\n")[1])
    assert front["model-index"][0]["name"] == "street"
    assert front["model-index"][0]["results"][0]["dataset"]["name"] == data.name


def test_export_model_from_a_modified_folder_names_the_changed_file(
    command: Any, refuses: Any, run_dir: Path, tmp_path: Path
) -> None:
    assert command("export-model", run_dir, tmp_path / "out").code == 0
    (tmp_path / "out" / "categories.json").write_text("[]")
    sentence = refuses("export-model", tmp_path / "out", tmp_path / "again")
    assert f"{tmp_path / 'out' / 'categories.json'} has been changed" in sentence
    assert not (tmp_path / "again").exists()


def test_export_model_overwrites_only_with_the_option(
    command: Any, refuses: Any, run_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert command("export-model", run_dir, out).code == 0
    (out / "README.md").write_text("mine")
    assert "--overwrite" in refuses("export-model", run_dir, out)
    assert (out / "README.md").read_text() == "mine"
    assert command("export-model", run_dir, out, "--overwrite").code == 0
    assert load_model_file(out).settings
    assert "contains other files, such as checkpoint" in refuses("export-model", out, run_dir, "--overwrite")


def test_export_model_without_a_model_is_refused(refuses: Any, tmp_path: Path) -> None:
    assert "there is no model" in refuses("export-model", tmp_path / "none", tmp_path / "out")
    assert "contains no model" in refuses("export-model", tmp_path, tmp_path / "out")
