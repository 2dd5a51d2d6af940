"""Waiting for pages that forbid evaluating strings as code, which Playwright's own wait functions do."""

from __future__ import annotations

import time
from typing import Any


def until(page: Any, expression: str, seconds: float = 10) -> None:
    """Wait until a JavaScript expression is true."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"{expression} did not become true"
        page.wait_for_timeout(20)
