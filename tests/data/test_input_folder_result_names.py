"""Names of results, derived from the names of their images."""

from __future__ import annotations

from pathlib import Path

from seamseg.data.input_folder import relative_name, unique_stems


def test_unique_stems_numbers_images_that_differ_only_in_suffix() -> None:
    assert unique_stems(["a.jpg", "a.png", "a_2.jpg", "b/a.jpg", "c.d.jpg"]) == ["a", "a_2", "a_2_2", "b/a", "c.d"]


def test_relative_name_turns_backslashes_into_folders() -> None:
    assert relative_name(Path("photos/sub/x\\a.jpg"), Path("photos")) == "sub/x/a.jpg"
