"""YAML text to plain values, as by the safe loader but without duplicate keys."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from seamseg.io.yaml_files import load_yaml, read_yaml

VALID = [
    "",
    "5",
    "[1, {a: 2}, {a: 3}]",
    "a: {x: 1}\nb: {x: 2}\n",
    "1: a\n'1': b\n",
    "base: &base {x: 1, y: 2}\nchild: {<<: *base, x: 3}\n",
    "first: &list [1, 2]\nsecond: *list\n",
]


@pytest.mark.parametrize("text", VALID)
def test_load_yaml_without_duplicate_keys_equals_pyyaml(text: str) -> None:
    assert load_yaml(text, "some file") == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: 1\nb: 2\na: 1\n", r"a .*lines 1 and 3"),
        ("a:\n  b:\n    c: 1\n    'c': 2\n", r"a\.b\.c .*lines 3 and 4"),
        ("list:\n- {x: 1}\n- {x: 1, x: 2}\n", r"list\.x .*lines 3 and 3"),
        ("1: a\n0x1: b\n", r"0x1 .*lines 1 and 2"),
        ("a: {k: 1}\na: {k: 2}\n", r"a .*lines 1 and 2"),
        ("base: &base {x: 1,\n x: 2}\nchild: {<<: *base}\n", r"base\.x .*lines 1 and 2"),
    ],
)
def test_load_yaml_rejects_duplicate_keys_with_key_and_lines(text: str, where: str) -> None:
    with pytest.raises(ValueError, match=f"^some file: {where}"):
        load_yaml(text, "some file")


def test_load_yaml_of_recursive_mapping_terminates() -> None:
    tree = load_yaml("&root\nself: *root\n", "some file")
    assert tree["self"] is tree


def test_load_yaml_of_invalid_text_raises_error_naming_the_source() -> None:
    for text in ("a: [", "a: \x00", "a: !!python/object:os.system {}"):
        with pytest.raises(ValueError, match=r"^some file is not valid YAML"):
            load_yaml(text, "some file")


def test_read_yaml_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("ü: 1", encoding="utf-8")
    assert read_yaml(path) == {"ü": 1}
    path.write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ValueError, match=r"file\.yaml is not valid YAML"):
        read_yaml(path)
    with pytest.raises(FileNotFoundError):
        read_yaml(tmp_path / "none.yaml")
