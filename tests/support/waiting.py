"""Waiting for a condition, with a limit that a slow or busy machine does not reach."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 100.0


def until(what: str, holds: Callable[[], object]) -> None:
    """Return once ``holds()`` is true; fails with ``what`` after `SECONDS`."""
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, f"{what} did not come within {SECONDS:g} s"
        time.sleep(0.01)
