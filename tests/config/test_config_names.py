"""Configs by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from seamseg.config import known_configs, load, settings_file

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_a_name_stands_for_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings_file("vistas_r50") == CONFIGS / "vistas_r50.yaml"
    assert list(known_configs()) == sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def test_a_file_is_itself_and_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vistas_r50").mkdir()  # such as the folder of a run
    assert settings_file("vistas_r50") == CONFIGS / "vistas_r50.yaml"
    (tmp_path / "vistas_r50").rmdir()
    (tmp_path / "vistas_r50").touch()
    assert settings_file("vistas_r50") == Path("vistas_r50")
    assert settings_file("some/vistas_r50.yaml") == Path("some/vistas_r50.yaml")


@pytest.mark.parametrize(
    ("given", "hint"), [("vistas_r05", "did you mean vistas_r50?"), ("qqq", "configs are cityscapes_r50, coco")]
)
def test_an_unknown_name(given: str, hint: str) -> None:
    with pytest.raises(ValueError, match=rf"there is neither a config nor a file {given}; ") as caught:
        settings_file(given)
    assert hint in str(caught.value)


def test_an_installed_package_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mine.yaml").touch()
    monkeypatch.setattr(load, "_FOLDERS", (tmp_path / "configs", CONFIGS))
    assert known_configs() == {"mine": tmp_path / "configs" / "mine.yaml"}
    monkeypatch.setattr(load, "_FOLDERS", (tmp_path / "nowhere",))
    assert known_configs() == {}


def test_a_tilde_in_the_name_of_a_file_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").touch()
    assert settings_file("~/mine.yaml") == tmp_path / "mine.yaml"
