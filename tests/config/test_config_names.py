"""Lookup of configs by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from seamseg.config import known_configs, load, settings_file

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_settings_file_config_name_gives_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings_file("vistas_r50") == CONFIGS / "vistas_r50.yaml"
    assert list(known_configs()) == sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def test_settings_file_existing_file_takes_precedence_over_config_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vistas_r50").mkdir()  # for example a run folder
    assert settings_file("vistas_r50") == CONFIGS / "vistas_r50.yaml"
    (tmp_path / "vistas_r50").rmdir()
    (tmp_path / "vistas_r50").touch()
    assert settings_file("vistas_r50") == Path("vistas_r50")
    assert settings_file("some/vistas_r50.yaml") == Path("some/vistas_r50.yaml")


@pytest.mark.parametrize(
    ("given", "hint"),
    [("vistas_r05", "did you mean vistas_r50?"), ("qqq", "the configs are cityscapes_r50, cityscapes_r50_instance, ")],
)
def test_settings_file_unknown_name_suggests_the_nearest(given: str, hint: str) -> None:
    with pytest.raises(ValueError, match=rf"there is neither a config nor a file {given}; ") as caught:
        settings_file(given)
    assert hint in str(caught.value)


def test_known_configs_of_an_installed_package_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mine.yaml").touch()
    monkeypatch.setattr(load, "_FOLDERS", (tmp_path / "configs", CONFIGS))
    assert known_configs() == {"mine": tmp_path / "configs" / "mine.yaml"}
    monkeypatch.setattr(load, "_FOLDERS", (tmp_path / "nowhere",))
    assert known_configs() == {}


def test_settings_file_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").touch()
    assert settings_file("~/mine.yaml") == tmp_path / "mine.yaml"
