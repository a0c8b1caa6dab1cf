"""Polls a condition, with a timeout that is long enough for a slow or busy machine."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 100.0


def until(what: str, holds: Callable[[], object]) -> None:
    """Poll until ``holds()`` is true; after `SECONDS`, fail with a message about ``what``."""
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, f"{what} did not come within {SECONDS:g} s"
        time.sleep(0.01)
