"""Waiting for pages that forbid evaluating strings as code, which Playwright's own wait functions do."""

from __future__ import annotations

import time
from typing import Any


def expect_text(locator: Any, text: str | list[str]) -> None:
    """Wait until the elements of a locator have exactly these texts.

    The page follows clicks and addresses in events of their own, so what it shows right after one may be the old view.
    """
    from playwright.sync_api import expect  # not at the top: without Playwright, tests of the browser are skipped

    expect(locator).to_have_text(text, timeout=10_000)


def until(page: Any, expression: str, seconds: float = 10) -> None:
    """Wait until a JavaScript expression is true."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"{expression} did not become true"
        page.wait_for_timeout(20)
