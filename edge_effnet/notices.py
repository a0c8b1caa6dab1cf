"""Warnings that point at the line of the user's own code."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from itertools import count

#: Called with a sentence that a user should know.
Notify = Callable[[str], None]
_PACKAGE = __name__.partition(".")[0]


def warn(text: str) -> None:
    """A `UserWarning` at the innermost line outside this package."""
    warnings.warn(text, stacklevel=_frames_of_ours() + 1)


def _frames_of_ours() -> int:
    """How many frames of the stack, from `warn` outwards, are this package's."""
    frame = sys._getframe(1)
    for depth in count(1):
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] != _PACKAGE or frame.f_back is None:
            return depth - 1
        frame = frame.f_back
    raise AssertionError("a stack ends")
