"""Extension of Griffe for the documentation site (mkdocs.yml): roles of Sphinx in docstrings become links."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`(~?)([^`]+)`")


class RolesToLinks(griffe.Extension):
    """Replace ``:class:`~package.Name``` by a link to that object, or by code where the site does not document it."""

    def on_object(self, *, obj: griffe.Object, **unused: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(lambda role: link(role, obj), obj.docstring.value)


def link(role: re.Match[str], obj: griffe.Object) -> str:
    """HTML of the cross-reference that a role stands for."""
    target = role[2]
    try:
        path = obj.resolve(target)
    except griffe.NameResolutionError:
        path = target
    return f'<autoref identifier="{path}" optional><code>{target.rpartition(".")[2]}</code></autoref>'
