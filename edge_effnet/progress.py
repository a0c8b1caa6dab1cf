"""The type of the callback that long-running functions report their progress to."""

from __future__ import annotations

from collections.abc import Callable

#: Called with (name of the step, units done, units in all).
Progress = Callable[[str, int, int], None]


def ignore_progress(step: str, done: int, total: int) -> None:
    """Report to nobody."""
