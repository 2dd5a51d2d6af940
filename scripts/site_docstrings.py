"""Griffe extension of the documentation site (mkdocs.yml): Sphinx roles become links, `Example:` a section."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`(~?)([^`]+)`")


class DocstringsToMarkdown(griffe.Extension):
    """Replace ``:class:`~package.Name``` by a link to the object, or by code if the site does not document it.

    ``Example:`` becomes ``Examples:``, because Griffe only parses doctests under the plural.
    """

    def on_object(self, *, obj: griffe.Object, **unused: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is not None:
            text = ROLE.sub(lambda role: link(role, obj), obj.docstring.value)
            obj.docstring.value = EXAMPLE.sub("Examples:", text)


def link(role: re.Match[str], obj: griffe.Object) -> str:
    """HTML of the cross-reference that a role stands for."""
    target = role[2]
    try:
        path = obj.resolve(target)
    except griffe.NameResolutionError:
        path = target
    return f'<autoref identifier="{path}" optional><code>{target.rpartition(".")[2]}</code></autoref>'
