"""YAML text to plain values, where every key may be given only once."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import yaml

from seamseg.errors import SettingsError


def read_yaml(path: Path) -> Any:
    """Read plain values from a UTF-8 YAML file.

    Raises:
        OSError: The file cannot be read.
        SeamsegError: The file is not valid YAML, or a mapping contains a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not valid YAML: {error}") from error
    return load_yaml(text, str(path))


def load_yaml(text: str, source: str) -> Any:
    """Read plain values from YAML text with the safe loader.

    YAML forbids duplicate keys in a mapping, but PyYAML silently keeps the last value.

    Args:
        text: One YAML document.
        source: Name of the text for error messages, such as the path of its file.

    Raises:
        SeamsegError: The text is not valid YAML, or a mapping contains a key twice.
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
    """Raise SettingsError if a mapping in the tree contains a key twice.

    Args:
        loader: Loader of the node.
        node: Root of the tree.
        source: Name of the text.
        prefix: Dotted keys that lead to the node.
        seen: Ids of the nodes already checked.
    """
    if id(node) in seen:  # an alias can refer to a node that contains it
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
                        f"{source}: {name} is given twice, on lines {lines[same]} and {line}; remove one"
                    )
                lines[same] = line
            _check_keys(loader, value, source, f"{name}.", seen)


def _key_value(loader: yaml.SafeLoader, key: yaml.ScalarNode) -> Any:
    """Return the value that identifies a key: 1 and 0x1 are the same key, 1 and "1" are not."""
    return key.tag if key.tag == "tag:yaml.org,2002:merge" else loader.construct_object(key)
