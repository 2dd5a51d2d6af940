"""Browser that opens reports from disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.drawn_predictions import write_drawn_predictions

from seamseg.report import open_material, write_report

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

READBACK = "Canvas2D: Multiple readback operations"
"""Chromium's warning when a test reads the pixels of a canvas."""

OpenPage = Callable[..., Any]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright, which drives the browser, is missing")
    if not Path(CHROMIUM).exists():
        pytest.skip("no Chromium at /usr/bin/chromium (on Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def scored_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Report of the drawn predictions; tests must not change it."""
    folder = tmp_path_factory.mktemp("report")
    drawn = write_drawn_predictions(folder)
    write_report(open_material(drawn.predictions, truth_file=drawn.truth), folder / "scored")
    return folder / "scored"


@pytest.fixture
def open_page(browser: Any) -> Iterator[OpenPage]:
    """Open a report as a click on its index.html does: `open_page(folder, "#image=000002", width=…)`.

    At the end, check that no page logged anything except `tolerated`, or requested anything except files of its folder.
    """
    contexts, messages, requests = [], [], []

    def run(
        folder: Path, place: str = "", width: int = 1280, height: int = 800, tolerated: str = READBACK, **options: Any
    ) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: message.text.startswith(tolerated) or messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: requests.append((folder, request.url)))
        page.goto(f"{folder.as_uri()}/index.html{place}")
        return page

    yield run
    for context in contexts:
        context.close()
    assert messages == []
    assert [url for folder, url in requests if not url.startswith((folder.as_uri() + "/", "data:", "blob:"))] == []
