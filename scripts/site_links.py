"""Hook of the documentation site (mkdocs.yml): pages and files outside docs/ that the pages link to.

Pages link to each other as they lie in the repository, so that the links also work there. On the site, docs/ is the top
level; other files keep their path. `docs/settings.md` becomes `settings.md`, `configs/README.md` stays where it is, and
every relative link between them is rewritten.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("configs/README.md", "benchmarks/README.md", "tests/README.md", "CONTRIBUTING.md", "CHANGELOG.md", "NOTICE.md")
LINK = re.compile(r"(\]\()([^)#\s]+)([^)]*\))")
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages outside docs/, and every other file of the repository that a page links to."""
    for page in PAGES:
        files.append(File(page, str(ROOT), config.site_dir, config.use_directory_urls))
    for page in [file.src_uri for file in files.documentation_pages()]:
        source = repository_path(page)
        for target in linked_files((ROOT / source).read_text(encoding="utf-8"), source):
            if (ROOT / target).is_file() and files.get_file_from_path(site_path(target)) is None:
                files.append(File(target, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite the relative links of a page from repository paths to site paths."""
    return rewrite_links(markdown, repository_path(page.file.src_uri))


def repository_path(site: str) -> str:
    """Path in the repository of a page, given its path on the site."""
    return site if site in PAGES else f"docs/{site}"


def site_path(repository: str) -> str:
    """Path on the site of a file, given its path in the repository."""
    return repository.removeprefix("docs/")


def linked_files(markdown: str, source: str) -> set[str]:
    """Paths in the repository that a page links to.

    Args:
        markdown: Text of the page.
        source: Path of the page in the repository.
    """
    targets = {match[2] for match in LINK.finditer(CODE.sub("", markdown))}
    return {_resolve(source, target) for target in targets if ":" not in target}


def rewrite_links(markdown: str, source: str) -> str:
    """Text of a page with its relative links turned from repository paths to site paths.

    Args:
        markdown: Text of the page.
        source: Path of the page in the repository.
    """
    start = str(PurePosixPath(site_path(source)).parent)

    def rewrite(match: re.Match[str]) -> str:
        if ":" in match[2]:
            return match[0]
        return match[1] + os.path.relpath(site_path(_resolve(source, match[2])), start) + match[3]

    return LINK.sub(rewrite, markdown)


def _resolve(source: str, target: str) -> str:
    return os.path.normpath(PurePosixPath(source).parent / target)
