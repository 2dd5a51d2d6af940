"""The documentation site builds without a warning, and the hook and extension that it uses do their work."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install -e '.[docs]'")
pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed: pip install -e '.[docs]'")

ROOT = Path(__file__).resolve().parents[2]
LINKS: Any = runpy.run_path(str(ROOT / "scripts" / "site_links.py"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the built site. Warnings, such as broken links and missing anchors, fail the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.mark.slow
def test_site_contains_every_page_and_the_linked_files(site: Path) -> None:
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    assert len(pages) > 20
    assert all((site / page.with_suffix(".html")).is_file() for page in pages)
    assert (site / "scripts" / "train.sbatch").is_file()
    assert (site / "configs" / "index.html").is_file()


@pytest.mark.slow
def test_reference_documents_every_exported_name(site: Path) -> None:
    import seamseg

    anchors = set(re.findall(r'id="seamseg\.([\w.]+)"', "".join(page.read_text() for page in site.rglob("*.html"))))
    documented = {anchor.rpartition(".")[2] for anchor in anchors}
    assert set(seamseg.__all__) - documented == set()


@pytest.mark.slow
def test_docstrings_of_the_reference_become_links_and_code(site: Path) -> None:
    for page in (site / "reference").glob("*.html"):
        text = page.read_text()
        assert re.findall(r":(?:class|func|meth|mod|attr|data):", text) == [], page.name
        assert "<blockquote>" not in text, f"{page.name}: an example is not parsed as code"


@pytest.mark.slow
def test_pages_load_nothing_from_other_servers(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert (
            re.findall(r'(?:src=|<link rel="(?:stylesheet|icon|preconnect)" href=)"https?://[^"]+', page.read_text())
            == []
        )


@pytest.mark.parametrize(
    ("source", "before", "after"),
    [
        ("docs/distributed.md", "[a](../scripts/train.sbatch)", "[a](scripts/train.sbatch)"),
        ("docs/reference/data.md", "[a](../own-data.md#check)", "[a](../own-data.md#check)"),
        ("configs/README.md", "[a](../docs/settings.md)", "[a](../settings.md)"),
        ("CONTRIBUTING.md", "[a](tests/README.md)", "[a](tests/README.md)"),
        (
            "docs/models.md",
            "[a](#published) and [b](https://example.org/a.md)",
            "[a](#published) and [b](https://example.org/a.md)",
        ),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(source: str, before: str, after: str) -> None:
    assert LINKS["rewrite_links"](before, source) == after
