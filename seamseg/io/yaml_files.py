"""YAML text to plain values, with one rule for all files: a key may be given once."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import yaml

from seamseg.errors import SettingsError


def read_yaml(path: Path) -> Any:
    """Plain values from a YAML file in UTF-8.

    Raises:
        OSError: The file cannot be read.
        SeamsegError: The file is not valid YAML, or a mapping has a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not valid YAML: {error}") from error
    return load_yaml(text, str(path))


def load_yaml(text: str, source: str) -> Any:
    """Plain values from YAML text, by the safe loader.

    YAML forbids a key that is given twice in one mapping, but PyYAML keeps the last value without a word.

    Args:
        text: One YAML document.
        source: Name of the text in errors, such as the path of its file.

    Raises:
        SeamsegError: The text is not valid YAML, or a mapping has a key twice.
    """
    try:
        loader = yaml.SafeLoader(text)
        with contextlib.ExitStack() as stack:
            stack.callback(loader.dispose)
            node = loader.get_single_node()
            if node is None:
                return None
            _check_keys(loader, node, source, "", set())
            return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise SettingsError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from error


def _check_keys(loader: yaml.SafeLoader, node: yaml.Node, source: str, prefix: str, seen: set[int]) -> None:
    """Raises SettingsError if a mapping in the tree has a key twice.

    Args:
        loader: Loader of the node.
        node: Root of the tree.
        source: Name of the text.
        prefix: Dotted keys that lead to the node.
        seen: Identities of the nodes that were checked.
    """
    if id(node) in seen:  # an alias can stand for a node that contains it
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(loader, item, source, prefix, seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[Any, int] = {}
        for key, value in node.value:
            name = f"{prefix}{key.value}" if isinstance(key, yaml.ScalarNode) else prefix
            if isinstance(key, yaml.ScalarNode):
                line, same = key.start_mark.line + 1, _key_value(loader, key)
                if same in lines:
                    raise SettingsError(
                        f"{source}: {name} is given twice, in lines {lines[same]} and {line}; remove one"
                    )
                lines[same] = line
            _check_keys(loader, value, source, f"{name}.", seen)


def _key_value(loader: yaml.SafeLoader, key: yaml.ScalarNode) -> Any:
    """What tells keys apart: 1 and 0x1 are the same key, 1 and "1" are not."""
    return key.tag if key.tag == "tag:yaml.org,2002:merge" else loader.construct_object(key)
